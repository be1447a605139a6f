import dataclasses
import math
import os
import signal
from pathlib import Path

import psutil
import pytest

MOST_WORKERS = 8
WORKER_MEMORY = 2 * 2**30
"""What a process that runs tests may take, with those that it starts [bytes]."""
CONTROL_GROUP = Path("/sys/fs/cgroup")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """Run a single file in this process, more on all processors that there is memory for."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    single = len({name.partition("::")[0] for name in config.args}) == 1
    if config.option.collectonly or (single and ".py" in config.args[0]):
        return 0
    memory = min(psutil.virtual_memory().available, limit("memory.max"))
    workers = min(MOST_WORKERS, processors(), int(memory // WORKER_MEMORY))
    return workers if workers > 1 else 0


def processors():
    """How many processors this process may use, in a container too."""
    affine = getattr(os, "sched_getaffinity", None)
    return min(len(affine(0)) if affine else os.cpu_count() or 1, limit("cpu.max"))


def limit(name):
    """A limit of the container, infinity if there is none."""
    try:
        most, _, period = (CONTROL_GROUP / name).read_text().partition(" ")
        return math.ceil(int(most) / int(period or 1))
    except (OSError, ValueError):  # no limit is the word `max`
        return math.inf


os.environ["BLURVID_CONFIG"] = os.devnull  # what the user of this machine has settled is not read


# What is heavy is imported late: the process that only hands out tests does without.


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """On a busy machine, threads that wait for each other make small matrices 100 times slower."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed():
    """Start every test from the same random numbers, whatever ran before it."""
    from blurvid import runtime

    runtime.seed_everything(0)


@pytest.fixture
def tiny_cascade(monkeypatch):
    """A cascade of a few thousand parameters and few layers in the place of 18 million."""
    from blurvid.models import cascade

    plain = ((1, 1),)
    for name in ("MIDDLE_SPEC", "CORE_SPEC", "OUTER_SPEC"):
        spec = getattr(cascade, name)
        extract = (8,) if name == "MIDDLE_SPEC" else (4, 2, 2)
        small = dataclasses.replace(spec, extract=extract, groups=(plain,), head=4)
        monkeypatch.setattr(cascade, name, small)


@pytest.fixture
def surroundings(tmp_path, monkeypatch):
    """An empty cache, no released weights; no command leaves signals other than they were."""
    from blurvid import weights

    monkeypatch.setenv("BLURVID_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BLURVID_WEIGHTS", raising=False)
    monkeypatch.setattr(weights.sets, "released_dir", lambda: tmp_path / "released")
    polite = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = [signal.getsignal(number) for number in polite]
    yield
    assert before == [signal.getsignal(number) for number in polite]


@pytest.fixture
def here(surroundings, tmp_path, monkeypatch):
    """An empty current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"

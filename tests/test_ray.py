"""Batches on a Ray cluster: the same files, whichever worker dies when."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import invoke
from PIL import Image

from blurvid import __version__, batch, media, pipeline
from blurvid.batch import Workers, cluster, workers
from blurvid.batch.cluster import Seats
from blurvid.config import RAY_TRIES, ClipOptions, RayOptions, RunOptions
from blurvid.errors import DeviceError, InputError, OptionError

# of Ray Data about its own settings and logs
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore:.*ray-data:pytest.PytestUnraisableExceptionWarning"),
]
QUICK = ClipOptions(seconds=0)
ONE = RunOptions(device="cpu", threads=1)


def make_photos(folder, count, size=(64, 48)):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return folder


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


# on a real cluster


@pytest.fixture(scope="module")
def two_workers():
    """Ray with room for two workers, started once."""
    ray = pytest.importorskip("ray")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not see it
    options = RayOptions(workers=2)
    polite = signal.getsignal(signal.SIGTERM)
    with cluster.joined(options, ONE):
        assert signal.getsignal(signal.SIGTERM) == polite  # Ray has one of its own
        yield options


@dataclass(frozen=True)
class Deadly:
    """An extractor that kills its process at a photo, once."""

    extractor: pipeline.Extractor
    killed: Path

    def __getattr__(self, name):
        return getattr(self.extractor, name)

    def __call__(self, photo):
        if Path(photo.name).stem == "07" and not self.killed.exists():
            self.killed.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return self.extractor(photo)


@contextlib.contextmanager
def deadly(killed, run):
    with pipeline.extractor(model="direct", run=run) as ready:
        yield Deadly(ready, killed)


def test_a_worker_is_killed_and_nothing_is_lost_or_doubled(tmp_path, two_workers):
    make_photos(tmp_path / "in", 14)
    (tmp_path / "in/05.png").write_text("no image")
    with pipeline.extractor(model="direct", run=ONE) as ready:
        jobs = batch.plan([tmp_path / "in"], tmp_path / "local", "gif")
        batch.run(jobs, ready, QUICK, writers=0)
    jobs = batch.plan([tmp_path / "in"], tmp_path / "out", "gif")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/03.gif").write_bytes((tmp_path / "local/03.gif").read_bytes())
    hired, seen, troubles = [], [], []
    outcomes = batch.run_on_ray(
        jobs,
        partial(deadly, tmp_path / "killed"),
        QUICK,
        Workers(two_workers, ONE, hired.append, troubles.append),
        skip_existing=True,
        on_outcome=seen.append,
    )
    assert contents(tmp_path / "out") == contents(tmp_path / "local")
    assert len(contents(tmp_path / "out")) == 13
    assert sorted(outcome.job.name for outcome in seen) == [job.name for job in jobs]
    assert [outcome.job for outcome in outcomes] == jobs
    assert [o.job.stem for o in outcomes if o.error] == ["05"]
    assert [o.job.stem for o in outcomes if o.skipped] == ["03"]
    killed = (tmp_path / "killed").read_text()
    assert len(troubles) == 1 and f"worker {killed} on " in troubles[0]
    assert hired and f"worker {killed} on " not in hired[-1].name


class Squares:
    """Squares numbers, and dies of 5."""

    def __init__(self, folder):
        self.folder = folder

    @contextlib.contextmanager
    def opened(self, run):
        yield run.threads, lambda numbers, again: [self.square(number) for number in numbers]

    def square(self, number):
        with (self.folder / f"{number}").open("a") as tries:
            tries.write(".")
        if number == 5:
            (self.folder / f"{media.own_start()}5.png").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    def tidy(self, numbers, ended):
        media.remove_stale(self.folder, ended)


def test_a_task_that_kills_workers_takes_no_others_with_it(tmp_path, two_workers):
    hired, troubles = [], []
    team = Workers(two_workers, ONE, hired.append, troubles.append)
    results = dict(team.results(Squares(tmp_path), list(range(16)), tmp_path, 2))
    given_up = results.pop(5)
    assert isinstance(given_up, DeviceError) and f"{RAY_TRIES} workers died" in str(given_up)
    assert results == {n: n * n for n in range(16) if n != 5}
    assert all(worker.told == 1 for worker in hired)
    assert len(troubles) == len(set(troubles)) == RAY_TRIES
    tries = {path.name: len(path.read_text()) for path in tmp_path.iterdir()}
    assert tries.pop("5") == RAY_TRIES
    assert tries.pop("4") == RAY_TRIES + 1  # the two are given together
    assert tries == {str(n): 1 for n in range(16) if n not in (4, 5)}


def test_no_task_is_begun_after_enough(tmp_path, two_workers):
    seen = []
    team = Workers(two_workers, ONE)
    for task, _ in team.results(Slow(), list(range(40)), tmp_path, enough=lambda: len(seen) >= 3):
        seen.append(task)
    assert 3 <= len(seen) < 12
    assert len(set(seen)) == len(seen)
    assert list(tmp_path.iterdir()) == []


class Slow:
    @contextlib.contextmanager
    def opened(self, run):
        yield None, lambda tasks, again: time.sleep(0.1) or tasks

    def tidy(self, tasks, ended):
        pass


def test_a_worker_that_cannot_begin_ends_the_run(tmp_path, two_workers):
    class Refusing(Slow):
        def opened(self, run):
            raise InputError("no such weights")

    with pytest.raises(InputError, match="no such weights"):
        list(Workers(two_workers, ONE).results(Refusing(), [1, 2], tmp_path))
    assert list(tmp_path.iterdir()) == []


# what a worker does, in this process


@pytest.fixture
def actor(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".blurvid-0.here").touch()

    class Work(Slow):
        @contextlib.contextmanager
        def opened(self, run):
            yield run, lambda tasks, again: [(task, again) for task in tasks]

    def make(sight=tmp_path / ".blurvid-0.here", version=__version__):
        return workers._Actor(Work(), ONE, 0.5, tmp_path, sight, version)

    return make


def test_what_a_worker_looks_at_before_it_begins(tmp_path, actor):
    mark = tmp_path / "mark.try"
    with pytest.raises(DeviceError, match=f"blurvid {__version__}, here it is 0.0"):
        actor(version="0.0")._done(mark, [])
    with pytest.raises(InputError, match="a disk that all machines share"):
        actor(tmp_path / "elsewhere")._done(mark, [])
    good = actor()
    worker, results, died = good._done(mark, ["x", "y"])
    assert worker.name.startswith(f"worker {os.getpid()} on ")
    assert worker.told.max_memory > 0  # its share, where nothing was said
    assert (results, died) == ([("x", False), ("y", False)], [])
    worker, results, died = good._done(mark, ["x", "y"])
    assert (results, died) == ([("x", True), ("y", True)], [worker.name])
    good.sight.write_text("enough")
    assert good._done(mark, ["x", "y"])[1] == [None, None]


def test_workers_that_die_at_their_start_are_not_hired_for_ever(tmp_path, actor, monkeypatch):
    for number in range(RAY_TRIES):
        monkeypatch.setattr(media, "own_start", lambda number=number: f"start{number}")
        dying = actor()
        dying.work.opened = lambda run: sys.exit()
        with pytest.raises(SystemExit):
            dying._done(tmp_path / "mark.try", ["x"])
    with pytest.raises(DeviceError, match="workers die at their start"):
        actor()._done(tmp_path / "mark.try", ["x"])


# options


def test_ray_is_asked_for_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    make_photos(tmp_path / "in", 2)
    result = invoke("extract", tmp_path / "in", "-o", tmp_path / "out", "--engine", "ray")
    assert result.exit_code == 2
    assert "pip install 'blurvid[ray]'" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "run", "text"),
    [
        (RayOptions(address="ray://head:10001"), ONE, "on a machine of the cluster"),
        (RayOptions(workers=0), ONE, "0 workers; 1 to 1024"),
        (RayOptions(), RunOptions(device="cuda:1"), "use --device cuda"),
    ],
)
def test_what_ray_cannot_serve_is_refused(options, run, text):
    with pytest.raises(OptionError, match=text), cluster.joined(options, run):
        pass


def test_seats_are_one_a_gpu_or_as_many_as_there_are_processors_for():
    def seats(machines, run, workers=None):
        nodes = [{"Alive": True, "Resources": machine} for machine in machines]
        nodes.append({"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}})
        return cluster._seats(SimpleNamespace(nodes=lambda: nodes), RayOptions(None, workers), run)

    head, gpus = {"CPU": 2.0}, {"CPU": 16.0, "GPU": 4.0}
    assert seats([head, gpus], RunOptions()) == Seats(4, 1, 1, 0.25)
    assert seats([head, gpus], RunOptions(device="cpu")) == Seats(9, 2, 0, 2 / 16)
    assert seats([head, gpus], RunOptions(device="cpu", threads=4)) == Seats(4, 4, 0, 4 / 16)
    assert seats([head], RunOptions(), 7) == Seats(7, 2, 0, 1.0)
    with pytest.raises(DeviceError, match="GPU"):
        seats([head], RunOptions(device="cuda"))
    with pytest.raises(DeviceError, match="4 CPUs"):
        seats([head], RunOptions(device="cpu", threads=4))


def test_options_of_a_cluster_without_one_are_refused(tmp_path):
    for words in (("--workers", "2"), ("--address", "auto")):
        result = invoke("extract", make_photos(tmp_path, 1), *words)
        assert result.exit_code == 2 and "--engine ray" in result.stderr


def test_standard_input_stays_on_this_machine(tmp_path):
    jobs = batch.plan(["-"], tmp_path / "out.gif")
    with pytest.raises(OptionError, match="standard input"):
        batch.run_on_ray(jobs, None, QUICK, Workers())


def test_records_of_workers_are_plain(tmp_path):
    with pipeline.extractor(model="direct", run=ONE) as ready:
        jobs = batch.plan([make_photos(tmp_path / "in", 1)], tmp_path / "out", "gif")
        record = batch.run(jobs, ready, QUICK)[0].record()
    assert json.loads(json.dumps(record)) == record

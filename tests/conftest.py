import signal

import pytest
import torch

from blurvid import runtime, weights

# One thread: on a machine that is busy, threads that wait for each other make small matrices
# a hundred times slower.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed():
    """Start every test from the same random numbers, whatever ran before it."""
    runtime.seed_everything(0)


@pytest.fixture
def surroundings(tmp_path, monkeypatch):
    """An empty cache, no released weights, signals afterwards as they were."""
    monkeypatch.setenv("BLURVID_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BLURVID_WEIGHTS", raising=False)
    monkeypatch.setattr(weights.sets, "released_dir", lambda: tmp_path / "released")
    polite = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = [signal.getsignal(number) for number in polite]
    yield
    for number, handler in zip(polite, before, strict=True):
        signal.signal(number, handler)

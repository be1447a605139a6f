"""Batches on a Ray cluster: the same files, whichever worker dies."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import invoke, plan
from PIL import Image

from blurvid import __version__, batch, pipeline
from blurvid.batch import cluster, spread
from blurvid.batch.cluster import Seats
from blurvid.config import RAY_TRIES, BatchOptions, ClipOptions, Output, RayOptions, RunOptions
from blurvid.errors import DeviceError, InputError, OptionError
from blurvid.planning import Plan
from blurvid.recipe import resolve

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    # of a cluster whose start took too long, as on a busy machine, and was tried again
    pytest.mark.filterwarnings("ignore:.*Popen:pytest.PytestUnraisableExceptionWarning"),
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


def test_the_files_are_those_of_one_machine(tmp_path, two_workers):
    make_photos(tmp_path / "in", 6)
    (tmp_path / "in/05.png").write_text("no image")
    recipe = resolve(model="direct")
    with pipeline.opened(recipe, ONE) as ready:
        local = plan([tmp_path / "in"], tmp_path / "local", "gif")
        batch.run(Plan(local, Output(clip=QUICK)), ready, BatchOptions(writers=0))
    jobs = plan([tmp_path / "in"], tmp_path / "out", "gif")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/03.gif").write_bytes((tmp_path / "local/03.gif").read_bytes())
    seen, output = [], Output(clip=QUICK, skip_existing=True)
    outcomes = batch.run_on_ray(
        *(Plan(jobs, output), recipe, BatchOptions(), two_workers, ONE), on_outcome=seen.append
    )
    assert contents(tmp_path / "out") == contents(tmp_path / "local")
    assert len(contents(tmp_path / "out")) == 5
    assert sorted(outcome.job.name for outcome in seen) == [job.name for job in jobs]
    assert [outcome.job for outcome in outcomes] == jobs
    assert [o.job.stem for o in outcomes if o.error] == ["05"]
    assert [o.job.stem for o in outcomes if o.skipped] == ["03"]


def test_what_is_known_of_a_photo_is_said_before_its_result(tmp_path, two_workers):
    photo, said = tmp_path / "photo.jpg", []
    Image.new("RGB", (64, 48), "teal").save(photo)
    photo.write_bytes(photo.read_bytes()[:-2])
    (outcome,) = batch.run_on_ray(
        Plan(plan([photo], tmp_path / "out.gif"), Output(clip=QUICK)),
        *(resolve(model="direct"), BatchOptions(), two_workers, ONE),
        on_outcome=lambda outcome: said.append("done"),
        on_warning=lambda job, warning: said.append((job.photo, warning)),
    )
    assert said == [(photo, outcome.warnings[0]), "done"]
    assert "the marker at its end is missing" in outcome.warnings[0]


def test_windows_are_those_of_one_machine(tmp_path, two_workers):
    for name, count in (("one", 9), ("short", 2), ("two", 11)):
        make_photos(tmp_path / "clips" / name, count)
    (tmp_path / "clips/two/09.png").write_text("no image")
    words = ("synth", tmp_path / "clips", "--frames", "3", "--jobs", "1", "-o")
    local = invoke(*words, tmp_path / "local")
    result = invoke(*words, tmp_path / "out", "--engine", "ray", "--workers", "2")
    assert local.exit_code == result.exit_code == 3
    assert sorted(result.stderr.splitlines()) == sorted(local.stderr.splitlines())
    assert contents(tmp_path / "out") == contents(tmp_path / "local")
    assert len(contents(tmp_path / "out")) == 1 + 6 * 4
    shutil.rmtree(tmp_path / "out/one/000002")
    again = invoke(*words, tmp_path / "out", "--engine", "ray", "--workers", "2", "--resume")
    assert "1 windows written, 5 skipped" in again.stderr
    assert contents(tmp_path / "out") == contents(tmp_path / "local")


class Squares:
    """Squares numbers; dies of 2 once, and of 5 each time; knows no square of 7."""

    def __init__(self, folder):
        self.folder = folder

    @contextlib.contextmanager
    def __call__(self, run):
        assert run.threads == 1
        yield self.square

    def square(self, number):
        tries = self.folder / f"{number}"
        with tries.open("a") as file:
            file.write(".")
        if number == 5 or (number == 2 and len(tries.read_text()) == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 7:
            raise InputError("no such number")
        yield -number
        yield number * number


def test_what_a_killed_worker_had_in_hand_is_done_again(tmp_path, two_workers):
    known = {}
    tasks = list(range(10))
    found = spread.spread(
        *(tasks, Squares(tmp_path), tmp_path, two_workers, ONE),
        on_known=known.__setitem__,
    )
    results = dict(found)
    assert known == {n: -n for n in range(10) if n not in (5, 7)}
    given_up, refused = results.pop(5), results.pop(7)
    assert isinstance(given_up, DeviceError) and f"{RAY_TRIES} workers died" in str(given_up)
    assert isinstance(refused, InputError) and str(refused) == "no such number"
    assert results == {n: n * n for n in range(10) if n not in (5, 7)}
    tries = {path.name: len(path.read_text()) for path in tmp_path.iterdir()}
    assert tries == {str(n): {2: 2, 5: RAY_TRIES}.get(n, 1) for n in range(10)}


def test_a_worker_that_cannot_begin_ends_the_run(tmp_path, two_workers):
    def refusing(run):
        raise InputError("no such weights")

    with pytest.raises(InputError, match="no such weights"):
        list(spread.spread([1, 2], refusing, tmp_path, two_workers, ONE))


# what a worker looks at, in this process


def test_a_worker_goes_where_names_mean_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    @contextlib.contextmanager
    def opening(run):
        yield lambda task: iter([(task, run.max_memory, Path.cwd())])

    def worker(home=tmp_path, version=__version__):
        place = spread._Place("a run", opening, ONE, 0.5, home, tmp_path, version)
        return dict(spread._work(place, "x"))

    monkeypatch.setattr(spread, "_ready", {})
    other = worker(version="0.0")
    assert f"blurvid {__version__}, here it is 0.0" in str(other[False])
    assert "a disk that all machines share" in str(worker(tmp_path / "elsewhere")[False])
    task, most, here = worker()[True]
    assert (task, here) == ("x", tmp_path) and most > 0  # its share, where nothing was said


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
        (RayOptions(workers=0), ONE, "workers must be from 1 to 1024"),
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
    jobs, recipe = plan(["-"], tmp_path / "out.gif"), resolve(model="direct")
    with pytest.raises(OptionError, match="standard input"):
        batch.run_on_ray(Plan(jobs), recipe, BatchOptions(), RayOptions(), ONE)

"""Batches on a Ray cluster: the same files, whichever worker dies when."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import invoke
from PIL import Image

from blurvid import __version__, batch, pipeline
from blurvid.batch import cluster, crew, spread
from blurvid.batch.cluster import Seats
from blurvid.batch.crew import Crew, Worker
from blurvid.config import RAY_TRIES, ClipOptions, RayOptions, RunOptions
from blurvid.errors import DeviceError, InputError, OptionError

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
    pytest.importorskip("ray")
    options = RayOptions(workers=2)
    try:
        with cluster.joined(options, ONE):
            yield options
    except DeviceError as error:
        if "timed out during startup" not in str(error):
            raise
        end_half_started(error.__cause__)
        pytest.skip("this machine is too busy: Ray gives itself 30 s to start")


def end_half_started(error):
    """End what Ray had started when its time was over; it leaves that behind."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        node = frame.f_locals.get("self")
        if type(node).__name__ == "Node":
            node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)


def test_a_worker_is_killed_and_nothing_is_lost_or_doubled(tmp_path, two_workers):
    make_photos(tmp_path / "in", 14)
    (tmp_path / "in/05.png").write_text("no image")
    opening = partial(pipeline.extractor, model="direct")
    with opening(run=ONE) as ready:
        jobs = batch.plan([tmp_path / "in"], tmp_path / "local", "gif")
        batch.run(jobs, ready, QUICK, writers=0)
    jobs = batch.plan([tmp_path / "in"], tmp_path / "out", "gif")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/03.gif").write_bytes((tmp_path / "local/03.gif").read_bytes())
    workers, seen, troubles = [], [], []

    def kill_one(outcome):
        seen.append(outcome)
        if sum(bool(o.made) for o in seen) == 3:
            os.kill(workers[0].process, signal.SIGKILL)

    outcomes = batch.run_on_ray(
        jobs,
        opening,
        QUICK,
        two_workers,
        ONE,
        skip_existing=True,
        on_outcome=kill_one,
        on_worker=workers.append,
        on_trouble=troubles.append,
    )

    assert contents(tmp_path / "out") == contents(tmp_path / "local")
    assert len(contents(tmp_path / "out")) == 13
    assert sorted(outcome.job.name for outcome in seen) == [job.name for job in jobs]
    assert [outcome.job for outcome in outcomes] == jobs
    assert [o.job.stem for o in outcomes if o.error] == ["05"]
    assert [o.job.stem for o in outcomes if o.skipped] == ["03"]
    assert len(troubles) == 1 and f"{workers[0].process}" in troubles[0]
    assert len({worker.process for worker in workers}) >= 2


def test_windows_of_clips_are_those_of_one_machine(tmp_path, two_workers):
    for name in ("a", "b"):
        make_photos(tmp_path / "clips" / name, 9)
    make_photos(tmp_path / "clips/short", 2)
    words = ("synth", tmp_path / "clips", "--frames", "3", "--jobs", "1", "-q", "-o")
    assert invoke(*words, tmp_path / "local").exit_code == 3
    result = invoke(*words, tmp_path / "ray", "--engine", "ray", "--workers", "2")
    assert result.exit_code == 3
    assert "short: 2 frames" in result.stderr
    local, spread = contents(tmp_path / "local"), contents(tmp_path / "ray")
    assert spread.keys() == local.keys()
    assert spread == local
    assert len(local["manifest.jsonl"].splitlines()) == 6


# what the crew does, with workers in this process that die as told


class RayError(Exception):
    pass


@dataclass(eq=False)
class Given:
    task: object
    again: bool


class FakeRay:
    """As much of Ray as the crew uses; a call of `do` may raise `Dies`."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=type("Task", (RayError,), {}))

    class Dies(BaseException):
        pass

    def __init__(self, refuses=lambda number: None):
        self.alive, self.hired, self.together = set(), 0, []
        self.refuses, self.queues = refuses, {}

    def put(self, value):
        return value

    def remote(self, **options):
        self.options = options
        ray = self

        def kind(_):
            class Handle:
                def __init__(self, work, *_):
                    ray.hired += 1
                    ray.alive.add(self)
                    self.number, self.work, self.hand = ray.hired, work, []
                    self.open = SimpleNamespace(remote=lambda version: (self, None))
                    self.do = SimpleNamespace(remote=self.begin)

                def begin(self, task, again):
                    call = (self, Given(task, again))
                    self.hand.append(call)
                    return call

            return SimpleNamespace(remote=Handle)

        return kind

    def wait(self, calls, timeout):
        return calls[:1], calls[1:]

    def get(self, call, timeout=None):
        actor, given = call
        if actor not in self.alive:
            raise RayError("dead")
        if given is None:
            return self.refuses(actor.number) or Worker("host", actor.number, "", None)
        self.together.append([c[1].task for c in actor.hand])
        try:
            result = actor.work(given.task, given.again)
        except FakeRay.Dies:
            self.alive.discard(actor)
            raise RayError("dead") from None
        actor.hand.remove(call)
        return result

    def kill(self, actor):
        self.alive.discard(actor)


def team_of(ray, work, tmp_path, count=2, **more):
    seats = Seats(count, 1, 0, 1.0)
    return Crew(ray, seats, work, ONE, tmp_path / "sight", in_flight=2, **more)


def test_a_task_that_kills_workers_takes_no_others_with_it(tmp_path):
    def work(task, again):
        if task == 5:
            raise FakeRay.Dies
        return task * task

    ray, troubles, ended = FakeRay(), [], []
    team = team_of(
        ray, work, tmp_path, on_trouble=troubles.append, on_death=lambda *w: ended.append(w)
    )
    results = dict(team.results(iter(range(20))))
    assert len(results) == 20
    assert isinstance(results.pop(5), DeviceError)
    assert results == {n: n * n for n in range(20) if n != 5}
    assert len(troubles) == RAY_TRIES
    assert ray.hired == 2 + RAY_TRIES
    assert all(5 not in tasks or tasks == [5] for tasks in ray.together[8:])  # alone, from then on
    team.end()
    assert not ray.alive


def test_each_task_is_done_once_whoever_dies(tmp_path):
    done, deaths = [], iter([3, 9, 14])
    at = next(deaths)

    def work(task, again):
        nonlocal at
        if task == at:
            at = next(deaths, None)
            raise FakeRay.Dies
        done.append(task)
        return task

    results = list(team_of(FakeRay(), work, tmp_path, count=3).results(iter(range(30))))
    assert sorted(task for task, _ in results) == list(range(30))
    assert sorted(done) == list(range(30))


def test_few_tasks_are_taken_ahead(tmp_path):
    taken = []
    tasks = (taken.append(n) or n for n in range(100))
    for count, _ in enumerate(team_of(FakeRay(), lambda task, _: task, tmp_path).results(tasks)):
        assert len(taken) <= count + 1 + 4


def test_a_worker_that_cannot_begin_is_done_without(tmp_path):
    refusal = InputError("host does not see /data")
    troubles = []
    ray = FakeRay(lambda number: refusal if number == 2 else None)
    team = team_of(ray, lambda task, _: task, tmp_path, on_trouble=troubles.append)
    assert len(list(team.results(iter(range(9))))) == 9
    assert troubles == ["one worker less: host does not see /data"]
    with pytest.raises(InputError, match="does not see"):
        list(team_of(FakeRay(lambda _: refusal), None, tmp_path).results(iter([1])))


def test_workers_that_die_at_their_start_are_not_hired_for_ever(tmp_path):
    class Doomed(FakeRay):
        def get(self, call, timeout=None):
            raise RayError("no module named blurvid")

    ray = Doomed()
    with pytest.raises(DeviceError, match="at their start: no module named blurvid"):
        list(team_of(ray, None, tmp_path).results(iter([1])))
    assert ray.hired < 2 + RAY_TRIES


def test_what_a_worker_looks_at_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Work:
        @contextlib.contextmanager
        def opened(self, run):
            yield run, lambda task, again: (task, again)

    def actor(sight):
        return crew._Actor(Work(), ONE, 0.5, str(tmp_path), str(sight))

    (tmp_path / "sight").touch()
    other = actor(tmp_path / "sight").open("0.0")
    assert isinstance(other, DeviceError) and f"blurvid {__version__}, here it is 0.0" in str(other)
    blind = actor(tmp_path / "elsewhere").open(__version__)
    assert isinstance(blind, InputError) and "a disk that all machines share" in str(blind)
    good = actor(tmp_path / "sight")
    ready = good.open(__version__)
    assert ready.process == os.getpid()
    assert ready.told.max_memory > 0  # its share, where nothing was said
    assert good.do("x", True) == ("x", True)


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


def test_a_polite_kill_has_its_exit_code():
    """Whatever Ray makes of the exception on its way."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with pytest.raises(SystemExit) as end, cluster._polite_end() as keep:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray does
            keep()
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            except SystemExit:
                raise SystemExit(1) from None
        assert end.value.code == 128 + signal.SIGTERM
        with pytest.raises(SystemExit) as end, cluster._polite_end():
            sys.exit(7)
        assert end.value.code == 7
    finally:
        signal.signal(signal.SIGTERM, before)


def test_options_of_a_cluster_without_one_are_refused(tmp_path):
    for words in (("--workers", "2"), ("--address", "auto")):
        result = invoke("extract", make_photos(tmp_path, 1), *words)
        assert result.exit_code == 2 and "--engine ray" in result.stderr


def test_standard_input_stays_on_this_machine(tmp_path):
    jobs = batch.plan(["-"], tmp_path / "out.gif")
    with pytest.raises(OptionError, match="standard input"):
        batch.run_on_ray(jobs, None, QUICK)


def test_records_of_workers_are_plain(tmp_path):
    with pipeline.extractor(model="direct", run=ONE) as ready:
        jobs = batch.plan([make_photos(tmp_path / "in", 1)], tmp_path / "out", "gif")
        record = batch.run(jobs, ready, QUICK)[0].record()
    assert json.loads(json.dumps(record)) == record


def test_a_worker_keeps_memory_for_the_frames_asked_for(monkeypatch):
    asked, counted = [], spread.pixels_for
    monkeypatch.setattr(spread, "pixels_for", lambda *given: asked.append(counted(*given)) or 1)
    extractor = SimpleNamespace(
        max_memory=1 << 30, device=torch.device("cpu"), middle=None, warnings=()
    )
    for frames in (7, 49):
        opening = partial(contextlib.nullcontext, extractor)
        work = spread._Photos(lambda run, o=opening: o(), QUICK, False, True, frames)
        with work.opened(ONE):
            pass

    seven, many = asked
    assert 1.5 * many < seven

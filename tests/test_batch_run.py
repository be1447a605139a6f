"""A batch at work: reading, network and writing side by side, and what is left of a killed one."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Whole, extractor_of, plan, run_batch
from PIL import Image

from blurvid import atomic, batch, media
from blurvid.atomic import stoppable
from blurvid.config import ClipOptions
from blurvid.errors import InputError, OutputError
from blurvid.pipeline import Clip, Extractor

QUICK = ClipOptions(seconds=0)
SOON = 20.0  # [s]; only a test that fails waits so long


class Still(Whole):
    """A model whose frames are the photo."""

    name = "still"
    size_multiple = 1

    def __init__(self, before=lambda: None):
        self.before = before

    def __call__(self, y):
        self.before()
        return y.unsqueeze(1).expand(-1, 7, -1, -1, -1)


def extractor(model=None):
    return extractor_of(model or Still(), "none", torch.device("cpu"), torch.float32, scale=1.0)


def make_photos(folder, count, size=(8, 6)):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


def contents(folder):
    return {name: (Path(folder) / name).read_bytes() for name in files(folder)}


def wait_for(condition):
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    wait_for(lambda: not [t for t in threading.enumerate() if t.name.startswith("blurvid")])


@pytest.fixture
def saved(monkeypatch):
    """Lets a test look into, or hold up, the writing of each clip."""

    class Saved:
        def __init__(self):
            self.before = lambda clip: None
            self.names = []

        def save(self, clip, *words, **options):
            self.before(clip)
            outputs = save(clip, *words, **options)
            self.names.append(Path(clip.photo.name).stem)
            return outputs

    save, spy = Clip.save, Saved()
    monkeypatch.setattr(
        Clip, "save", lambda clip, *words, **options: spy.save(clip, *words, **options)
    )
    return spy


# side by side


def test_side_by_side_and_in_turn_write_the_same(tmp_path):
    make_photos(tmp_path / "in", 9)
    (tmp_path / "in/3.png").write_text("text")
    records = []
    for writers in (0, 1, 3):
        out = tmp_path / str(writers)
        jobs = plan([tmp_path / "in"], out, "gif")
        seen = []
        outcomes = run_batch(jobs, extractor(), QUICK, writers=writers, on_outcome=seen.append)
        assert [outcome.job for outcome in outcomes] == jobs  # in order, each once
        assert [outcome.job for outcome in seen] == jobs
        records.append([(o.job.photo, str(o.error), len(o.outputs)) for o in outcomes])
        assert contents(out) == contents(tmp_path / "0")
    assert records[0] == records[1] == records[2]
    assert len(files(tmp_path / "0")) == 8


def test_network_and_writing_overlap(tmp_path, saved):
    inside = threading.Event()
    waited = []

    def slow_to_write(clip):
        if Path(clip.photo.name).stem == "0":
            waited.append(inside.wait(SOON))

    calls = []

    def call():
        calls.append(1)
        if len(calls) == 2:  # the second photo is in the network while the first is written
            inside.set()

    saved.before = slow_to_write
    jobs = plan([make_photos(tmp_path / "in", 3)], tmp_path / "out", "gif")
    run_batch(jobs, extractor(Still(call)), QUICK, writers=1)
    assert waited == [True]


def test_the_next_photo_is_read_meanwhile(tmp_path, monkeypatch):
    read, seen = media.read_photo, []
    monkeypatch.setattr(
        media, "read_photo", lambda path, *_, **__: seen.append(path.stem) or read(path)
    )
    jobs = plan([make_photos(tmp_path / "in", 3)], tmp_path / "out", "gif")

    calls = []

    def call():
        calls.append(1)
        wait_for(lambda: len(seen) >= min(len(calls) + 1, 3))

    run_batch(jobs, extractor(Still(call)), QUICK, writers=1)
    assert seen == ["0", "1", "2"]


def test_outcomes_come_in_the_order_of_the_photos(tmp_path, saved):
    def first_comes_last(clip):
        if Path(clip.photo.name).stem == "0":
            wait_for(lambda: {"1", "2"} <= set(saved.names))

    saved.before = first_comes_last
    jobs = plan([make_photos(tmp_path / "in", 5)], tmp_path / "out", "gif")
    outcomes = run_batch(jobs, extractor(), QUICK, writers=2)
    assert [outcome.job for outcome in outcomes] == jobs
    assert saved.names[:2] == ["1", "2"]


def test_standard_input_amid_others(tmp_path, monkeypatch):
    make_photos(tmp_path / "in", 3)
    with (tmp_path / "in/1.png").open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        sources = [tmp_path / "in/0.png", "-", tmp_path / "in/2.png"]
        jobs = plan(sources, tmp_path / "out", "gif")
        outcomes = run_batch(jobs, extractor(), QUICK, writers=2)
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert files(tmp_path / "out") == ["0.gif", "2.gif", "stdin.gif"]


# memory


def living(kind):
    return sum(isinstance(thing, kind) for thing in gc.get_objects())


@pytest.mark.parametrize(("writers", "most"), [(0, 1), (1, 3), (3, 5)])
def test_few_clips_are_alive_at_a_time(tmp_path, monkeypatch, writers, most):
    alive, peak = weakref.WeakSet(), []
    make = Extractor.__call__

    def counted(self, photo):
        peak.append(len(alive) + 1)
        clip = make(self, photo)
        alive.add(clip)
        return clip

    monkeypatch.setattr(Extractor, "__call__", counted)
    make_photos(tmp_path / "in", 40)
    (tmp_path / "out").mkdir()
    for number in range(0, 40, 3):  # failures hold on to nothing either
        (tmp_path / f"out/{number}.gif").mkdir()
    jobs = plan([tmp_path / "in"], tmp_path / "out", "gif")
    save = Clip.save

    def failing(clip, *words, **options):
        if int(Path(clip.photo.name).stem) % 4 == 1:
            raise OutputError("the disk is full")
        return save(clip, *words, **options)

    monkeypatch.setattr(Clip, "save", failing)
    outcomes = run_batch(jobs, extractor(), QUICK, writers=writers)
    assert max(peak) <= most
    assert len(alive) == 0
    assert len(outcomes) == 40


def test_a_large_photo_is_in_work_alone(tmp_path, monkeypatch, saved):
    """What lies ready counts as well: large photos are not piled up."""
    photos = weakref.WeakSet()
    read, peak = media.read_photo, []

    def counted(path, *_, **__):
        photo = read(path)
        photos.add(photo)
        peak.append(len(photos))
        return photo

    monkeypatch.setattr(media, "read_photo", counted)
    jobs = plan([make_photos(tmp_path / "in", 12)], tmp_path / "out", "gif")
    monkeypatch.setitem(batch.run.__globals__, "BATCH_PIXELS", 8 * 6)
    run_batch(jobs, extractor(), QUICK, writers=3)
    assert max(peak) == 1
    peak.clear()
    monkeypatch.setitem(batch.run.__globals__, "BATCH_PIXELS", 8 * 6 + 1)
    run_batch(jobs, extractor(), QUICK, writers=3, overwrite=True)
    assert max(peak) <= 2


# endings


@pytest.mark.parametrize("writers", [0, 1, 3])
def test_nothing_is_begun_after_a_failure_with_fail_fast(tmp_path, writers):
    make_photos(tmp_path / "in", 8)
    (tmp_path / "in/2.png").write_bytes(b"")
    jobs = plan([tmp_path / "in"], tmp_path / "out", "gif")
    outcomes = run_batch(jobs, extractor(), QUICK, fail_fast=True, writers=writers)
    assert [type(outcome.error) for outcome in outcomes] == [type(None)] * 2 + [InputError]
    assert files(tmp_path / "out") == ["0.gif", "1.gif"]


def test_what_is_whole_after_a_failure_is_reported(tmp_path, saved):
    def fail(clip):
        if Path(clip.photo.name).stem == "0":
            wait_for(lambda: "1" in saved.names)
            raise OutputError("the disk is full")

    saved.before = fail
    jobs = plan([make_photos(tmp_path / "in", 20)], tmp_path / "out", "gif")
    outcomes = run_batch(jobs, extractor(), QUICK, fail_fast=True, writers=2)
    assert str(outcomes[0].error) == "the disk is full"
    told = [path.name for outcome in outcomes for path in outcome.outputs]
    assert told == files(tmp_path / "out")
    assert 1 <= len(told) < 19


class EnoughError(Exception):
    pass


def write_half(path, busy):
    """Write a file to which more is to come, and say so; then go on for a while."""
    path.write_bytes(b"half a file")
    busy.set()
    end = time.monotonic() + SOON
    for _ in stoppable(iter(lambda: time.monotonic() < end, False)):
        time.sleep(0.001)


@pytest.mark.parametrize("how", [KeyboardInterrupt, SystemExit, EnoughError])
@pytest.mark.parametrize("where", ["network", "report"])
def test_an_interrupt_breaks_off_what_is_being_written(tmp_path, monkeypatch, saved, how, where):
    """Threads in the middle of a clip end soon, and remove their temporary files."""
    busy, ended, calls = threading.Event(), [], []
    save_looping, here = media.clip.save_looping, threading.local()

    def note(clip):
        here.whole = where == "report" and Path(clip.photo.name).stem == "0"

    def endless(pixels, order, path, *more):
        if here.whole:  # it is told of while another clip is being written
            assert busy.wait(SOON)
            save_looping(pixels, order, path, *more)
            return
        try:
            write_half(path, busy)
            ended.append("by itself")
        finally:
            ended.append("in the end")

    def interrupt(*_):
        assert busy.wait(SOON)
        raise how

    def call():
        calls.append(1)
        if where == "network" and len(calls) == 2:
            interrupt()

    saved.before = note
    monkeypatch.setattr(media.clip, "save_looping", endless)
    jobs = plan([make_photos(tmp_path / "in", 5)], tmp_path / "out", "gif")
    options = {"on_outcome": interrupt} if where == "report" else {}
    with pytest.raises(how):
        run_batch(jobs, extractor(Still(call)), QUICK, writers=2, **options)
    assert ended in (["in the end"], ["in the end"] * 2)
    assert files(tmp_path / "out") == (["0.gif"] if where == "report" else [])


def test_a_second_interrupt_leaves_no_half_file_either(tmp_path, monkeypatch):
    """Impatience while the threads end: what they clean up is waited for all the same."""
    busy = threading.Event()

    def slow_to_end(pixels, order, path, *more):
        try:
            write_half(path, busy)
        finally:
            time.sleep(0.3)

    join, calls = threading.Thread.join, []

    def impatient(thread, timeout=None):
        calls.append(thread)
        if len(calls) == 1:
            raise KeyboardInterrupt
        join(thread, timeout)

    def interrupt():
        if busy.wait(0.2):
            raise KeyboardInterrupt

    monkeypatch.setattr(media.clip, "save_looping", slow_to_end)
    monkeypatch.setattr(threading.Thread, "join", impatient)
    jobs = plan([make_photos(tmp_path / "in", 5)], tmp_path / "out", "gif")
    with pytest.raises(KeyboardInterrupt):
        run_batch(jobs, extractor(Still(interrupt)), QUICK, writers=1)
    assert len(calls) > 1
    assert files(tmp_path / "out") == []


def test_an_interrupt_reports_what_is_whole(tmp_path, saved):
    calls, told = [], []

    def call():
        calls.append(1)
        if len(calls) == 4:
            wait_for(lambda: len(saved.names) == 3)
            time.sleep(0.05)  # between the last rename and the word of it
            raise KeyboardInterrupt

    jobs = plan([make_photos(tmp_path / "in", 8)], tmp_path / "out", "gif")
    with pytest.raises(KeyboardInterrupt):
        run_batch(
            jobs, extractor(Still(call)), QUICK, writers=3,
            on_outcome=lambda outcome: told.extend(path.name for path in outcome.outputs),
        )  # fmt: skip
    assert told == files(tmp_path / "out") == ["0.gif", "1.gif", "2.gif"]


@pytest.mark.parametrize("where", ["read", "write"])
def test_a_bug_in_a_thread_is_not_swallowed(tmp_path, monkeypatch, saved, where):
    def broken(*_, **__):
        raise ZeroDivisionError

    if where == "read":
        monkeypatch.setattr(media, "read_photo", broken)
    saved.before = broken
    jobs = plan([make_photos(tmp_path / "in", 4)], tmp_path / "out", "gif")
    with pytest.raises(ZeroDivisionError):
        run_batch(jobs, extractor(), QUICK, writers=2)


def test_too_little_memory_for_one_clip_does_not_stop_the_others(tmp_path, saved):
    def fail(clip):
        if Path(clip.photo.name).stem == "1":
            raise MemoryError

    saved.before = fail
    jobs = plan([make_photos(tmp_path / "in", 3)], tmp_path / "out", "gif")
    outcomes = run_batch(jobs, extractor(), QUICK)
    assert files(tmp_path / "out") == ["0.gif", "2.gif"]
    assert str(outcomes[1].error) == f"{tmp_path}/in/1.png: cpu ran out of memory"


# inputs stay


@pytest.mark.parametrize("how", ["same", "symlink", "hard link", "dots", "of another share"])
def test_no_photo_is_written_over(tmp_path, how):
    folder = make_photos(tmp_path / "in", 2)
    for number in range(2):
        (folder / f"{number}.png").rename(folder / f"{number}.gif")
    out = tmp_path / "out"
    out.mkdir()
    target = folder if how in ("same", "of another share") else out
    if how == "symlink":
        (out / "0.gif").symlink_to(folder / "0.gif")
    elif how == "hard link":
        os.link(folder / "0.gif", out / "0.gif")
    elif how == "dots":
        target = tmp_path / "out/../in"
    before = contents(tmp_path)
    # the first photo of the folder is 0, so that {index} names the second
    name = "{index}" if how == "of another share" else "{stem}"
    whole = plan(sorted(folder.iterdir()), target, "gif", name=name)
    jobs = whole[::2]
    (outcome,) = run_batch(jobs, extractor(), QUICK, overwrite=True, whole=whole)
    assert "is the same file as an input" in str(outcome.error)
    assert contents(tmp_path) == before


# what a killed run leaves


def stale_name(process="00000000", number=None, host=None):
    number = os.getpid() if number is None else number
    return f".blurvid-{host or atomic._HOST}-{number}-{process}-7.gif"


def dead_process():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


@pytest.mark.skipif(os.name != "posix", reason="processes are not looked at there")
def test_temporary_files_of_dead_processes_are_removed(tmp_path):
    make_photos(tmp_path / "in", 1)
    out = tmp_path / "out"
    out.mkdir()
    dead = dead_process()
    other = "ffffff" if atomic._HOST != "ffffff" else "eeeeee"
    gone = [
        stale_name(number=dead),
        stale_name(),
        stale_name(number=1, host=other, process="1" * 8),
    ]
    stay = [
        stale_name(process=atomic._PROCESS),  # another thread of this process
        stale_name(number=1),  # alive
        stale_name(number=dead, host=other),  # nobody knows
        f".blurvid-{atomic._HOST}-{dead}-mine.gif",  # not of ours
        "blurvid-000000-1-00000000-1.gif",
    ]
    for name in gone + stay:
        (out / name).write_text("half")
    day_old = time.time() - 2 * atomic.STALE
    os.utime(out / gone[2], (day_old, day_old))

    run_batch(plan([tmp_path / "in"], out, "gif"), extractor(), QUICK)

    assert files(out) == sorted([*stay, "0.gif"])
    assert media.remove_stale(tmp_path / "nowhere") == []


def test_temporary_names_are_recognised(tmp_path):
    with atomic.replacing([tmp_path / "a.png", tmp_path / ("x" * 200 + ".mp4")]) as temporaries:
        for path in temporaries:
            path.touch()
            assert atomic._TEMPORARY.fullmatch(path.name)
        assert media.remove_stale(tmp_path) == []
    assert socket.gethostname() not in temporaries[0].name

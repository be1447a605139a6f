"""Videos to seven times as many frames: order of time, joints, resuming, sound, errors."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clips import pitch, shown, sound_of, write_video
from helpers import invoke
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from blurvid import media
from blurvid.bounds import check
from blurvid.config import DirectSpec, VideoOptions
from blurvid.errors import DeviceError, InputError, OptionError, OutputError
from blurvid.exposure import average_frames
from blurvid.flow import Chain, joint, meet, seam, ways
from blurvid.flow import chain as chain_module
from blurvid.networks import DirectNet
from blurvid.pipeline import extract_video, video
from blurvid.recipe import GIVEN, Recipe, Source, Way
from blurvid.weights import store

WHOLE_PIECE, PIECE = video.PIECE, 4
"""Frames a piece here."""
SIZE = (32, 48)
COST = st.floats(0, 10)
JOINT = st.tuples(st.tuples(COST, COST), st.tuples(COST, COST))


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch):
    monkeypatch.setattr(video, "PIECE", PIECE)


@pytest.fixture
def quick(monkeypatch):
    """Motion measured at half of the size, where that is enough and many frames are."""
    monkeypatch.setattr(chain_module, "ORDER_SIDE", SIZE[1] // 2)
    monkeypatch.setattr(seam, "JOINT_SIDE", SIZE[1] // 2)


def texture(seed, height=SIZE[0], width=400, grain=5):
    noise = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(seed))
    smooth = F.avg_pool2d(noise, grain, 1, grain // 2)
    return ((smooth - smooth.mean()) * 0.6 * grain + 0.5).clamp(0, 1)[0].expand(3, -1, -1)


def moving(places, seed=0):
    """Frames (T, 3, H, W) that show a texture at whole places [px]."""
    whole = texture(seed)
    return torch.stack([whole[:, : SIZE[0], x : x + SIZE[1]] for x in places])


def sevens_of(count, speed=1, seed=0, start=0):
    return [
        moving(range(start + 7 * speed * t, start + 7 * speed * (t + 1), speed), seed)
        for t in range(count)
    ]


class Known:
    """Stands for an extractor: knows the frames of each blurry one, in an order of its own."""

    def __init__(self, sevens, turned, fail_at=None, doubts=()):
        self.sevens, self.turned, self.fail_at = sevens, turned, fail_at
        self.doubts = doubts
        self.model = SimpleNamespace(name="known", count=7)
        self.dtype = torch.float32
        self.recipe = Recipe(Source("known", "known"))
        self.asked = []
        self.fitting = None

    def __call__(self, picture):
        means = [media.to_uint8(average_frames(x, 2.2)).astype(int) for x in self.sevens]
        number = int(np.argmin([np.abs(mean - picture).mean() for mean in means]))
        if number == self.fail_at:
            raise KeyboardInterrupt
        self.asked.append(number)
        frames = self.sevens[number]
        frames = frames.flip(0) if self.turned[number] else frames
        trust = SimpleNamespace(
            reasons=self.doubts, warnings=tuple(f"{x} {number}" for x in self.doubts)
        )
        warnings = (*trust.warnings, "in tiles") if self.doubts else ()
        return SimpleNamespace(
            frames=media.to_uint8(frames), warnings=warnings, trust=lambda: trust, fitted=None
        )


class Fitting(Known):
    """Stands for one whose model fits motion: keeps what is told of it beforehand."""

    def __init__(self, sevens, fail_at=None):
        super().__init__(sevens, [False] * len(sevens), fail_at)
        self.fitting, self.told, self.longer = object(), {}, {}

    def sighted(self, course):  # none in dark pictures, else 0.5, 0.75 or 1 of the way
        brightness = float(course.picture.mean())
        return (round(brightness * 40) % 3 + 2) / 4, 0.1

    def expecting(self, motion):
        self.expected = motion
        return self

    def __call__(self, picture):
        made = super().__call__(picture)
        motion, self.expected = self.expected, None
        number = self.asked[-1]
        self.told[number] = None if motion is None else motion.motion.a.mean((0, 2, 3))

        def spread(longer):
            self.longer[number] = longer
            return made

        made.fitted, made.spread = object(), spread
        return made

    expected = None


def blurry(path, sevens, sound=False, **options):
    """A video of the means, without loss of light; with a tone as long."""
    if sound:
        options["tones"] = [{"hertz": 440, "length": len(sevens) / options.get("fps", 10)}]
    return write_video(path, [media.to_uint8(average_frames(x, 2.2)) for x in sevens], **options)


# Orders


def orders_of(chain, joints):
    placed = [one for costs in joints for one in chain.repeat(None, costs, None)]
    return [one.turned for one in placed + chain.finish()]


@given(st.lists(JOINT, max_size=7))
def test_the_best_of_all_chains_is_found(joints):
    found = orders_of(Chain(), [None, *joints])

    def total(orders):
        return sum(
            costs[a][b] for costs, (a, b) in zip(joints, itertools.pairwise(orders), strict=True)
        )

    every = itertools.product((False, True), repeat=len(joints) + 1)
    assert len(found) == len(joints) + 1
    assert total(found) == pytest.approx(min(map(total, every)))


@given(st.lists(st.none() | JOINT, max_size=30), st.integers(1, 4))
def test_a_chain_never_keeps_more_waiting_than_it_may(joints, horizon):
    chain = Chain(horizon)
    given_, decided = 0, 0
    for costs in [None, *joints]:
        decided += len(chain.repeat(None, costs, None))
        given_ += 1
        assert given_ - decided <= max(horizon, 1)
    assert decided + len(chain.finish()) == given_


def test_a_forced_decision_is_kept_to():
    tie = ((0.0, 1.0), (1.0, 0.0))  # neighbors are alike, but nothing tells which way
    assert len(set(orders_of(Chain(horizon=3), [None, *([tie] * 9)]))) == 1


@pytest.mark.parametrize("speed", [1, -1])
@pytest.mark.parametrize("seed", [0, 1])
def test_turned_sequences_are_turned_back(speed, seed):
    start = 0 if speed > 0 else 200
    sevens = sevens_of(5, speed, seed, start)
    turned = torch.rand(5, generator=torch.Generator().manual_seed(seed)) < 0.5
    chain, found = Chain(), []
    for x, t in zip(sevens, turned, strict=True):
        found += chain.push(None, ways(x.flip(0) if t else x))
    assert [one.turned for one in found + chain.finish()] == turned.tolist()


def test_a_cut_is_seen_and_motion_is_none():
    first, other = ways(moving(range(7), 0)), ways(moving(range(7), 1))
    far = ways(moving(range(14, 21), 0))
    assert joint(first, other) is None
    assert joint(first, far) is not None
    still = ways(torch.full((7, 3, *SIZE), 0.5))
    assert joint(still, still) is not None


def test_what_moves_against_the_rest_is_turned_on_its_own():
    above, below = texture(3, 64, grain=15), texture(4, 64, grain=15)

    def at(t):  # the upper half moves to the right, the lower one to the left
        parts = above[:, :40, 200 - t : 296 - t], below[:, 40:, 100 + t : 196 + t]
        return torch.cat(parts, dim=1)

    truth = [torch.stack([at(7 * n + t) for t in range(7)]) for n in range(3)]
    chain = Chain()
    placed = []
    for x in truth:  # a model that answers with motion to the right
        answer = torch.cat([x[:, :, :40], x.flip(0)[:, :, 40:]], dim=2)
        placed += chain.push(answer, ways(answer))
    placed += chain.finish()

    for found, x in zip(placed, truth, strict=True):
        wrong = (found.item - x).abs().mean()
        assert (found.arranged(found.item) - x).abs().mean() < 0.35 * wrong
    assert [found.cut for found in placed] == [True, False, False]
    # where all move alike, nothing is turned on its own, and no value changes
    alike = Chain()
    plain = [found for x in sevens_of(3) for found in alike.push(x, ways(x))] + alike.finish()
    assert all(torch.equal(found.arranged(found.item), found.item) for found in plain)


def test_sequences_meet_at_their_joints():
    whole = moving(range(14))
    before, after = whole[:7] * 0.9, whole[7:] * 0.9 + 0.04  # brighter at once

    def jump(a, b):
        return float((a[-1].mean() - b[0].mean()).abs())

    ends = before.clone(), after.clone()
    meet(*ends)
    assert jump(*ends) < 0.6 * jump(before, after)
    assert torch.equal(ends[0][:4], before[:4])
    assert torch.equal(ends[1][3:], after[3:])
    same = whole[:7].clone(), whole[7:].clone()
    meet(*same)
    assert (torch.cat(same) - whole).abs().max() < 0.05


# Whole videos


def test_every_frame_becomes_seven_in_the_order_of_time(tmp_path):
    sevens = [*sevens_of(4, 1, 0), *sevens_of(4, -1, 1, start=250)]
    turned = [True, False, False, True, True, True, False, True]
    source = blurry(tmp_path / "in.mp4", sevens)
    steps = []

    made = extract_video(
        source,
        tmp_path / "out.mp4",
        Known(sevens, turned),
        on_step=lambda *step: steps.append(step),
    )

    assert (made.frames, made.shots, made.turned, made.audio) == (8, 2, sum(turned), "none")
    assert steps == [(i, 8) for i in range(1, 9)]
    info = media.video_info(tmp_path / "out.mp4")
    assert (info.size, info.timing.rate, info.timing.count) == (SIZE, 10, 56)
    truth = media.to_uint8(torch.cat(sevens)).astype(int)
    shown = list(media.read_video(tmp_path / "out.mp4"))
    errors = [np.abs(a - b).mean() for a, b in zip(shown, truth, strict=True)]
    assert max(errors) < 6, errors  # of 255; a frame beside the right one is 20 away
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_a_run_that_was_broken_off_goes_on(tmp_path, quick):
    count = 2 * PIECE + 3
    sevens = sevens_of(count)
    turned = [bool(i % 3) for i in range(count)]
    source = blurry(tmp_path / "in.mp4", sevens)
    whole = Known(sevens, turned)
    extract_video(source, tmp_path / "whole.mp4", whole)
    assert len(whole.asked) == count

    target = tmp_path / "out.mp4"
    for fail_at in (1, PIECE + 3, count - 1):
        with pytest.raises(KeyboardInterrupt):
            extract_video(source, target, Known(sevens, turned, fail_at))
        assert not target.exists()
    last = Known(sevens, turned)
    steps = []
    made = extract_video(source, target, last, on_step=lambda *step: steps.append(step))

    assert last.asked == [count - 1]
    assert steps[0][0] > PIECE
    assert (made.frames, made.turned) == (count, sum(turned))
    assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4", "whole.mp4"]


def test_models_that_fit_motion_are_told_how_the_video_moves(tmp_path, quick):
    sevens = [*sevens_of(PIECE + 1), *sevens_of(2, -1, 1, start=250)]
    source = blurry(tmp_path / "in.mp4", sevens)
    whole = Fitting(sevens)
    extract_video(source, tmp_path / "whole.mp4", whole)

    # Things go 7 px from frame to frame, to the left and, beyond the cut, to the right; between a
    # fourth and half of that is half of what is exposed, and a points the other way.
    ways = [float(whole.told[number][0]) / 7 for number in range(len(sevens))]
    assert all(0.2 < way < 0.55 for way in ways[: PIECE + 1]), ways
    assert all(-0.55 < way < -0.2 for way in ways[PIECE + 1 :]), ways
    # The more of the time the shutter was closed, the longer the seven go on.
    for number, way in enumerate(ways):
        longer = whole.longer.get(number, 1.0)
        assert longer == pytest.approx(max(6 / 7 / (2 * abs(way)), 1), rel=0.1), (number, ways)

    target, told = tmp_path / "out.mp4", {}
    for fail_at in (1, PIECE + 1, None):
        some = Fitting(sevens, fail_at)
        if fail_at is None:
            extract_video(source, target, some)
        else:
            with pytest.raises(KeyboardInterrupt):
                extract_video(source, target, some)
        told |= some.told
    assert sorted(told) == sorted(whole.told)
    for number, a in told.items():
        torch.testing.assert_close(a, whole.told[number])


def test_a_lost_frame_is_made_again_with_what_was_known_of_its_motion(tmp_path, quick):
    sevens = sevens_of(PIECE + 3)
    source = blurry(tmp_path / "in.mp4", sevens)
    whole, again = Fitting(sevens), Fitting(sevens)
    extract_video(source, tmp_path / "whole.mp4", whole)
    target = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        extract_video(source, target, Fitting(sevens, PIECE + 2))
    for lost in (tmp_path / ".out.mp4.blurvid").glob("*.npy"):
        lost.unlink()

    extract_video(source, target, again)

    assert sorted(again.told) == list(range(PIECE - 2, PIECE + 3))
    for number, a in again.told.items():
        assert torch.equal(a, whole.told[number])
    assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_what_the_user_says_of_the_motion_goes_before_what_neighbours_tell(tmp_path, quick):
    sevens = sevens_of(3)
    fitting = Fitting(sevens)
    fitting.recipe = Recipe(Source("known", "known"), motion=(Way(5.0, 0.0),))
    fitting.sighted = None  # is not asked

    extract_video(blurry(tmp_path / "in.mp4", sevens), tmp_path / "out.mp4", fitting)

    assert fitting.told == dict.fromkeys(range(3))


def test_too_little_memory_to_look_at_neighbours_is_said(tmp_path, monkeypatch):
    def lack(frames):
        raise MemoryError

    monkeypatch.setattr(video, "_floats", lack)
    source = blurry(tmp_path / "in.mp4", sevens_of(1))

    with pytest.raises(DeviceError, match="cpu ran out of memory"):
        extract_video(source, tmp_path / "out.mp4", Fitting(sevens_of(1)))


def test_half_a_line_and_lost_frames_are_made_again(tmp_path, quick):
    sevens = sevens_of(PIECE + 2)
    turned = [False, True] * (len(sevens) // 2)
    source = blurry(tmp_path / "in.mp4", sevens)
    extract_video(source, tmp_path / "whole.mp4", Known(sevens, turned))
    target = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        extract_video(source, target, Known(sevens, turned, PIECE + 1))
    work = tmp_path / ".out.mp4.blurvid"
    log = (work / "joints.jsonl").read_bytes()
    (work / "joints.jsonl").write_bytes(log[:-7])
    (work / f"{PIECE:06d}.npy").write_bytes(b"\x93NUMPY")

    extract_video(source, target, Known(sevens, turned))
    assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_what_waits_does_not_grow_with_the_video(tmp_path, quick):
    count = 2 * PIECE + 2
    sevens = sevens_of(count)
    source = blurry(tmp_path / "in.mp4", sevens)
    work = tmp_path / ".out.mp4.blurvid"
    most = 0

    def look(*_):
        nonlocal most
        most = max(most, len(list(work.glob("0*.npy"))))

    extract_video(source, tmp_path / "out.mp4", Known(sevens, [False] * count), on_step=look)
    assert PIECE <= most <= PIECE + 4


@pytest.mark.parametrize(
    ("options", "sound", "rate", "words"),
    [
        (VideoOptions(), 7 * 0.4, 10, 0),
        (VideoOptions(fps="keep"), 0.4, 70, 0),
        (VideoOptions(audio="keep"), 0.4, 10, 1),
        (VideoOptions(fps=20, audio="stretch"), 3.5 * 0.4, 20, 0),
        (VideoOptions(audio="drop"), None, 10, 0),
    ],
)
def test_sound_is_stretched_kept_or_dropped(tmp_path, quick, options, sound, rate, words):
    sevens = sevens_of(4)
    source = blurry(tmp_path / "in.mp4", sevens, sound=True)
    made = extract_video(source, tmp_path / "out.mp4", Known(sevens, [False] * 4), options)
    assert (made.audio, made.fps, len(made.warnings)) == (options.audio, rate, words)
    assert media.video_info(tmp_path / "out.mp4").timing.rate == rate
    with av.open(str(made.path)) as file:
        assert len(file.streams.audio) == (sound is not None)
    if sound is not None:
        assert len(sound_of(made.path)) / 8000 == pytest.approx(sound, abs=0.15)


# Parts of videos, and animations


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("audio", ["stretch", "keep"])
def test_a_part_of_a_video_is_taken_with_its_sound_and_chapters(tmp_path, quick, start, audio):
    count, rate = 12, 4
    sevens = sevens_of(count)
    pictures = [media.to_uint8(average_frames(x, 2.2)) for x in sevens]
    names = [(0, 1200, "a"), (1200, 2000, "b"), (2000, 3000, "c")]
    chapters = [
        {"id": i, "start": a, "end": b, "time_base": Fraction(1, 1000), "metadata": {"title": name}}
        for i, (a, b, name) in enumerate(names)
    ]
    tones = [{"hertz": 440, "length": 1.5}, {"hertz": 880, "length": 1.5, "start": 1.5}]
    source = write_video(
        tmp_path / "in.mp4", pictures, rate, start=start, tones=tones[:1], chapters=chapters
    )
    known = Known(sevens, [False] * count)
    options = VideoOptions(start=1, duration=1, audio=audio)

    made = extract_video(source, tmp_path / "out.mp4", known, options)

    assert known.asked == [4, 5, 6, 7]
    assert (made.frames, made.fps, made.audio) == (4, rate, audio if not start else "none")
    info = media.video_info(made.path)
    assert (info.timing.rate, info.timing.count, info.timing.start) == (rate, 28, 0)
    with av.open(str(made.path)) as file:
        begins = [float(chapter["start"] * chapter["time_base"]) for chapter in file.chapters()]
        kept = [*zip(begins, (c["metadata"]["title"] for c in file.chapters()), strict=True)]
    if start:  # the pictures begin at 3 s, where the sound and the chapters are over
        assert kept == []
        return
    assert kept == [(0, "a"), (pytest.approx(1.4, abs=0.01), "b")]
    sound = sound_of(made.path)
    heard = 0.5 * (7 if audio == "stretch" else 1)  # the tone ends in the middle of the part
    loud = np.flatnonzero(np.abs(sound.astype(int)) > 2000)
    assert loud[-1] / 8000 == pytest.approx(heard, abs=0.1)
    assert loud[0] / 8000 < 0.1
    assert pitch(sound[loud[0] : loud[-1]]) == pytest.approx(440, abs=5)


def test_a_part_of_varying_rate_keeps_its_times(tmp_path, quick):
    sevens = sevens_of(5)
    pictures = [media.to_uint8(average_frames(x, 2.2)) for x in sevens]
    source = write_video(tmp_path / "in.mkv", pictures, times=[0, 100, 350, 400, 900])
    known = Known(sevens, [False] * 5)
    options = VideoOptions(start=Fraction("0.1"), duration=0.5, fps="keep")
    made = extract_video(source, tmp_path / "out.mp4", known, options)
    assert known.asked == [1, 2, 3]
    times = shown(made.path)
    assert [float(t) for t in times[::7]] == pytest.approx([0, 0.25, 0.3], abs=1e-4)
    # the last picture stays until the part is over
    assert float(times[-1]) == pytest.approx(0.3 + 0.2 * 6 / 7, abs=1e-3)


@pytest.mark.parametrize("audio", ["stretch", "keep"])
def test_a_video_becomes_webm_with_its_sound(tmp_path, quick, audio):
    sevens = sevens_of(PIECE + 1)
    source = blurry(tmp_path / "in.mp4", sevens, sound=True)
    known = Known(sevens, [False] * len(sevens))
    made = extract_video(source, tmp_path / "out.webm", known, VideoOptions(audio=audio))
    assert (made.audio, made.fps) == (audio, 10)
    with av.open(str(made.path)) as file:
        codecs = [stream.codec_context.name for stream in file.streams]
        assert codecs[0].startswith("vp9")
        assert "opus" in codecs[1]
    assert [float(t) for t in shown(made.path)] == pytest.approx(np.arange(35) / 10, abs=1e-3)
    truth = media.to_uint8(torch.cat(sevens)).astype(int)
    pictures = media.read_video(made.path)
    errors = [np.abs(a - b).mean() for a, b in zip(pictures, truth, strict=True)]
    assert max(errors) < 8, errors
    sound = sound_of(made.path)
    assert len(sound) / 8000 == pytest.approx(0.5 * (7 if audio == "stretch" else 1), abs=0.15)
    assert pitch(sound) == pytest.approx(440, abs=5)


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_a_video_becomes_an_animation(tmp_path, quick, kind):
    sevens = sevens_of(PIECE + 1)
    source = blurry(tmp_path / "in.mp4", sevens, sound=True, fps=Fraction(30000, 1001))
    known = Known(sevens, [False] * len(sevens))
    made = extract_video(source, tmp_path / f"out.{kind}", known)
    assert (made.audio, made.warnings) == ("drop", ())
    truth = media.to_uint8(torch.cat(sevens)).astype(int)
    with Image.open(made.path) as file:
        assert (file.n_frames, file.size, file.info["loop"]) == (len(truth), SIZE[::-1], 0)
        times, errors = [], []
        for index, picture in enumerate(truth):
            file.seek(index)
            errors.append(np.abs(np.asarray(file.convert("RGB")) - picture).mean())
            times.append(file.info["duration"])
    assert max(errors) < 6, errors
    assert sum(times) == pytest.approx(len(truth) * 1001 / 30, abs=6)
    assert max(times) - min(times) <= 10  # hundredths of a second do not add up
    # Faster than browsers show: some are left out.
    fast = VideoOptions(fps=100)
    again = Known(sevens, [False] * len(sevens))
    made = extract_video(source, tmp_path / f"fast.{kind}", again, fast)
    assert made.warnings == ("18 frames would be shown for less than 1/50 s, and are left out",)
    with Image.open(made.path) as file:
        assert file.n_frames == 17
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"fast.{kind}", "in.mp4", f"out.{kind}"]


def test_pixels_of_an_animation_are_square(tmp_path, quick):
    sevens = sevens_of(2)
    source = blurry(tmp_path / "in.mp4", sevens, aspect="4/3")
    made = extract_video(source, tmp_path / "out.gif", Known(sevens, [False] * 2))
    with Image.open(made.path) as file:
        assert file.size == (64, 32)


# What goes wrong


def test_pixels_keep_their_shape_and_doubts_are_counted(tmp_path, quick):
    sevens = sevens_of(2)
    blurry(tmp_path / "wide.mp4", sevens, aspect="4/3")
    extract = Known(sevens, [False] * 2, doubts=("still",))

    made = extract_video(tmp_path / "wide.mp4", tmp_path / "out.mp4", extract)

    assert media.video_info(made.path).aspect == (4, 3)
    assert made.warnings == ("in tiles", "no motion found in 2 of 2 frames")


def test_a_region_outside_is_not_in_the_way_of_the_next_one(tmp_path, tiny, surroundings):
    blurry(tmp_path / "in.mp4", sevens_of(2))
    words = ("extract", tmp_path / "in.mp4", "-o", tmp_path / "out.mp4", "--weights", tiny, *QUICK)

    assert invoke(*words, "--region", "900,900,9,9").exit_code == 3
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    assert invoke(*words, "--region", "8,8,32,24").exit_code == 0


def test_errors_leave_nothing_behind(tmp_path):
    sevens = sevens_of(2)
    source = blurry(tmp_path / "in.mp4", sevens)
    known = Known(sevens, [False] * 2)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match="not a video"):
        extract_video(tmp_path / "text.mp4", tmp_path / "out.mp4", known)
    with pytest.raises(InputError, match="no such file"):
        extract_video(tmp_path / "nowhere.mp4", tmp_path / "out.mp4", known)
    with pytest.raises(OptionError, match=r"a video becomes a \.mp4, \.webm, \.gif, \.webp file"):
        extract_video(source, tmp_path / "out.html", known)
    with pytest.raises(OutputError, match="exists already"):
        extract_video(source, source, known)
    with pytest.raises(OutputError, match="the same file as the input"):
        extract_video(source, source, known, overwrite=True)
    given_ = Known(sevens, [False] * 2)
    picture = Source("sharp.png", GIVEN, Path("sharp.png"))
    given_.recipe = Recipe(Source("known", "known"), picture)
    with pytest.raises(OptionError, match="a picture is the middle frame of one photo"):
        extract_video(source, tmp_path / "out.mp4", given_)
    for choice in ({"frames": 13}, {"beyond": 1}, {"direction": "left"}):
        given_.recipe = Recipe(Source("known", "known"), **choice)
        with pytest.raises(OptionError, match="becomes 7 frames"):
            extract_video(source, tmp_path / "out.mp4", given_)
    wrong = ({"fps": 0}, {"fps": "x"}, {"audio": "x"}, {"start": -1}, {"duration": 0})
    for options in wrong:
        with pytest.raises(OptionError):
            check(VideoOptions(**options))
    for options in ({"start": 0.2}, {"start": 0.05, "duration": 0.01}):
        with pytest.raises(InputError, match=r"nothing is in that part.* shown at 0\.1 s"):
            extract_video(source, tmp_path / "out.mp4", known, VideoOptions(**options))
    assert known.asked == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "text.mp4"]


def test_work_of_another_run_is_not_mixed_in(tmp_path, quick):
    sevens = sevens_of(3)
    source = blurry(tmp_path / "in.mp4", sevens)
    target = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        extract_video(source, target, Known(sevens, [False] * 3, fail_at=2))
    with pytest.raises(OutputError, match=r"begun with other settings .*\(crf\); --overwrite"):
        extract_video(source, target, Known(sevens, [False] * 3), VideoOptions(crf=30))
    with media.Shelf.opened(target, {}, anew=True):
        pass
    again = Known(sevens, [False] * 3)
    extract_video(source, target, again, overwrite=True)
    assert again.asked == [0, 1, 2]


def test_two_processes_do_not_make_one_output(tmp_path):
    with media.Shelf.opened(tmp_path / "out.mp4", {}):
        with pytest.raises(OutputError, match="another blurvid process is writing here"):
            with media.Shelf.opened(tmp_path / "out.mp4", {}):
                pass


# The command line


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    torch.manual_seed(0)
    net = DirectNet(DirectSpec(channels=(8, 12), blocks=(1, 1)))
    torch.nn.init.uniform_(net.head.bias, -0.3, 0.3)
    store.save(net, folder, name="tiny", recipe={}, data="", scores={}, licence="MIT")
    return folder


QUICK = ("--device", "cpu", "--threads", 1)


@pytest.mark.quick
def test_videos_from_the_command_line(tmp_path, tiny, surroundings, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blurry(Path("in.mp4"), sevens_of(2), sound=True)
    words = ("extract", "in.mp4", "--weights", tiny, *QUICK)
    result = invoke(*words, "--audio", "drop", "-v")
    assert (result.exit_code, result.stdout) == (0, "in_slow.mp4\n")
    assert "2 frames to 14 at 10 a second, 1 shot" in result.stderr
    assert "its sound is left out" in result.stderr

    monkeypatch.setenv("BLURVID_CONFIG", "own.toml")  # some of which is for photos
    Path("own.toml").write_text('[extract]\ndirection = "left"\nflip = ["1,1"]\nseconds = 9.0\n')
    result = invoke(*words, "-o", "out", "--json", "--fps", "keep")
    record = json.loads(result.stdout)
    assert (record["outputs"], record["fps"], record["frames"]) == (["out/in.mp4"], 70.0, 2)
    result = invoke(*words, "-o", "out", "--json", "--skip-existing")
    assert json.loads(result.stdout)["skipped"] is True
    result = invoke(*words, "-o", "out", "--json")
    assert (result.exit_code, json.loads(result.stdout)["outputs"]) == (6, [])
    assert json.loads(result.stdout)["error"] in result.stderr

    for extra in (("--flip", "1,1"), ("--once",), ("--engine", "ray"), ("photo.png",)):
        result = invoke(*words, *extra, "-o", "no")
        assert result.exit_code == 2, extra
        assert "photos" in result.stderr
    result = invoke(*words, "-o", "x.png")
    assert result.exit_code == 2
    assert "a video becomes a .mp4, .webm, .gif, .webp file" in result.stderr
    for extra in (("--fps", "keep"), ("--audio", "drop"), ("--square",), ("--no-caption",)):
        assert invoke("extract", "photo.png", "--weights", tiny, *extra).exit_code == 2
    assert not Path("no").exists()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_a_killed_process_goes_on(tmp_path, tiny, surroundings, monkeypatch):
    rng = np.random.default_rng(0)
    pictures = list(rng.integers(0, 256, (8, 32, 48, 3), dtype=np.uint8))
    write_video(tmp_path / "in.mp4", pictures)
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "BLURVID_WEIGHTS": str(tiny),
    }
    words = ["extract", "in.mp4", "-q", "--device", "cpu", "--threads", "1", "-o"]
    command = [sys.executable, "-m", "blurvid", *words]
    options = {"cwd": tmp_path, "env": environment}
    process = subprocess.Popen([*command, "out.mp4"], **options)
    work = tmp_path / ".out.mp4.blurvid"
    while process.poll() is None and not (work / "000003.npy").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (work / "000003.npy").exists()
    assert not (tmp_path / "out.mp4").exists()
    monkeypatch.setattr(video, "PIECE", WHOLE_PIECE)  # as in the process that was killed
    again = ("extract", tmp_path / "in.mp4", "--weights", tiny, *QUICK, "-q", "-o")
    assert invoke(*again, tmp_path / "out.mp4").exit_code == 0
    assert invoke(*again, tmp_path / "whole.mp4").exit_code == 0
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert len(list(media.read_video(tmp_path / "out.mp4"))) == 7 * 8
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["in.mp4", "out.mp4", "whole.mp4"]

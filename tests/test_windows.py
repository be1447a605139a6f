import json
import shutil
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from clips import write_video
from helpers import invoke
from PIL import Image
from torch.testing import assert_close

from blurvid import media
from blurvid.errors import InputError, OptionError, OutputError
from blurvid.exposure import average_frames
from blurvid.lab.data import (
    SourceClip,
    find_clips,
    plan_windows,
    read_windows,
    write_windows,
)
from blurvid.lab.metrics import psnr
from blurvid.lab.options import MotionOptions, SynthOptions

HEIGHT, WIDTH = 32, 48
PLAIN = SynthOptions()


def make_windows(clip, options, skip=()):
    return (make() for make in plan_windows(clip, options, skip=skip))


def frame(index, step=1, height=HEIGHT, width=WIDTH):
    """A smooth texture that moves to the right by `step` px a frame."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x = x - step * index
    red, green = np.sin(0.35 * x + 0.2 * y), np.cos(0.21 * y - 0.3 * x)
    waves = [red, green, np.sin(0.5 * y) * np.cos(x / 4)]
    return torch.from_numpy(0.5 + 0.4 * np.stack(waves))


def make_frames(folder, count, pattern="{:06d}.png", step=1):
    folder.mkdir(parents=True)
    for index in range(count):
        media.write_still(frame(index, step), folder / pattern.format(index + 1))
    return folder


def snapshot(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def clip(tmp_path):
    return make_frames(tmp_path / "street", 17)


# finding


def test_gopro_all_layout(tmp_path):
    for part, scene in [("train", "GOPR0372_07_00"), ("test", "GOPR0384_11_01")]:
        make_frames(tmp_path / "GOPRO_Large_all" / part / scene, 2)
    clips = find_clips([tmp_path / "GOPRO_Large_all"])

    assert [c.name for c in clips] == ["test/GOPR0384_11_01", "train/GOPR0372_07_00"]
    assert {c.layout for c in clips} == {"folder of frames"}
    assert not any(c.warnings for c in clips)


def test_gopro_pairs_layout_is_taken_with_a_warning(tmp_path):
    scene = tmp_path / "GOPRO_Large" / "train" / "GOPR0372_07_00"
    for kind in ("blur", "blur_gamma", "sharp"):
        make_frames(scene / kind, 7)
    for source, name in [
        (tmp_path / "GOPRO_Large", "train/GOPR0372_07_00"),
        (scene, "GOPR0372_07_00"),
        (scene / "sharp", "GOPR0372_07_00"),
    ]:
        (found,) = find_clips([source])
        assert (found.name, found.path) == (name, scene / "sharp")
        assert "GOPRO_Large_all" in found.warnings[0]
    (window,) = make_windows(found, PLAIN)
    assert window.record["warnings"][0] == found.warnings[0]
    assert window.record["layout"] == "GOPRO_Large, sharp/"


def test_folders_of_folders_natural_order_and_hidden_ones(tmp_path):
    for name in ("a10", "a9", "deep/er/b", ".hidden"):
        make_frames(tmp_path / name, 1)
    make_frames(tmp_path / "c" / "frames", 1)
    make_frames(tmp_path / "c" / "other", 1)
    assert [c.name for c in find_clips([tmp_path])] == ["a9", "a10", "c", "deep/er/b"]


def test_frames_come_in_natural_order(tmp_path):
    folder = make_frames(tmp_path / "x", 11, "f{}.png")
    (found,) = find_clips([folder])
    for index, image in enumerate(found.frames()):
        assert_close(image, frame(index), atol=0.5001 / 255, rtol=0)


def test_equal_names_are_told_apart(tmp_path):
    first = make_frames(tmp_path / "one" / "x", 1)
    second = make_frames(tmp_path / "two" / "X", 1)
    assert [c.name for c in find_clips([first, second])] == ["x", "X_2"]


def test_a_link_in_circles_ends(clip):
    (clip / "loop").symlink_to(clip.parent)
    assert [c.name for c in find_clips([clip])] == ["street"]


@pytest.mark.parametrize("name", ["missing", "empty", "notes.txt"])
def test_sources_without_clips_are_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no clip")
    with pytest.raises(InputError, match=name):
        find_clips([tmp_path / name])


# making


def test_windows_of_seven_and_their_records(clip):
    (found,) = find_clips([clip])
    windows = list(make_windows(found, PLAIN))

    assert [w.record["frames"] for w in windows] == [list(range(7)), list(range(7, 14))]
    assert [w.record["window"] for w in windows] == ["street/000001", "street/000002"]
    for window in windows:
        assert window.sharp().shape == (7, 3, HEIGHT, WIDTH)
        assert_close(window.blurry(), average_frames(window.sharp(), 2.2))
        assert window.record["warnings"] == []
        motion = window.record["motion"]
        assert motion["dx"] == pytest.approx(6, abs=0.3)
        assert motion["dy"] == pytest.approx(0, abs=0.3)
        assert motion["per_frame_px"] == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(
    ("count", "stride", "starts"), [(5, None, [0, 5, 10]), (3, 7, [0, 7, 14]), (7, 4, [0, 4, 8])]
)
def test_odd_counts_and_strides(clip, count, stride, starts):
    (found,) = find_clips([clip])
    windows = list(make_windows(found, SynthOptions(frames=count, stride=stride)))
    assert [w.record["frames"] for w in windows] == [list(range(s, s + count)) for s in starts]


def test_frames_between_windows_are_not_read(clip):
    (clip / "000011.png").write_bytes(b"broken")
    (found,) = find_clips([clip])
    assert len(list(make_windows(found, SynthOptions(frames=3, stride=14)))) == 2
    with pytest.raises(InputError, match="000011"):
        list(make_windows(found, PLAIN))


def test_crop_noise_and_scale(clip):
    (found,) = find_clips([clip])
    options = SynthOptions(scale=0.75, crop=20, noise=0.01, gamma="srgb", seed=3)
    windows = list(make_windows(found, options))

    for window in windows:
        left, top, width, height = window.record["crop"]
        assert (width, height) == (20, 20)
        assert 0 <= left <= 36 - 20 and 0 <= top <= 24 - 20
        assert window.record["filter"] == "bicubic, antialiased"
        assert window.sharp().shape == (7, 3, 20, 20)
        difference = window.blurry() - average_frames(window.sharp(), "srgb")
        assert float(difference.std()) == pytest.approx(0.01, rel=0.15)
    assert len({tuple(w.record["crop"]) for w in windows}) == 2


def test_randomness_follows_from_seed_clip_and_number_alone(clip):
    (found,) = find_clips([clip])
    options = SynthOptions(crop=20, noise=0.01)
    _, second = make_windows(found, options)
    (alone,) = make_windows(found, options, skip={1})
    other = list(make_windows(found, replace(options, seed=1)))[1]

    assert alone.record == second.record
    assert torch.equal(alone.blurry(), second.blurry())
    assert not torch.equal(other.blurry(), second.blurry())


def test_fast_motion_is_warned_about(tmp_path):
    (found,) = find_clips([make_frames(tmp_path / "fast", 7, step=3)])
    (window,) = make_windows(found, PLAIN)
    assert "ghosts" in window.record["warnings"][0]
    (window,) = make_windows(found, SynthOptions(max_motion=4))
    assert window.record["warnings"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": 6},
        {"frames": 1},
        {"stride": 0},
        {"scale": 0},
        {"scale": 1.5},
        {"crop": 8},
        {"gamma": 0},
        {"gamma": float("nan")},
        {"gamma": "rec709"},
        {"noise": -1},
    ],
)
def test_options_out_of_range_are_refused(clip, wrong):
    (found,) = find_clips([clip])
    with pytest.raises(OptionError, match=next(iter(wrong))):
        next(make_windows(found, SynthOptions(**wrong)))


def test_clips_that_make_no_window_are_refused(clip, tmp_path):
    (found,) = find_clips([clip])
    with pytest.raises(InputError, match="17 frames, a window needs 19"):
        list(make_windows(found, SynthOptions(frames=19)))
    with pytest.raises(InputError, match="48x32 px, smaller than 33"):
        list(make_windows(found, SynthOptions(crop=33)))
    media.write_still(frame(0, height=30), clip / "000003.png", overwrite=True)
    with pytest.raises(InputError, match="different sizes"):
        list(make_windows(found, PLAIN))


def test_video_input(tmp_path):
    make_video(tmp_path / "clip.mp4")
    (found,) = find_clips([tmp_path])
    windows = list(make_windows(found, PLAIN))

    assert (found.name, found.layout, len(windows)) == ("clip", "video", 2)
    assert float(psnr(windows[0].sharp()[0], frame(0))) > 25
    assert windows[1].record["frames"] == list(range(7, 14))
    assert_close(windows[0].blurry(), average_frames(windows[0].sharp(), 2.2), atol=1e-6, rtol=0)
    (small, _) = make_windows(found, SynthOptions(scale=0.5))
    assert small.record["filter"].startswith("bicubic, antialiased, by ffmpeg")
    assert small.sharp().shape == (7, 3, HEIGHT // 2, WIDTH // 2)
    expected = media.scaled(windows[0].sharp()[0], 0.5)
    assert float(psnr(small.sharp()[0], expected)) > 40  # colors are stored at half size


# writing and reading


def test_round_trip(clip, tmp_path):
    out = tmp_path / "out"
    seen = []
    summary = write_windows([clip], out, SynthOptions(crop=24), on_window=seen.append)
    stored = read_windows(out)

    assert (summary.clips, summary.written, summary.skipped, summary.failed) == (1, 2, 0, 0)
    assert [w.record for w in stored] == seen
    assert sorted(p.name for p in (out / "street" / "000001").iterdir()) == [
        "blurry.png",
        *(f"sharp_{i}.png" for i in range(1, 8)),
    ]
    made = make_windows(find_clips([clip])[0], SynthOptions(crop=24))
    for window, original in zip(stored, made, strict=True):
        assert (window.clip, window.gamma, window.count) == ("street", 2.2, 7)
        assert_close(window.blurry(), original.blurry(), atol=0.5001 / 255, rtol=0)
        assert_close(window.sharp(), original.sharp(), atol=0.5001 / 255, rtol=0)
        assert psnr(average_frames(window.sharp(), 2.2), window.blurry()) > 45


def test_same_seed_same_bytes(clip, tmp_path):
    options = SynthOptions(crop=24, noise=0.01, scale=0.9)
    for name in ("one", "two"):
        write_windows([clip], tmp_path / name, options)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


def make_video(path, count=15):
    frames = [media.to_uint8(frame(i)) for i in range(count)]
    return write_video(path, frames, fps=30)


def test_the_number_of_workers_changes_nothing(clip, tmp_path):
    sources = [clip, make_video(tmp_path / "film.mp4")]
    options = SynthOptions(crop=20, noise=0.01, scale=0.8, stride=2)
    threads, told = torch.get_num_threads(), []
    for jobs in (1, 4):
        summary = write_windows(
            sources, tmp_path / str(jobs), options, jobs=jobs, on_window=told.append
        )
        assert summary.written == 11
    assert snapshot(tmp_path / "1") == snapshot(tmp_path / "4")
    assert told[:11] == told[11:]
    assert torch.get_num_threads() == threads
    with pytest.raises(OptionError, match="threads must be from 1 to 1024"):
        write_windows(sources, tmp_path / "none", options, jobs=0)


@pytest.mark.parametrize("length", [40, 80])
def test_frames_in_memory_do_not_depend_on_the_length(tmp_path, length):
    clip = SourceClip("long", tmp_path / "long.mp4", "video")
    alive, most = weakref.WeakSet(), []

    def loaders(self, scale):
        for index in range(length):
            image = (frame(index) * 255).to(torch.uint8)
            alive.add(image)
            most.append(len(alive))
            yield lambda image=image: image

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SourceClip, "loaders", loaders)
        patch.setattr("blurvid.lab.data.write.find_clips", lambda sources: [clip])
        write_windows([clip.path], tmp_path / "out", SynthOptions(frames=5), jobs=2)
    assert max(most) <= 5 * (2 * 2 + 2)


def test_what_breaks_late_leaves_whole_windows_and_nothing_else(clip, tmp_path):
    (clip / "000012.png").write_bytes(b"broken")
    failures = []
    summary = write_windows(
        [clip],
        tmp_path / "out",
        SynthOptions(frames=3),
        jobs=3,
        on_error=lambda found, error: failures.append(str(error)),
    )
    assert summary.written == 3
    assert "000012" in failures[0]
    assert sorted(path.name for path in (tmp_path / "out" / "street").iterdir()) == [
        "000001",
        "000002",
        "000003",
    ]


def test_an_interrupt_leaves_nothing_half_done(clip, tmp_path):
    def stop(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_windows([clip], tmp_path / "out", SynthOptions(frames=3), jobs=3, on_window=stop)
    assert [path.name for path in (tmp_path / "out" / "street").iterdir()] == ["000001"]


@pytest.mark.parametrize("line", ["whole", "cut short", "missing"])
def test_a_resumed_run_equals_an_uninterrupted_one(clip, tmp_path, line):
    options = SynthOptions(crop=24, noise=0.01, stride=5)
    write_windows([clip], tmp_path / "whole", options)
    out = tmp_path / "out"

    def stop(record):
        if record["window"].endswith("2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_windows([clip], out, options, on_window=stop)
    unfinished = out / "manifest.jsonl.partial"
    lines = unfinished.read_bytes().splitlines(keepends=True)
    assert len(lines) == 2
    unfinished.write_bytes(
        lines[0] + {"whole": lines[1], "cut short": lines[1][:30], "missing": b""}[line]
    )
    (out / ".making-x" / "y").mkdir(parents=True)
    (out / ".making-x" / "y" / "blurry.png").write_bytes(b"half")
    with pytest.raises(InputError, match="interrupted"):
        read_windows(out)

    summary = write_windows([clip], out, options, resume=True)

    assert snapshot(out) == snapshot(tmp_path / "whole")
    assert (summary.written, summary.skipped) == ((1, 2) if line == "whole" else (2, 1))


def test_resuming_a_finished_run_does_nothing_unless_options_changed(clip, tmp_path):
    out = tmp_path / "out"
    write_windows([clip], out, PLAIN)
    before = snapshot(out)
    assert write_windows([clip], out, PLAIN, resume=True).written == 0
    assert snapshot(out) == before
    with pytest.raises(OptionError, match="other options"):
        write_windows([clip], out, SynthOptions(gamma=1.0), resume=True)


def test_what_a_version_with_fewer_options_began_is_gone_on_with(tmp_path):
    photo, out, options = tmp_path / "photo.png", tmp_path / "out", SynthOptions(crop=24)
    Image.effect_noise((64, 64), 60).convert("RGB").save(photo)
    motion = MotionOptions(max_path=8.0, covered=0.0)
    write_windows([photo], out, options, motion=motion)
    manifest = out / "manifest.jsonl"
    record = json.loads(manifest.read_text())
    del record["simulated"]["shaken"]
    manifest.write_text(json.dumps(record) + "\n")
    assert write_windows([photo], out, options, motion=motion, resume=True).written == 0
    with pytest.raises(OptionError, match="other options"):
        write_windows([photo], out, options, motion=replace(motion, shaken=1.0), resume=True)


def test_a_window_folder_removed_is_made_again(clip, tmp_path):
    out = tmp_path / "out"
    write_windows([clip], out, PLAIN)
    before = snapshot(out)
    shutil.rmtree(out / "street" / "000002")
    assert write_windows([clip], out, PLAIN, resume=True).written == 1
    assert snapshot(out).keys() == before.keys()
    assert len(read_windows(out)) == 2


def test_existing_output(clip, tmp_path):
    out = tmp_path / "out"
    write_windows([clip], out, PLAIN)
    before = snapshot(out)
    with pytest.raises(OutputError, match="not empty"):
        write_windows([clip], out, PLAIN)
    assert snapshot(out) == before
    (out / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="a file"):
        write_windows([clip], out / "mine.txt", PLAIN)


def test_a_bad_clip_does_not_stop_the_others(clip, tmp_path):
    short = make_frames(tmp_path / "short", 3)
    failures = []
    summary = write_windows(
        [short, clip],
        tmp_path / "out",
        PLAIN,
        on_error=lambda found, error: failures.append((found.name, str(error))),
    )
    assert (summary.written, summary.failed) == (2, 1)
    assert failures[0][0] == "short"
    with pytest.raises(InputError, match="3 frames"):
        write_windows([short, clip], tmp_path / "other", PLAIN)


def test_own_output_is_not_taken_for_clips(clip, tmp_path):
    write_windows([clip], tmp_path / "out", PLAIN)
    assert [c.name for c in find_clips([tmp_path])] == ["street"]


@pytest.mark.parametrize("name", ["../x", "/etc", "..\\x"])
def test_a_manifest_leading_elsewhere_is_refused(clip, tmp_path, name):
    out = tmp_path / "out"
    write_windows([clip], out, PLAIN)
    record = json.loads((out / "manifest.jsonl").read_text().splitlines()[0])
    (out / "manifest.jsonl").write_text(json.dumps({**record, "window": name}) + "\n")
    with pytest.raises(InputError, match="leads out"):
        read_windows(out)
    with pytest.raises(InputError, match="leads out"):
        write_windows([clip], out, PLAIN, resume=True)


@pytest.mark.parametrize("text", ["no json\n", "[]\n", "{}\n", '{"window": "a/1"'])
def test_damaged_manifests_are_refused(tmp_path, text):
    (tmp_path / "manifest.jsonl").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.jsonl"):
        read_windows(tmp_path)


def listing(tmp_path, *samples):
    (tmp_path / "samples.json").write_text(json.dumps({"samples": samples}))
    return tmp_path


def test_a_listing_of_ones_own(tmp_path):
    make_frames(tmp_path / "clips" / "own_1" / "frames", 9, "{}.png")
    media.write_still(torch.zeros(3, HEIGHT, WIDTH), tmp_path / "clips" / "own_1" / "blur.png")
    seven, nine = list(range(7)), list(range(9))
    stored, averaged, wider = read_windows(
        listing(
            tmp_path,
            {"clip": "own_1", "frames": seven, "blurry": "blur.png"},
            {"clip": "own_1", "frames": seven},
            {"clip": "own_1", "frames": seven, "average_frames": nine},
        )
    )
    assert [w.name for w in (stored, averaged, wider)] == [f"own_1/00000{i}" for i in (1, 2, 3)]
    assert (wider.clip, wider.gamma, wider.count) == ("own_1", 2.2, 7)
    assert float(stored.blurry().max()) == 0
    expected = average_frames(averaged.sharp(), 2.2)
    assert_close(averaged.blurry(), expected, atol=0.5001 / 255, rtol=0)
    assert_close(averaged.sharp()[6], frame(6), atol=0.5001 / 255, rtol=0)
    expected = average_frames(torch.stack([frame(i) for i in nine]), 2.2)
    assert_close(wider.blurry(), expected, atol=0.01, rtol=0)


@pytest.mark.parametrize(
    "sample",
    [{"clip": "own"}, {"clip": "own", "frames": [5]}, {"clip": "own", "frames": [-1]}, {}, "own"],
)
def test_damaged_listings_are_refused(tmp_path, sample):
    make_frames(tmp_path / "clips" / "own" / "frames", 2)
    with pytest.raises(InputError, match=r"samples\.json"):
        read_windows(listing(tmp_path, sample))


def test_a_folder_without_windows_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no manifest\.jsonl"):
        read_windows(tmp_path)


@pytest.mark.parametrize(
    ("names", "runs"),
    [
        ("1 2 3 4 5 6 7", ["0123456"[i : i + 3] for i in range(5)]),
        ("1 2 3 6 7 8 9", ["012", "345", "456"]),
        ("0 10 20 30 60 70 80", ["012", "123", "456"]),  # of a camera of which each tenth was kept
        ("0 33 66 100 133 167 200", ["0123456"[i : i + 3] for i in range(5)]),  # milliseconds
        ("1 2 3 x9 10 11 12", ["0123456"[i : i + 3] for i in range(5)]),  # not all of one name
    ],
)
def test_no_window_reaches_across_a_gap(tmp_path, names, runs):
    for name in names.split():
        Image.new("RGB", (32, 32), (9, 9, 9)).save(tmp_path / f"f{name:>04}.png")
    (clip,) = find_clips([tmp_path])
    windows = list(make_windows(clip, SynthOptions(frames=3, stride=1)))
    assert ["".join(map(str, window.record["frames"])) for window in windows] == runs
    assert [window.record["window"][-6:] for window in windows] == [
        f"{number:06d}" for number in range(1, len(runs) + 1)
    ]
    assert all(("gaps" in window.record) == (len(runs) < 5) for window in windows)


def test_gaps_are_named_once_and_in_the_manifest(tmp_path):
    (tmp_path / "in").mkdir()
    for number in (1, 2, 3, 7, 8, 9):
        Image.new("RGB", (32, 32), (9, 9, 9)).save(tmp_path / "in" / f"{number:03}.png")
    result = invoke("synth", tmp_path / "in", "-o", tmp_path / "out", "--frames", "3")
    gap = "frames are missing between 003.png and 007.png"
    assert result.stderr.count(gap) == 1
    listing = (tmp_path / "out" / "manifest.jsonl").read_text()
    records = [json.loads(line) for line in listing.splitlines()]
    assert [record["gaps"] for record in records] == [[gap]] * 2
    result = invoke("synth", tmp_path / "in", "-o", tmp_path / "more", "--frames", "5")
    assert result.exit_code == 3
    assert "3 frames without a gap, a window needs 5" in result.stderr

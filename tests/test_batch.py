"""Many photos: what goes where, and that one failure does not stop the others."""

from __future__ import annotations

import io
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Whole, extractor_of, plan, run_batch
from PIL import Image

from blurvid.config import ClipOptions
from blurvid.errors import InputError, OptionError, OutputError

pytestmark = pytest.mark.quick

QUICK = ClipOptions(seconds=0)


class Still(Whole):
    """A model whose frames are the photo."""

    name = "still"
    size_multiple = 1

    def __init__(self):
        self.calls = 0

    def __call__(self, y):
        self.calls += 1
        return y.unsqueeze(1).expand(-1, 7, -1, -1, -1)


@pytest.fixture
def extract():
    return extractor_of(Still(), "none", torch.device("cpu"), torch.float32, scale=1.0)


def make_photo(path, seed=0, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def make_photos(folder, *names):
    return [make_photo(folder / name, seed) for seed, name in enumerate(names)]


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


def frames_of(*stems):
    return sorted(f"{stem}_{i}.png" for stem in stems for i in range(1, 8))


# plan


def test_one_photo_to_a_named_file(tmp_path):
    (photo,) = make_photos(tmp_path, "a.jpg")
    (job,) = plan([photo], tmp_path / "clip.mp4")
    assert (job.photo, job.target) == (photo, tmp_path / "clip.mp4")
    assert job.name == str(photo)


def test_without_an_output_there_is_a_video_in_the_current_folder(tmp_path):
    photos = make_photos(tmp_path / "in", "a.jpg", "b.tar.jpg")
    jobs = plan([str(p) for p in photos], None)
    assert [job.target for job in jobs] == [Path("a.mp4"), Path("b.tar.mp4")]


@pytest.mark.parametrize("kind", ["mp4", "gif"])
def test_a_folder_of_clips(tmp_path, kind):
    photos = make_photos(tmp_path / "in", "a.jpg", "b.jpg")
    jobs = plan(photos, tmp_path / "out", kind)
    assert [job.target for job in jobs] == [tmp_path / f"out/{n}.{kind}" for n in "ab"]


def test_png_files_of_all_photos_share_a_folder(tmp_path):
    photos = make_photos(tmp_path / "in", "a.jpg", "b.jpg")
    jobs = plan(photos, tmp_path / "out", "png")
    assert [(job.target, job.stem) for job in jobs] == [
        (tmp_path / "out", "a"),
        (tmp_path / "out", "b"),
    ]


def test_one_photo_and_many_become_clips_in_a_folder(tmp_path):
    photos = make_photos(tmp_path / "in", "a.jpg", "b.jpg")
    for sources in (photos[:1], photos):
        names = [job.target.name for job in plan(sources, tmp_path / "out")]
        assert names == [f"{path.stem}.mp4" for path in sources]


def test_a_tree_stays_a_tree_in_natural_order(tmp_path):
    make_photos(
        tmp_path / "in", "b.jpg", "x/2.png", "x/10.png", "x/y/c.jpg", ".h.png", "no.txt.jpg"
    )
    (tmp_path / "in/notes.txt").write_text("no photo")
    jobs = plan([tmp_path / "in"], tmp_path / "out", "gif")
    relative = [str(job.target.relative_to(tmp_path / "out")) for job in jobs]
    assert relative == ["b.gif", "no.txt.gif", "x/2.gif", "x/10.gif", "x/y/c.gif"]


def test_photos_of_one_name_do_not_meet(tmp_path):
    (tmp_path / "other").mkdir()
    photos = make_photos(tmp_path, "a.jpg", "a.png", "other/a.png", "a_jpg.bmp", "b.jpg")
    jobs = plan(photos, tmp_path / "out", "mp4")
    names = [job.target.name for job in jobs]
    assert len(set(names)) == len(photos)
    assert names[-1] == "b.mp4"
    pngs = plan(photos, tmp_path / "out")
    assert len({(job.target, job.stem) for job in pngs}) == len(photos)


def test_folders_of_one_name_do_not_meet(tmp_path):
    make_photos(tmp_path, "one/x/a.jpg", "two/x/a.jpg")
    jobs = plan([tmp_path / "one", tmp_path / "two"], tmp_path / "out", "gif")
    assert len({job.target for job in jobs}) == 2


def test_standard_input(tmp_path):
    (job,) = plan(["-"], tmp_path / "out")
    assert job.photo is None
    assert job.name == "-"
    assert job.stem == "stdin"


def test_an_existing_folder_may_have_a_suffix(tmp_path):
    photos = make_photos(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "clips.2024").mkdir()
    jobs = plan(photos, tmp_path / "clips.2024", "gif")
    assert jobs[0].target == tmp_path / "clips.2024/a.gif"


@pytest.mark.parametrize("source", ["files", "folder of two", "folder of one"])
def test_a_file_cannot_be_the_output_of_many(tmp_path, source):
    photos = make_photos(tmp_path / "in", "a.jpg", "b.jpg")
    if source == "folder of one":
        photos.pop().unlink()
    sources = photos if source == "files" else [tmp_path / "in"]
    with pytest.raises(OptionError, match="name a folder"):
        plan(sources, tmp_path / "clip.mp4")


def test_contradicting_kinds_are_refused(tmp_path):
    (photo,) = make_photos(tmp_path, "a.jpg")
    with pytest.raises(OptionError, match="contradict"):
        plan([photo], tmp_path / "clip.mp4", "gif")
    (job,) = plan([photo], tmp_path / "CLIP.GIF", "gif")
    assert job.target.name == "CLIP.GIF"
    with pytest.raises(OptionError, match="no format named 'avi'"):
        plan([photo], tmp_path, "avi")


def test_a_folder_without_photos_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no photos"):
        plan([tmp_path / "empty"], None)


# run


def test_all_kinds_are_written(tmp_path, extract):
    photos = make_photos(tmp_path / "in", "a.jpg", "b.png")
    for kind, expected in [
        ("png", frames_of("a", "b")),
        ("gif", ["a.gif", "b.gif"]),
        ("mp4", ["a.mp4", "b.mp4"]),
    ]:
        jobs = plan(photos, tmp_path / kind, kind)
        outcomes = run_batch(jobs, extract, QUICK)
        assert [outcome.error for outcome in outcomes] == [None, None]
        assert files(tmp_path / kind) == expected
        assert all(path.exists() for outcome in outcomes for path in outcome.outputs)


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_folders_with_dots_in_their_names(tmp_path, extract, kind):
    make_photos(tmp_path / "in", "trip.2024/a.jpg", "x.gif/b.jpg", "v1.2/deep.er/c.d.jpg")
    jobs = plan([tmp_path / "in"], tmp_path / "out", kind)
    outcomes = run_batch(jobs, extract, QUICK)
    assert [outcome.error for outcome in outcomes] == [None] * 3
    stems = ["trip.2024/a", "v1.2/deep.er/c.d", "x.gif/b"]
    expected = frames_of(*stems) if kind == "png" else [f"{stem}.gif" for stem in stems]
    assert files(tmp_path / "out") == expected


def test_a_failure_does_not_stop_the_others(tmp_path, extract):
    photos = make_photos(tmp_path / "in", "a.png", "b.png", "c.png")
    photos[1].write_bytes(photos[1].read_bytes()[:40])
    seen = []

    jobs = plan(photos, tmp_path / "out", "gif")
    outcomes = run_batch(jobs, extract, QUICK, on_outcome=seen.append)

    assert files(tmp_path / "out") == ["a.gif", "c.gif"]
    assert isinstance(outcomes[1].error, InputError)
    assert "b.png" in str(outcomes[1].error)
    assert [outcome.recipe is not None for outcome in seen] == [True, False, True]
    assert [outcome.outputs for outcome in outcomes] == [o.outputs for o in seen]


def test_a_missing_photo_does_not_stop_the_others(tmp_path, extract):
    photos = make_photos(tmp_path / "in", "a.png", "c.png")
    jobs = plan([photos[0], tmp_path / "in/b.png", photos[1]], tmp_path / "out", "gif")
    outcomes = run_batch(jobs, extract, QUICK)
    assert files(tmp_path / "out") == ["a.gif", "c.gif"]
    (error,) = [outcome.error for outcome in outcomes if outcome.error]
    assert isinstance(error, InputError)
    assert "b.png" in str(error)


def test_fail_fast_stops(tmp_path, extract):
    photos = make_photos(tmp_path / "in", "a.png", "b.png", "c.png")
    photos[1].write_bytes(b"")
    jobs = plan(photos, tmp_path / "out", "gif")
    outcomes = run_batch(jobs, extract, QUICK, fail_fast=True)
    assert len(outcomes) == 2
    assert files(tmp_path / "out") == ["a.gif"]


def test_existing_outputs_are_an_error_before_any_work(tmp_path, extract):
    photos = make_photos(tmp_path / "in", "a.png", "b.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.gif").write_text("mine")
    jobs = plan(photos, tmp_path / "out", "gif")
    first, second = run_batch(jobs, extract, QUICK)
    assert isinstance(first.error, OutputError)
    assert second.error is None
    assert (tmp_path / "out/a.gif").read_text() == "mine"
    assert extract.model.calls == 1


def test_overwrite_replaces(tmp_path, extract):
    photos = make_photos(tmp_path / "in", "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.gif").write_text("old")
    jobs = plan(photos, tmp_path / "out", "gif")
    (outcome,) = run_batch(jobs, extract, QUICK, overwrite=True)
    assert outcome.error is None
    assert (tmp_path / "out/a.gif").read_bytes().startswith(b"GIF89a")


def test_skip_existing_resumes(tmp_path, extract):
    photos = make_photos(tmp_path / "in", "a.png", "b.png", "c.png")
    jobs = plan(photos, tmp_path / "out", "png")
    run_batch(jobs, extract, QUICK)
    for number in range(4, 8):  # as if b had been interrupted
        (tmp_path / f"out/b_{number}.png").unlink()
    (tmp_path / "out/c_2.png").unlink()
    before = (tmp_path / "out/a_1.png").stat().st_mtime_ns
    extract.model.calls = 0

    outcomes = run_batch(jobs, extract, QUICK, skip_existing=True)

    assert [outcome.skipped for outcome in outcomes] == [True, False, False]
    assert extract.model.calls == 2
    assert files(tmp_path / "out") == frames_of("a", "b", "c")
    assert (tmp_path / "out/a_1.png").stat().st_mtime_ns == before
    assert len(outcomes[0].outputs) == 7


def test_a_photo_is_not_replaced_by_its_own_frames(tmp_path, extract):
    (photo,) = make_photos(tmp_path, "a.gif")
    before = photo.read_bytes()
    (job,) = plan([photo], tmp_path, "gif")
    (outcome,) = run_batch([job], extract, QUICK, overwrite=True)
    assert isinstance(outcome.error, OutputError)
    assert str(photo) in str(outcome.error)
    assert photo.read_bytes() == before


@pytest.mark.parametrize("flags", [{}, {"skip_existing": True}, {"overwrite": True}])
def test_a_photo_is_not_replaced_by_the_frames_of_another(tmp_path, extract, flags):
    # a burst: a.png is at once a photo and what the second frame of a could be called
    photos = make_photos(tmp_path, "a.png", "a_2.png")
    before = [photo.read_bytes() for photo in photos]
    jobs = plan(photos, tmp_path, "png")
    run_batch(jobs, extract, QUICK, **flags)
    assert [photo.read_bytes() for photo in photos] == before


def test_standard_input_is_read(tmp_path, extract, monkeypatch):
    photo = make_photo(tmp_path / "a.png")
    stream = types.SimpleNamespace(buffer=io.BytesIO(photo.read_bytes()))
    monkeypatch.setattr(sys, "stdin", stream)
    (outcome,) = run_batch(plan(["-"], tmp_path / "out", "png"), extract, QUICK)
    assert outcome.error is None
    assert files(tmp_path / "out") == frames_of("stdin")


def test_bugs_are_not_swallowed(tmp_path, extract):
    class Broken(Still):
        def __call__(self, y):
            raise ZeroDivisionError

    extract.model = Broken()
    with pytest.raises(ZeroDivisionError):
        run_batch(plan(make_photos(tmp_path, "a.png"), tmp_path / "o"), extract, QUICK)


# records


def test_records_are_plain_json(tmp_path, extract):
    photos = make_photos(tmp_path / "ün in", "a b.png", "c.png", "d.png")
    photos[1].write_text("no image")
    jobs = plan(photos, tmp_path / "out", "gif")
    run_batch(jobs[2:], extract, QUICK)
    records = []
    run_batch(
        jobs, extract, QUICK, skip_existing=True, on_outcome=lambda o: records.append(o.record())
    )
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    done, failed, skipped = records
    assert done["input"] == str(photos[0])
    assert done["outputs"] == [str(tmp_path / "out/a b.gif")]
    assert (done["width"], done["height"]) == (8, 6)
    assert done["model"] == "still"
    assert done["precision"] == "float32"
    assert done["reblur_psnr"] > 80
    assert done["trust"]["reasons"] == ["still"]
    assert done["warnings"] == []
    assert done["verdict"] is None  # of a photo below 16 px
    assert failed == {
        "input": str(photos[1]),
        "outputs": [],
        "error": f"{photos[1]}: is text, not an image",
    }
    assert skipped == {
        "input": str(photos[2]),
        "outputs": [str(tmp_path / "out/d.gif")],
        "skipped": True,
    }

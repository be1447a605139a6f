"""One photo to a clip: sizes, precision, sources of photos, saving."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from typing import get_type_hints
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import pytest
import torch
from helpers import Whole, extractor_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.testing import assert_close

import blurvid
from blurvid import media, pipeline
from blurvid.config import ClipChanges, ClipOptions, DirectSpec, RunOptions
from blurvid.errors import BlurvidError, DeviceError, InputError, OptionError, OutputError
from blurvid.exposure import average_frames
from blurvid.lab.metrics import psnr
from blurvid.networks import DirectNet
from blurvid.recipe import Choices, Recipe, Source
from blurvid.weights import store
from blurvid.weights.store import fill, skeleton

pytestmark = pytest.mark.quick

CPU = RunOptions(device="cpu", precision="fp32", threads=1)
TINY = DirectSpec(channels=(8, 12), blocks=(1, 1))
SIZES = [(1, 1), (5, 7), (20, 20), (217, 333)]


def make_set(folder, *, trained):
    """A tiny direct network as a weight set; untrained it returns y seven times."""
    torch.manual_seed(0)
    net = DirectNet(TINY)
    if trained:
        with torch.no_grad():
            net.head.weight.normal_(0, 0.02)
            net.head.bias.normal_(0, 0.02)
    return store.save(
        net, folder, name=folder.name, recipe={}, data="noise", scores={}, licence="MIT"
    )


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    return {
        "trained": make_set(folder / "trained", trained=True),
        "untrained": make_set(folder / "untrained", trained=False),
    }


@pytest.fixture(scope="module")
def trained(sets):
    with pipeline.extractor(sets["trained"], CPU) as ready:
        yield ready


@pytest.fixture(scope="module")
def untrained(sets):
    with pipeline.extractor(sets["untrained"], CPU) as ready:
        yield ready


class Stub(Whole):
    """A model whose frames are y with something done to it."""

    name = "stub"
    size_multiple = 20

    def __init__(self, change=lambda y: y):
        self.change, self.seen = change, []

    def __call__(self, y):
        self.seen.append(tuple(y.shape))
        return self.change(y).unsqueeze(1).expand(-1, 7, -1, -1, -1)


def stub(change=lambda y: y, dtype=torch.float32):
    return extractor_of(Stub(change), "stub", torch.device("cpu"), dtype)


# sizes


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 4, 8, 16, 20]))
def test_fit_pads_to_a_multiple_and_keeps_the_image_in_its_corner(height, width, multiple):
    y = torch.rand(3, height, width)

    fitted = pipeline.sizes.fit(y, multiple)

    assert fitted.shape[0] == 3
    assert fitted.shape[1] % multiple == fitted.shape[2] % multiple == 0
    assert 0 <= fitted.shape[1] - height < multiple
    assert 0 <= fitted.shape[2] - width < multiple
    assert torch.equal(fitted[:, :height, :width], y)
    assert set(fitted.flatten().tolist()) <= set(y.flatten().tolist())  # nothing is invented


def test_fit_reflects_without_repeating_the_edge():
    y = torch.arange(6.0).reshape(1, 1, 6)
    assert pipeline.sizes.fit(y, 4)[0, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3]


def test_a_size_that_fits_is_left_alone():
    y = torch.rand(3, 40, 20)
    assert torch.equal(pipeline.sizes.fit(y, 20), y)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60))
def test_output_size_equals_input_size(trained, height, width):
    found = trained.frames(torch.rand(3, height, width))
    frames = found.frames
    assert frames.shape == (7, 3, height, width)
    assert found.dtype == torch.float32
    assert frames.min() >= 0
    assert frames.max() <= 1


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_an_untrained_network_returns_the_photo_seven_times(untrained, height, width):
    photo = media.as_photo(torch.rand(3, height, width))

    clip = untrained(photo)

    assert clip.tensor.shape == (7, 3, height, width)
    assert_close(clip.tensor, photo.pixels.expand(7, -1, -1, -1), rtol=0, atol=1e-6)
    assert clip.frames.shape == (7, height, width, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.reblur_psnr > 80


def test_a_trained_network_changes_the_photo(trained):
    photo = media.as_photo(torch.rand(3, 24, 40))
    frames = trained(photo).tensor
    assert not torch.equal(frames[0], frames[6])
    assert psnr(frames[0], photo.pixels) < 60  # dB


def test_the_cascade_wants_multiples_of_twenty(monkeypatch):
    assert skeleton("cascade").size_multiple == 20
    extract = stub()
    extract.frames(torch.rand(3, 21, 5))
    assert extract.model.seen == [(1, 3, 40, 20)]


@pytest.mark.slow
def test_the_cascade_end_to_end():
    model = skeleton("cascade")  # filled, since a real initialization costs seconds
    fill(model, {k: torch.zeros(v.shape) for k, v in model.state_dict().items()})
    extract = extractor_of(model.eval(), "zero", torch.device("cpu"), torch.float32)
    y = torch.rand(3, 9, 21)
    frames = extract.frames(y).frames
    assert_close(frames, y.expand(7, -1, -1, -1))


# precision


def overflowing(y):
    """What a network does whose features leave the range of half precision."""
    return y * torch.inf if torch.is_autocast_enabled("cpu") else y


def test_half_precision_that_overflows_is_redone_in_float32():
    photo = media.as_photo(torch.rand(3, 8, 8))
    extract = stub(overflowing, torch.bfloat16)

    clip = extract(photo)

    assert len(extract.model.seen) == 2
    assert clip.recipe.precision == "float32"
    assert clip.warnings == ("half precision overflowed; done in float32",)
    assert_close(clip.tensor[3], photo.pixels)


def test_nan_in_half_precision_is_redone_as_well():
    y = torch.rand(3, 8, 8)
    extract = stub(lambda y: y * torch.nan if torch.is_autocast_enabled("cpu") else y)
    extract.dtype = torch.bfloat16
    found = extract.frames(y)
    assert found.dtype == torch.float32
    assert found.frames.isfinite().all()


def test_half_precision_that_fits_is_kept():
    clip = stub(dtype=torch.bfloat16)(media.as_photo(torch.rand(3, 8, 8)))
    assert clip.recipe.precision == "bfloat16"
    assert clip.warnings == ()


def test_bfloat16_is_close_to_float32(sets, trained):
    y = torch.rand(3, 24, 40)
    run = RunOptions(device="cpu", precision="bf16", threads=1)
    with pipeline.extractor(sets["trained"], run) as half:
        found = half.frames(y)
    assert found.dtype == torch.bfloat16
    assert psnr(found.frames, trained.frames(y).frames).min() > 45


def test_float32_that_overflows_is_an_error():
    with pytest.raises(BlurvidError, match="stub model gave values that are not finite"):
        stub(lambda y: y * torch.nan)(media.as_photo(torch.rand(3, 8, 8)))


def test_lack_of_memory_is_a_device_error():
    def hungry(y):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(DeviceError, match="out of memory"):
        stub(hungry)(media.as_photo(torch.rand(3, 8, 8)))


def test_values_outside_the_range_are_clamped():
    y = torch.rand(3, 8, 8)
    frames = stub(lambda y: 3 * y - 1).frames(y).frames
    assert_close(frames[0], (3 * y - 1).clamp(0, 1))


# the clip


def test_a_clip_tells_what_made_it(trained):
    photo = media.as_photo(torch.rand(3, 8, 8))
    clip = trained(photo)
    assert (clip.recipe.model, clip.recipe.weights.name, clip.device) == (
        "direct",
        "trained",
        "cpu",
    )
    assert clip.recipe.precision == "float32"
    assert clip.seconds > 0
    assert clip.photo is photo


def test_frames_of_a_clip_can_be_worked_with(trained):
    clip = trained(media.as_photo(torch.rand(3, 8, 8)))
    gain = torch.ones((), requires_grad=True)
    (clip.tensor * gain).mean().backward()
    clip.tensor.mul_(0.5)
    assert gain.grad is not None


def test_warnings_of_the_reading_are_kept(trained):
    photo = media.as_photo(torch.rand(3, 8, 8))
    object.__setattr__(photo, "warnings", ("is odd",))
    assert trained(photo).warnings == ("is odd",)


def test_reblur_compares_the_average_in_light_with_the_photo():
    frames = torch.rand(7, 3, 8, 8)

    def clip_of(pixels):
        photo = media.as_photo(pixels)
        return pipeline.Clip(frames, photo, Recipe(Source("w", "m")))

    right = clip_of(average_frames(frames, 2.2))
    assert right.reblur_psnr > 80
    assert clip_of(average_frames(frames, 1.0)).reblur_psnr < 40
    off = average_frames(frames, 2.2) * 0.9
    assert clip_of(off).reblur_psnr == pytest.approx(
        10 * np.log10(1 / (average_frames(frames, 2.2) - off).square().mean().item()), abs=1e-3
    )


def test_save_writes_what_the_suffix_says(trained, tmp_path):
    clip = trained(media.as_photo(torch.rand(3, 21, 33)))

    (video,) = clip.save(tmp_path / "clip.mp4", fps=5, bounce=False, seconds=2.0)
    info = media.video_info(video)
    assert info.size == (22, 34)  # even sides
    assert info.timing.rate == 5
    assert len(list(media.read_video(video))) == 14

    (gif,) = clip.save(tmp_path / "clip.gif")
    with Image.open(gif) as image:
        assert image.size == (33, 21)
        assert image.n_frames == 12  # forth and back

    pngs = clip.save(tmp_path / "frames")
    assert [path.name for path in pngs] == [f"image_{i}.png" for i in range(1, 8)]
    stored = np.stack([np.asarray(Image.open(path)) for path in pngs])
    assert np.array_equal(stored, clip.frames)


def test_save_takes_options_and_single_changes(trained, tmp_path):
    clip = trained(media.as_photo(torch.rand(3, 8, 8)))
    options = ClipOptions(fps=20, bounce=True)
    (gif,) = clip.save(tmp_path / "a.gif", options=options, bounce=False)
    with Image.open(gif) as image:
        assert image.n_frames == 7
        assert image.info["duration"] == 50
    reverse = clip.save(tmp_path / "frames", stem="x", reverse=True)
    assert [path.name for path in reverse] == [f"x_{i}.png" for i in range(1, 8)]
    assert np.array_equal(np.asarray(Image.open(reverse[0])), clip.frames[6])
    with pytest.raises(TypeError):
        clip.save(tmp_path / "b.gif", speed=3)


def test_save_replaces_only_when_told_to(trained, tmp_path):
    clip = trained(media.as_photo(torch.rand(3, 8, 8)))
    target = tmp_path / "clip.gif"
    clip.save(str(target))
    before = target.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        clip.save(target, reverse=True)
    assert target.read_bytes() == before
    clip.save(target, reverse=True, overwrite=True)
    assert target.read_bytes() != before
    with pytest.raises(OptionError, match="unknown suffix"):
        clip.save(tmp_path / "clip.avi")


# blurvid.extract


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (21, 33, 3), dtype=np.uint8)


def extract(photo, sets, **options):
    return blurvid.extract(photo, weights_name=sets["trained"].path, run=CPU, **options)


def test_extract_gives_the_same_frames_whatever_the_photo_comes_as(sets, picture, tmp_path):
    path = tmp_path / "été 1.png"
    Image.fromarray(picture).save(path)
    tensor = torch.from_numpy(picture).permute(2, 0, 1) / 255
    with path.open("rb") as file:
        clips = {
            "path": extract(path, sets),
            "str": extract(str(path), sets),
            "file": extract(file, sets),
            "stream": extract(io.BytesIO(path.read_bytes()), sets),
            "PIL": extract(Image.fromarray(picture), sets),
            "uint8": extract(picture, sets),
            "float": extract(picture / 255, sets),
            "tensor": extract(tensor, sets),
            "batch of one": extract(tensor.unsqueeze(0), sets),
            "photo": extract(media.read_photo(path), sets),
        }
    for name, clip in clips.items():
        assert np.array_equal(clip.frames, clips["path"].frames), name
    assert clips["path"].frames.shape == (7, 21, 33, 3)


def test_frames_are_named_after_the_photo(sets, picture, tmp_path):
    path = tmp_path / "IMG.2024.jpeg"
    Image.fromarray(picture).save(path)
    (first, *_) = extract(path, sets).save(tmp_path / "out")
    assert first.name == "IMG.2024_1.png"
    (first, *_) = extract(io.BytesIO(path.read_bytes()), sets).save(tmp_path / "out")
    assert first.name == "frame_1.png"


def test_extract_leaves_the_callers_image_and_threads_alone(sets, picture):
    before, threads = picture.copy(), torch.get_num_threads()
    image = Image.fromarray(picture)
    extract(image, sets)
    extract(picture, sets)
    assert np.array_equal(picture, before)
    assert np.array_equal(np.asarray(image), before)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    "photo", [np.zeros((0, 4, 3), np.uint8), torch.rand(4, 8, 8), 3, None, [[0.5]]]
)
def test_extract_refuses_what_is_no_photo(sets, photo):
    with pytest.raises(InputError):
        extract(photo, sets)


def test_extract_names_a_missing_photo_and_missing_weights(sets, picture, tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.png"):
        extract(tmp_path / "nowhere.png", sets)
    with pytest.raises(blurvid.BlurvidError, match="nothing-like-it"):
        blurvid.extract(picture, weights_name="nothing-like-it")
    with pytest.raises(blurvid.BlurvidError, match="belongs to the direct"):
        extract(picture, sets, model="cascade")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_agrees_with_the_cpu(sets, trained):
    y = torch.rand(3, 21, 33)
    with pipeline.extractor(sets["trained"], RunOptions("cuda", "fp32")) as ready:
        frames = ready.frames(y).frames
    assert frames.device.type == "cpu"
    assert_close(frames, trained.frames(y).frames, atol=2e-3, rtol=0)


def test_a_clip_says_what_it_is_and_shows_itself(monkeypatch, tmp_path):
    shown = []
    monkeypatch.setattr("webbrowser.open", lambda address: shown.append(address) or True)
    clip = extractor_of(Stub())(media.as_photo(np.zeros((8, 12, 3), np.uint8)))
    assert re.fullmatch(r"<Clip of .*: 7 frames, 12x8, \w+>", repr(clip))
    clip.show()
    (address,) = shown
    page = Path(url2pathname(urlparse(address).path))
    assert page.suffix == ".html" and page.read_text().startswith("<!doctype html>")
    shutil.rmtree(page.parent)
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: str(tmp_path))
    monkeypatch.setattr(pipeline.Clip, "save", lambda self, path: None)
    with pytest.raises(OutputError, match="no browser"):
        clip.show()


def test_what_can_be_asked_for_is_what_a_recipe_and_a_clip_know():
    own = ("weights", "middle", "precision", "warnings")  # which `resolve` works out
    taken = {name: kind for name, kind in get_type_hints(Recipe).items() if name not in own}
    assert get_type_hints(Choices) == taken
    assert get_type_hints(ClipChanges) == get_type_hints(ClipOptions)


def test_the_face_alone_is_seen():
    assert set(dir(blurvid)) == set(blurvid.__all__)
    assert all(hasattr(blurvid, name) for name in dir(blurvid))

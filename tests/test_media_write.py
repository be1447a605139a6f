import io
import os
import stat

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image, ImageCms, ImageSequence

from blurvid import media, targets
from blurvid.config import ClipOptions
from blurvid.errors import OptionError, OutputError
from blurvid.media import animation, mp4
from blurvid.media.photo import fitting

pytestmark = pytest.mark.quick

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def moving(height=37, width=53, count=7):
    """A smooth picture with a bright square that moves."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    frames = torch.stack([x, y, 1 - x]).repeat(count, 1, 1, 1) * 0.8
    for index, frame in enumerate(frames):
        frame[:, 4:12, 3 * index : 3 * index + 8] = 1.0
    return frames


def leftovers(folder):
    return sorted(path.name for path in folder.rglob("*"))


@given(st.floats(-2, 3, width=32))
def test_to_uint8_clamps_and_rounds_once(value):
    out = media.to_uint8(torch.full((2, 3, 1, 1), value))
    assert out.shape == (2, 1, 1, 3)
    assert out.dtype == np.uint8
    assert np.all(np.abs(out - np.clip(value, 0, 1) * 255.0) <= 0.5 + 1e-4)


def test_to_uint8_refuses():
    with pytest.raises(ValueError, match="NaN"):
        media.to_uint8(torch.full((3, 2, 2), torch.nan))
    with pytest.raises(ValueError, match="shape"):
        media.to_uint8(torch.zeros(2, 2, 3))
    with pytest.raises(ValueError, match="uint8"):
        media.to_uint8(torch.zeros(3, 2, 2, dtype=torch.uint8))
    halves = torch.full((3, 1, 1), torch.inf, dtype=torch.float16, requires_grad=True)
    assert media.to_uint8(halves).tolist() == [[[255, 255, 255]]]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    npst.arrays(
        np.uint8,
        st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4])),
    )
)
def test_png_round_trip(tmp_path, pixels):
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    photo = media.as_photo(pixels)
    path = tmp_path / "p.png"

    media.write_still(photo.pixels, path, photo, overwrite=True)

    again = media.read_photo(path)
    assert torch.equal(again.pixels, photo.pixels)
    assert again.greyscale == photo.greyscale
    assert (again.alpha is None) == (photo.alpha is None)
    if photo.alpha is not None:
        assert torch.equal(again.alpha, photo.alpha)


def test_folder_of_pngs(tmp_path):
    frames = moving()
    target = tmp_path / "new" / "ä folder"

    paths = media.write_frames(frames, target, stem="photo", options=ClipOptions(reverse=True))

    assert [path.name for path in paths] == [f"photo_{n}.png" for n in range(1, 8)]
    assert leftovers(target) == [path.name for path in paths]
    with Image.open(paths[0]) as first:
        assert np.array_equal(np.asarray(first), media.to_uint8(frames[-1]))
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(paths[0].stat().st_mode) == 0o666 & ~umask


def test_existing_output_is_kept_unless_overwritten(tmp_path):
    frames = moving(8, 8)
    (tmp_path / "frame_5.png").write_text("mine")

    with pytest.raises(OutputError, match=r"frame_5\.png: exists"):
        media.write_frames(frames, tmp_path)
    assert leftovers(tmp_path) == ["frame_5.png"]
    assert (tmp_path / "frame_5.png").read_text() == "mine"

    assert len(media.write_frames(frames, tmp_path, overwrite=True)) == 7
    with pytest.raises(OutputError, match="exists"):
        media.write_still(frames[0], tmp_path / "frame_5.png")


@pytest.mark.parametrize("target", ["out", "clip.gif", "clip.webp", "clip.html", "clip.mp4"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_killed_write_leaves_nothing(tmp_path, monkeypatch, target, failure):
    calls = []

    def interrupted(*args, **options):
        calls.append(args)
        if target != "out" or len(calls) == 4:
            raise failure
        return save(*args, **options)

    save = Image.Image.save
    if target == "clip.mp4":
        monkeypatch.setattr(mp4, "_even", interrupted)
    elif target in ("clip.gif", "clip.webp"):
        monkeypatch.setattr(animation, "_square", interrupted)
    else:
        monkeypatch.setattr(Image.Image, "save", interrupted)
    expected = OutputError if isinstance(failure, OSError) else failure

    with pytest.raises(expected) as caught:
        media.write_frames(moving(8, 8), tmp_path / target)

    assert calls
    assert all((tmp_path / name).is_dir() for name in leftovers(tmp_path))
    if expected is OutputError:
        assert "disk is full" in str(caught.value)


def test_nan_in_the_last_frame_leaves_nothing(tmp_path):
    frames = moving(8, 8)
    frames[-1, 0, 0, 0] = torch.nan
    (tmp_path / "frame_1.png").write_text("old")

    with pytest.raises(ValueError, match="NaN"):
        media.write_frames(frames, tmp_path, overwrite=True)

    assert leftovers(tmp_path) == ["frame_1.png"]
    assert (tmp_path / "frame_1.png").read_text() == "old"


def test_check_target(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dir.v2").mkdir()

    assert targets.check_target(tmp_path / "a.MP4", "x", 7) == [tmp_path / "a.MP4"]
    assert len(targets.check_target(tmp_path / "dir.v2", "x", 7)) == 7
    assert targets.check_target(tmp_path / "a.Html", "x", 7) == [tmp_path / "a.Html"]
    for name in ("clip.avi", "frame.png"):
        with pytest.raises(OptionError, match=r"\.mp4, \.webm, \.gif, \.webp, \.html"):
            targets.check_target(tmp_path / name, "x", 7)
    for name in ("file/out", "file/clip.gif", "file"):
        with pytest.raises(OutputError, match="file, not a folder"):
            targets.check_target(tmp_path / name, "x", 7)
    with pytest.raises(OutputError, match="too long"):
        targets.check_target(tmp_path / ("x" * 300) / "a.gif", "x", 7)
    with pytest.raises(OptionError, match="name"):
        targets.check_target(tmp_path, "../x", 7)
    (tmp_path / "taken_1.png").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        targets.check_target(tmp_path, "taken", 7, overwrite=True)
    assert leftovers(tmp_path) == ["dir.v2", "file", "taken_1.png"]


def test_unwritable_places(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file, not a folder"):
        media.write_still(moving()[0], tmp_path / "file" / "p.png")
    with pytest.raises(OutputError, match="too long"):
        media.write_frames(moving(), tmp_path, stem="x" * 300)
    assert leftovers(tmp_path) == ["file"]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real.png").touch()
    (tmp_path / "link.png").symlink_to("real.png")

    media.write_still(moving()[0], tmp_path / "link.png", overwrite=True)

    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").stat().st_size > 0


@pytest.mark.parametrize(
    "options",
    [
        *(ClipOptions(fps=fps) for fps in (0, -1, float("nan"), float("inf"))),
        *(ClipOptions(crf=crf) for crf in (-1, 52)),
        *(ClipOptions(seconds=seconds) for seconds in (-1, float("nan"))),
    ],
)
def test_options_out_of_range(tmp_path, options):
    with pytest.raises(OptionError):
        media.write_frames(moving(), tmp_path / "a.mp4", options=options)


@pytest.mark.parametrize("shape", [(3, 8, 8), (7, 1, 8, 8), (0, 3, 8, 8)])
def test_frames_of_another_shape(tmp_path, shape):
    with pytest.raises(ValueError, match="shape"):
        media.write_frames(torch.zeros(shape), tmp_path / "a.gif")


def colour_tables(path):
    """Count the global and local colour tables of a GIF."""
    data = path.read_bytes()
    packed = data[10]
    position = 13 + (3 * (2 << (packed & 7)) if packed & 128 else 0)
    counts = [packed >> 7, 0]
    while data[position : position + 1] != b";":
        if data[position : position + 1] == b"!":
            position += 2
        else:
            assert data[position : position + 1] == b","
            packed = data[position + 9]
            counts[1] += packed >> 7
            position += 11 + (3 * (2 << (packed & 7)) if packed & 128 else 0)
        while data[position]:
            position += data[position] + 1
        position += 1
    return counts


@pytest.mark.parametrize(("fps", "time"), [(10, 100), (30, 30), (12, 80), (50, 20)])
def test_gif_has_one_palette_and_the_right_times(tmp_path, fps, time):
    frames = moving()
    path = tmp_path / "clip.gif"

    assert media.write_frames(frames, path, options=ClipOptions(fps=fps)) == [path]

    assert colour_tables(path) == [1, 0]
    order = [0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1]
    with Image.open(path) as gif:
        assert gif.n_frames == 12
        assert gif.info["loop"] == 0
        for index, shown in zip(order, ImageSequence.Iterator(gif), strict=True):
            assert shown.info["duration"] == time
            difference = np.asarray(shown.convert("RGB"), int) - media.to_uint8(frames[index])
            assert np.abs(difference).mean() < 8


def test_gif_keeps_rare_hues(tmp_path):
    rng = np.random.default_rng(0)
    grey = rng.normal(120, 25, (3, 1, 120, 160)) + rng.normal(0, 4, (3, 3, 120, 160))
    frames = torch.from_numpy(grey.clip(0, 255)).float() / 255
    places = {(250, 20, 30): 20, (20, 60, 240): 60, (30, 220, 60): 100}
    for colour, x in places.items():
        frames[:, :, 40:44, x : x + 4] = torch.tensor(colour)[:, None, None] / 255
    media.write_frames(frames, tmp_path / "clip.gif")
    with Image.open(tmp_path / "clip.gif") as gif:
        shown = np.asarray(gif.convert("RGB"), int)
    assert np.square(shown - media.to_uint8(frames[0])).mean() < 10  # median cut alone: 18
    for colour, x in places.items():
        assert np.abs(shown[41, x + 1] - colour).max() <= 12


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_reversed_without_bounce(tmp_path, kind):
    path = tmp_path / f"clip.{kind}"
    frames = moving()
    media.write_frames(frames, path, options=ClipOptions(bounce=False, reverse=True))

    with Image.open(path) as clip:
        assert clip.n_frames == 7
        difference = np.asarray(clip.convert("RGB"), int) - media.to_uint8(frames[6])
        assert np.abs(difference).mean() < 8


@pytest.mark.parametrize("count", [1, 2])
def test_gif_of_few_or_equal_frames(tmp_path, count):
    frames = torch.linspace(0, 1, 256).repeat(count, 3, 4, 1)
    media.write_frames(frames, tmp_path / "clip.gif")

    with Image.open(tmp_path / "clip.gif") as gif:
        difference = np.asarray(gif.convert("RGB"), int) - media.to_uint8(frames[0])
    assert np.abs(difference).max() == 0  # grey keeps its levels


@pytest.mark.parametrize(("fps", "time"), [(10, 100), (30, 33), (0.5, 2000), (50, 20)])
def test_webp_has_all_colours_and_the_right_times(tmp_path, fps, time):
    frames = moving()
    path = tmp_path / "clip.webp"

    assert media.write_frames(frames, path, options=ClipOptions(fps=fps)) == [path]

    order = [0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1]
    with Image.open(path) as webp:
        assert (webp.format, webp.n_frames, webp.size) == ("WEBP", 12, (53, 37))
        assert webp.info["loop"] == 0
        for index, shown in zip(order, ImageSequence.Iterator(webp), strict=True):
            difference = np.asarray(shown.convert("RGB"), int) - media.to_uint8(frames[index])
            assert np.abs(difference).mean() < 3
            assert shown.info["duration"] == time


def test_webp_of_one_frame(tmp_path):
    media.write_frames(moving(count=1), tmp_path / "one.webp")
    with Image.open(tmp_path / "one.webp") as webp:
        assert getattr(webp, "n_frames", 1) == 1


@pytest.mark.parametrize(
    ("kind", "size", "held"),
    [
        ("mp4", (1080, 1920), (1080, 1920)),
        ("mp4", (5000, 20000), (2985, 11941)),  # H.264 has no level for more
        ("mp4", (8, 20000), (6, 16384)),
        ("webp", (5000, 20000), (4095, 16383)),
        ("html", (5000, 20000), (5000, 20000)),
    ],
)
def test_clips_fit_into_their_format(kind, size, held):
    assert fitting(kind, *size) == held
    photo = media.Photo(torch.zeros(1, 1, 1).expand(3, *size))
    lost = (f"too large for {kind.upper()}; the clip has {held[1]} x {held[0]} pixels",)
    assert media.lost_in(kind, photo) == (lost if held != size else ())


def test_what_is_too_large_is_made_smaller_or_refused(tmp_path):
    frames = torch.zeros(1, 3, 2, 16400)
    media.write_frames(frames, tmp_path / "long.webp")
    with Image.open(tmp_path / "long.webp") as webp:
        assert webp.size == (16383, 1)
    for refuse in (
        lambda: media.write_frames(frames, tmp_path, kind="webp-frames"),
        lambda: media.lost_in("webp-frames", media.Photo(frames[0])),  # before any work
    ):
        with pytest.raises(OutputError, match=r"16400 x 2 pixels, but WebP holds 16383 a side"):
            refuse()
    assert leftovers(tmp_path) == ["long.webp"]


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_a_loop_is_shown_again_as_it_was(tmp_path, kind):
    options = ClipOptions(seconds=3, fps=10, bounce=False)
    media.write_frames(moving(), tmp_path / f"a.{kind}", options=options)
    with av.open(str(tmp_path / f"a.{kind}")) as video:
        shown = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in video.decode(video=0)]
    assert [round(time, 3) for time, _ in shown] == [i / 10 for i in range(35)]
    for i, (_, picture) in enumerate(shown):
        assert (picture == shown[i % 7][1]).all()
    assert (shown[0][1] != shown[6][1]).any()


def test_transparent_parts_become_white_and_colours_srgb(tmp_path):
    # A profile whose red and green primaries are swapped: red pixels are green in sRGB.
    swapped = bytearray(SRGB)
    tags = {swapped[p : p + 4].decode(): p for p in range(132, 132 + 12 * swapped[131], 12)}
    red, green = tags["rXYZ"], tags["gXYZ"]
    swapped[red + 4 : red + 12], swapped[green + 4 : green + 12] = (
        swapped[green + 4 : green + 12],
        swapped[red + 4 : red + 12],
    )
    profile = bytes(swapped).replace("sRGB".encode("utf-16-be"), "xyzw".encode("utf-16-be"))
    pixels = torch.zeros(3, 4, 6)
    pixels[0] = 1
    alpha = torch.ones(1, 4, 6)
    alpha[..., 3:] = 0
    photo = media.Photo(pixels, alpha=alpha, icc=profile)

    media.write_frames(pixels[None], tmp_path / "clip.gif", photo=photo)

    with Image.open(tmp_path / "clip.gif") as gif:
        shown = np.asarray(gif.convert("RGB"), int)
    assert np.abs(shown[0, 0] - (0, 255, 0)).max() < 6
    assert np.abs(shown[0, 5] - 255).max() < 6


@pytest.mark.parametrize("size", [(1, 1), (5, 1), (1, 7), (37, 53)])
def test_quick_png_round_trip(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    with Image.open(io.BytesIO(media.quick_png(pixels))) as image:
        assert image.mode == "RGB"
        assert np.array_equal(np.array(image), pixels)


def test_quick_png_is_small():
    pixels = media.to_uint8(moving(200, 300)[0])
    assert len(media.quick_png(pixels)) < pixels.size / 4

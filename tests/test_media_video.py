import gc
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from blurvid import media
from blurvid.config import ClipOptions
from blurvid.errors import InputError, OutputError
from blurvid.media import video

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
ONCE = ClipOptions(seconds=0, bounce=False, crf=4)


def patches(height=101, width=53, count=7):
    """Four flat colours, whose order turns from frame to frame."""
    colours = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.2, 0.2, 0.9], [0.9, 0.9, 0.8]])
    frames = torch.zeros(count, 3, height, width)
    for index, frame in enumerate(frames):
        for part, rows in enumerate(torch.arange(height).tensor_split(4)):
            frame[:, rows] = colours[(part + index) % 4][:, None, None]
    return frames


def header(path):
    command = [FFMPEG, "-hide_banner", "-i", f"file:{path}"]
    return subprocess.run(command, capture_output=True, check=False).stderr.decode()


def test_mp4_shows_the_same_colours_and_pads_odd_sides(tmp_path):
    frames = patches()
    path = tmp_path / "clip.mp4"

    assert media.write_frames(frames, path, options=ONCE) == [path]

    shown = list(media.read_video(path))
    assert len(shown) == 7
    truth = media.to_uint8(frames).astype(int)
    for frame, expected in zip(shown, truth, strict=True):
        assert frame.shape == (102, 54, 3)
        assert np.array_equal(frame[:, 53], frame[:, 52])
        rows = [12, 38, 63, 89]  # deep inside the patches: chroma is shared across edges
        assert np.abs(frame[rows, 10:40] - expected[rows, 10:40]).max() <= 2
    text = header(path)
    assert "yuv420p(tv, bt709, progressive)" in text
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_mp4_is_looped_whole_times(tmp_path):
    options = ClipOptions(fps=10, seconds=2.5)
    media.write_frames(patches(8, 8), tmp_path / "clip.mp4", options=options)

    assert len(list(media.read_video(tmp_path / "clip.mp4"))) == 36  # 3 times 12 frames
    info = media.video_info(tmp_path / "clip.mp4")
    assert info == media.VideoInfo(size=(8, 8), fps=10.0, frames=36)


def test_one_pixel(tmp_path):
    media.write_frames(torch.ones(1, 3, 1, 1), tmp_path / "clip.mp4", options=ONCE)
    assert [frame.shape for frame in media.read_video(tmp_path / "clip.mp4")] == [(2, 2, 3)]


def test_a_failure_of_ffmpeg_is_an_output_error(tmp_path, monkeypatch):
    monkeypatch.setattr("blurvid.media.mp4._FILTER", "nonsense")

    with pytest.raises(OutputError, match=r"clip\.mp4: not written: ffmpeg: ") as caught:
        media.write_frames(patches(400, 400), tmp_path / "clip.mp4")

    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["-i.mp4", "a%d.mp4", "a:b ä'\".mp4", "file:x.mp4"])
def test_awkward_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    media.write_frames(patches(8, 8, 2), name, options=ONCE)

    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(list(media.read_video(name))) == 2
    assert media.video_info(name).size == (8, 8)


def test_rotation_is_respected(tmp_path):
    frames = torch.zeros(2, 3, 16, 32)
    frames[:, 0, :, 16:] = 1  # right half red
    media.write_frames(frames, tmp_path / "flat.mp4", options=ONCE)
    command = [FFMPEG, "-loglevel", "error", "-display_rotation", "90"]
    command += ["-i", tmp_path / "flat.mp4", "-c", "copy", tmp_path / "turned.mp4"]
    subprocess.run(command, check=True)

    first = next(media.read_video(tmp_path / "turned.mp4"))

    assert media.video_info(tmp_path / "turned.mp4").size == (32, 16)
    assert first.shape == (32, 16, 3)
    assert first[4, 8, 0] > 200  # turned counter-clockwise: right is now up
    assert first[28, 8, 0] < 50


STREAM = "  Stream #0:0(und): Video: hevc, {}, 100x60{}, 25 fps, 25 tbr\n"


@pytest.mark.parametrize(
    ("colours", "pixel", "aspect", "hdr", "interlaced"),
    [
        ("yuv420p(tv, bt709, progressive)", "", (1, 1), False, False),
        ("yuv420p(top first)", " [SAR 16:15 DAR 16:9]", (16, 15), False, True),
        (
            "yuv422p10le(tv, bt2020nc/bt2020/smpte2084, bottom coded first (swapped))",
            " [SAR 1:1 DAR 5:3], SAR 4:3 DAR 20:9",
            (4, 3),
            True,
            True,
        ),
        ("yuv420p10le(tv, bt2020nc/bt2020/arib-std-b67)", " [SAR 0:1]", (1, 1), True, False),
    ],
)
def test_what_a_header_says(tmp_path, monkeypatch, colours, pixel, aspect, hdr, interlaced):
    monkeypatch.setattr(video, "video_header", lambda path: STREAM.format(colours, pixel))

    info = media.video_info(tmp_path)

    assert (info.size, info.fps, info.aspect) == ((60, 100), 25, aspect)
    assert (info.hdr, info.interlaced) == (hdr, interlaced)


def test_the_cover_of_a_song_is_no_video(tmp_path):
    command = [FFMPEG, "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=32x32:duration=1"]
    command += ["-f", "lavfi", "-i", "sine=duration=0.1", "-map", "0", "-map", "1"]
    command += ["-frames:v", "1", "-c:v", "mjpeg", "-disposition:v", "attached_pic", "song.m4a"]
    subprocess.run(command, check=True, cwd=tmp_path)

    with pytest.raises(InputError, match="not a video"):
        media.video_info(tmp_path / "song.m4a")
    with pytest.raises(InputError, match="frame 1 not read"):
        next(media.read_video(tmp_path / "song.m4a"))


def test_a_dropped_iterator_ends_the_decoder(tmp_path, monkeypatch):
    started = []
    popen = subprocess.Popen

    def watched(*args, **options):
        started.append(popen(*args, **options))
        return started[-1]

    media.write_frames(patches(64, 64), tmp_path / "clip.mp4")
    monkeypatch.setattr("subprocess.Popen", watched)

    frames = media.read_video(tmp_path / "clip.mp4")
    first = next(frames)
    first[:] = 0  # an array of its own, and writable
    del frames
    gc.collect()

    assert len(started) == 1
    assert started[0].poll() is not None


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\nhttp://127.0.0.1:9/x\n")
    media.write_frames(patches(64, 64), tmp_path / "whole.mp4")
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[:200])
    (tmp_path / "empty.mp4").touch()
    for name in ("text.mp4", "list.mp4", "cut.mp4", "empty.mp4"):
        with pytest.raises(InputError, match=name) as caught:
            list(media.read_video(tmp_path / name))
        assert "\n" not in str(caught.value)
        with pytest.raises(InputError, match=name):
            media.video_info(tmp_path / name)
    with pytest.raises(InputError, match="no such"):
        media.read_video(tmp_path / "missing.mp4")
    with pytest.raises(InputError, match="folder"):
        media.read_video(tmp_path)


@pytest.mark.parametrize("scale", [0.45, 0.5])
def test_a_video_is_scaled_as_photos_are(tmp_path, scale):
    y, x = torch.meshgrid(torch.arange(121) / 9, torch.arange(163) / 7, indexing="ij")
    waves = torch.stack([x.sin() * y.cos(), (x + y).sin(), (x * y / 9).cos()]) * 0.3 + 0.5
    path = tmp_path / "clip.mkv"
    encode = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "163x121", "-i", "-", "-c:v", "ffv1"]
    pixels = media.to_uint8(waves).tobytes()
    subprocess.run([FFMPEG, *encode, "-pix_fmt", "bgr0", path], input=pixels, check=True)

    (small,) = media.read_video(path, scale)
    expected = media.scaled(waves, scale)

    assert small.shape[:2] == expected.shape[1:]
    error = torch.from_numpy(small).movedim(-1, 0) - 255 * expected
    assert error.abs().max() < 2.5
    assert error.square().mean().sqrt() < 0.7
    assert error.mean().abs() < 0.1


def test_a_video_is_decoded_for_nothing(tmp_path):
    media.write_frames(patches(8, 8), tmp_path / "clip.mp4", options=ONCE)
    assert media.decode_video(tmp_path / "clip.mp4") == 7
    assert media.decode_video(tmp_path / "clip.mp4", 0.5) == 7
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match=r"text\.mp4: not decoded"):
        media.decode_video(tmp_path / "text.mp4")

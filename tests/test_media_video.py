"""Videos written and read: sizes, colours, times, turns, names, what is refused."""

import gc
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame
from clips import shown, write_video

from blurvid import media
from blurvid.config import ClipOptions
from blurvid.errors import InputError, OutputError

ONCE = ClipOptions(seconds=0, bounce=False, crf=4)
FFV1 = ("ffv1", "yuv420p", {})
GREY = np.full((16, 16, 3), 128, np.uint8)
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
"""Linear light of BT.709 primaries to that of BT.2020 (ITU-R BT.2087)."""


def patches(height=101, width=53, count=7):
    """Four flat colours, whose order turns from frame to frame."""
    colours = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.2, 0.2, 0.9], [0.9, 0.9, 0.8]])
    frames = torch.zeros(count, 3, height, width)
    for index, frame in enumerate(frames):
        for part, rows in enumerate(torch.arange(height).tensor_split(4)):
            frame[:, rows] = colours[(part + index) % 4][:, None, None]
    return frames


def flat_yuv(values, height=16, width=16, layout="yuv420p"):
    """A frame of one colour, from its values Y, Cb, Cr."""
    frame = VideoFrame(width, height, layout)
    kind = np.uint16 if "10" in layout else np.uint8
    for plane, value in zip(frame.planes, values, strict=True):
        plane.update(np.full(plane.buffer_size // kind().itemsize, value, kind).tobytes())
    return frame


def yuv_of(rgb, kr, kb, bits=8, full=False):
    """Y, Cb, Cr of a colour in [0, 1], by the luma weights of red and blue."""
    r, g, b = rgb
    y = kr * r + (1 - kr - kb) * g + kb * b
    chroma = (b - y) / (1 - kb) / 2, (r - y) / (1 - kr) / 2
    unit = 1 << (bits - 8)
    low, luma, span = (0, 255, 255) if full else (16, 219, 224)
    return [round((low + luma * y) * unit), *(round((128 + span * c) * unit) for c in chroma)]


def turn(path, a, b, c, d):
    """Write into an MP4 how its pictures are turned: x to (a x + c y), y to (b x + d y)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    data[at : at + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def test_mp4_shows_the_same_colours_and_pads_odd_sides(tmp_path):
    frames = patches()
    path = tmp_path / "clip.mp4"

    assert media.write_frames(frames, path, options=ONCE) == [path]

    found = list(media.read_video(path))
    assert len(found) == 7
    truth = media.to_uint8(frames).astype(int)
    for frame, expected in zip(found, truth, strict=True):
        assert frame.shape == (102, 54, 3)
        assert np.array_equal(frame[:, 53], frame[:, 52])
        rows = [12, 38, 63, 89]  # deep inside the patches: chroma is shared across edges
        assert np.abs(frame[rows, 10:40] - expected[rows, 10:40]).max() <= 2
    with av.open(str(path)) as file:
        context = file.streams.video[0].codec_context
        assert (context.pix_fmt, context.color_range, context.colorspace) == ("yuv420p", 1, 1)
        assert (context.color_primaries, context.color_trc) == (1, 1)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_mp4_is_looped_whole_times(tmp_path):
    options = ClipOptions(fps=10, seconds=2.5)
    media.write_frames(patches(8, 8), tmp_path / "clip.mp4", options=options)

    assert len(list(media.read_video(tmp_path / "clip.mp4"))) == 36  # 3 times 12 frames
    info = media.video_info(tmp_path / "clip.mp4")
    assert (info.size, info.timing) == ((8, 8), media.Timing(0, Fraction(1, 10), 36, 36))


def test_one_pixel(tmp_path):
    media.write_frames(torch.ones(1, 3, 1, 1), tmp_path / "clip.mp4", options=ONCE)
    assert [frame.shape for frame in media.read_video(tmp_path / "clip.mp4")] == [(2, 2, 3)]


def test_a_failure_of_ffmpeg_is_an_output_error(tmp_path, monkeypatch):
    monkeypatch.setattr("blurvid.media.mp4._TO_BT709", "flags=nonsense")

    with pytest.raises(OutputError, match=r"clip\.mp4: not written: ") as caught:
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


@pytest.mark.parametrize(
    ("matrix", "back"),
    [
        ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),  # to be shown turned clockwise
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, -1), lambda x: np.rot90(x, 2)),
        ((-1, 0, 0, 1), np.fliplr),
        ((0, 1, 1, 0), lambda x: x.swapaxes(0, 1)),
    ],
)
def test_turns_and_mirrors_are_respected(tmp_path, matrix, back):
    picture = np.zeros((16, 32, 3), np.uint8)
    picture[2:6, 3:20, 0] = 255
    path = write_video(tmp_path / "turned.mp4", [picture] * 2, aspect="2/1")
    turn(path, *matrix)
    expected = back(picture)

    found = next(media.read_video(path))

    assert np.abs(found - expected.astype(int)).max() <= 1
    info = media.video_info(path)
    assert info.size == expected.shape[:2]
    assert info.aspect == ((1, 2) if info.size == (32, 16) else (2, 1))


RED = (0.6, 0.2, 0.15)


@pytest.mark.parametrize(
    ("height", "layout", "weights", "full", "colours"),
    [
        (718, "yuv420p", (0.299, 0.114), False, {}),
        (720, "yuv420p", (0.2126, 0.0722), False, {}),
        (720, "yuv420p10le", (0.2126, 0.0722), False, {}),
        (720, "yuv420p", (0.299, 0.114), False, {"colorspace": 6}),
        (64, "yuv420p", (0.2126, 0.0722), False, {"colorspace": 1}),
        (64, "yuv420p", (0.299, 0.114), True, {"color_range": 2}),
        (64, "yuv420p10le", (0.299, 0.114), True, {"color_range": 2}),
        (64, "yuv420p10le", (0.299, 0.114), False, {}),
    ],
)
def test_colours_are_read_as_players_do(tmp_path, height, layout, weights, full, colours):
    values = yuv_of(RED, *weights, bits=10 if "10" in layout else 8, full=full)
    frame = flat_yuv(values, height, 16, layout)
    for key, value in colours.items():
        setattr(frame, key, value)
    path = tmp_path / "a.mkv"
    write_video(path, [frame], encoder=("ffv1", layout, {}), colours=colours)

    (found,) = media.read_video(path)

    assert media.video_info(path).colours == ""
    assert np.abs(found[height // 2, 8] - 255 * np.array(RED)).max() <= 1.5


def test_wide_colours_are_brought_to_bt709(tmp_path):
    wide = (TO_2020 @ (np.array(RED) ** 2.4)) ** (1 / 2.4)  # of one curve on both sides
    colours = {"colorspace": 9, "color_primaries": 9, "color_trc": 14}
    frame = flat_yuv(yuv_of(wide, 0.2627, 0.0593, bits=10), layout="yuv420p10le")
    encoder = ("ffv1", "yuv420p10le", {})
    path = write_video(tmp_path / "a.mkv", [frame], encoder=encoder, colours=colours)

    (found,) = media.read_video(path)

    assert media.video_info(path).colours == "BT.2020"
    assert np.abs(255 * wide - 255 * np.array(RED)).max() > 20
    assert np.abs(found[8, 8] - 255 * np.array(RED)).max() < 6  # (by a table of FFmpeg's)


@pytest.mark.parametrize(
    ("curve", "name", "white"), [(16, "HDR, PQ", 0.58), (18, "HDR, HLG", 0.75)]
)
def test_hdr_is_brought_to_ordinary_screens(tmp_path, curve, name, white):
    colours = {"colorspace": 9, "color_primaries": 9, "color_trc": curve}
    levels = (0, white / 2, white, 1)  # of the signal; `white` is that of paper
    frames = [
        flat_yuv(yuv_of([level] * 3, 0.2627, 0.0593, bits=10), layout="yuv420p10le")
        for level in levels
    ]
    encoder = ("ffv1", "yuv420p10le", {})
    path = write_video(tmp_path / "a.mkv", frames, encoder=encoder, colours=colours)
    assert media.video_info(path).colours == name
    found = [int(pixels[8, 8].mean()) for pixels in media.read_video(path)]
    assert found[0] <= 1 and found[3] >= 253
    assert 130 < found[2] < 200  # with room for what is brighter than paper
    assert found[1] < 0.6 * found[2]


def test_interlaced_frames_are_noticed(tmp_path):
    encoder = ("mpeg2video", "yuv420p", {"flags": "+ildct+ilme"})
    frames = [flat_yuv((90, 128, 128), 32, 32)] * 3
    path = write_video(tmp_path / "a.mpg", frames, fps=25, encoder=encoder)
    assert media.video_info(path).interlaced


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("rate", ["24000/1001", "25/3", "1/3", "30"])
def test_rates_are_exact_whatever_the_container_rounds_to(tmp_path, rate, suffix):
    path = write_video(tmp_path / f"a.{suffix}", [GREY] * 9, fps=rate)
    timing = media.video_info(path).timing
    assert timing == media.Timing(0, 1 / Fraction(rate), 9, 9)
    assert timing.rate == Fraction(rate)


def test_uneven_times_are_kept(tmp_path):
    times = [0, 50, 100, 350, 600]
    path = write_video(tmp_path / "a.mkv", [GREY] * 5, times=times)
    timing = media.video_info(path).timing
    assert timing == media.Timing(0, Fraction(1, 1000), 5, 600 + (timing.end - 600))
    ticks = [-1]
    for time, _ in media.timed_frames(path):
        ticks.append(timing.place(time, ticks[-1]))
    assert ticks[1:] == times
    assert timing.place(None, 7) == timing.place(Fraction(0), 7) == 8


def test_frames_that_cannot_be_decoded_are_passed_over(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    path = write_video(tmp_path / "a.mov", list(noise), encoder=("png", "rgb24", {}))
    data = path.read_bytes()
    at = data.index(b"\x89PNG", data.index(b"\x89PNG") + 1)
    path.write_bytes(data[:at] + bytes(8) + data[at + 8 :])
    found = [time for time, _ in media.timed_frames(path)]
    assert found == [0, Fraction(1, 5), Fraction(3, 10), Fraction(2, 5)]
    assert media.video_info(path).timing.count == 5


def test_the_cover_of_a_song_is_no_video(tmp_path):
    with av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as out:
        cover = out.add_stream("mjpeg", 1, width=32, height=32, pix_fmt="yuvj420p")
        cover.disposition = av.stream.Disposition.attached_pic
        out.mux(cover.encode(VideoFrame(32, 32, "yuvj420p")))
        out.mux(cover.encode())

    with pytest.raises(InputError, match="not a video"):
        media.video_info(tmp_path / "song.m4a")
    with pytest.raises(InputError, match="not a video"):
        next(media.read_video(tmp_path / "song.m4a"))


def test_a_dropped_iterator_closes_the_file(tmp_path, monkeypatch):
    path = media.write_frames(patches(64, 64), tmp_path / "clip.mp4")[0]
    opened = []
    real = type(path).open

    def watched(self, *words):
        opened.append(real(self, *words))
        return opened[-1]

    monkeypatch.setattr(type(path), "open", watched)
    frames = media.read_video(path)
    first = next(frames)
    first[:] = 0  # an array of its own, and writable
    del frames
    gc.collect()

    assert opened and all(file.closed for file in opened)


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
        next(media.read_video(tmp_path / "missing.mp4"))
    with pytest.raises(InputError, match="folder"):
        next(media.read_video(tmp_path))


@pytest.mark.parametrize("scale", [0.45, 0.5])
def test_a_video_is_scaled_as_photos_are(tmp_path, scale):
    y, x = torch.meshgrid(torch.arange(121) / 9, torch.arange(163) / 7, indexing="ij")
    waves = torch.stack([x.sin() * y.cos(), (x + y).sin(), (x * y / 9).cos()]) * 0.3 + 0.5
    path = write_video(tmp_path / "a.mkv", [media.to_uint8(waves)], encoder=("ffv1", "bgr0", {}))

    (small,) = media.read_video(path, scale)
    expected = media.scaled(waves, scale)

    assert small.shape[:2] == expected.shape[1:]
    error = torch.from_numpy(small).movedim(-1, 0) - 255 * expected
    assert error.abs().max() < 2.5
    assert error.square().mean().sqrt() < 0.7
    assert error.mean().abs() < 0.1


# What is a video


CONTAINERS = {
    "mp4": ("libx264", "mp4", 25),
    "vob": ("mpeg2video", "vob", 25),
    "m2v": ("mpeg2video", "mpeg2video", 25),
    "dv": ("dvvideo", "dv", 25),
    "mxf": ("mpeg2video", "mxf", 25),
    "y4m": ("rawvideo", "yuv4mpegpipe", 10),
    "ivf": ("libvpx-vp9", "ivf", 10),
    "asf": ("wmv2", "asf", 10),
    "264": ("libx264", "h264", 10),
    "mkv": ("ffv1", "matroska", 10),
    "avi": ("ffv1", "avi", 10),
    "ts": ("mpeg2video", "mpegts", 25),
    "flv": ("flv", "flv", 25),
}


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_what_is_a_video_is_told_by_its_content(tmp_path, suffix):
    codec, form, rate = CONTAINERS[suffix]
    height, width = (576, 720) if suffix == "dv" else (48, 64)
    path = tmp_path / "bare"
    with av.open(str(path), "w", format=form) as out:
        stream = out.add_stream(codec, rate, width=width, height=height, pix_fmt="yuv420p")
        for level in range(40):  # (a transport stream that is too short is not known as one)
            out.mux(stream.encode(flat_yuv((90 + level, 100, 160), height, width)))
        out.mux(stream.encode())
    assert media.holds_video(path)
    assert media.video_info(path).size == (height, width)
    posing = path.rename(tmp_path / "posing.gif")
    assert media.holds_video(posing) == (suffix != "dv")  # which has no mark at its start


def test_what_is_not_a_video(tmp_path):
    camcorder = 2 * (bytes(4) + b"G" + bytes(187))
    (tmp_path / "camcorder.tp").write_bytes(camcorder)
    assert media.holds_video(tmp_path / "camcorder.tp")
    (tmp_path / "damaged.mp4").write_bytes(b"words")  # nothing but the suffix tells
    assert media.holds_video(tmp_path / "damaged.mp4")
    for name, data in (
        ("photo.heics", b"\0\0\0\x18ftypheic"),
        ("IMG_1.CR3", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom"),
        ("png.mp4", b"\x89PNG\r\n\x1a\n"),
        ("a.gif", b"GIF89a"),
        ("a.webp", b"RIFF\0\0\0\0WEBPVP8 "),
        ("sound", b"RIFF\0\0\0\0WAVEfmt "),
        ("a.tga", bytes(300)),
        ("zeros", bytes(5000)),
        ("text", b"words"),
        ("empty", b""),
    ):
        (tmp_path / name).write_bytes(data)
        assert not media.holds_video(tmp_path / name), name
    assert not media.holds_video(tmp_path / "nowhere")
    assert not media.holds_video(tmp_path)


def test_joined_frames_are_shown_when_they_are_to_be(tmp_path):
    piece = tmp_path / "piece.mp4"
    media.encode([GREY] * 3, (16, 16), piece, 10, 15, piece, joinable=True)
    ticks = [5, 6, 7, 20, 21, 30, 42]
    tick = Fraction(1001, 168000)
    media.join([piece, piece], tmp_path / "out.mp4", piece, ticks, tick)
    assert shown(tmp_path / "out.mp4") == pytest.approx([t * tick for t in ticks[:-1]], abs=1e-5)


@pytest.mark.parametrize(
    ("suffix", "encoder", "seen"),
    [
        ("webm", ("libvpx-vp9", "yuva420p", {"auto-alt-ref": "0", "crf": "4"}), True),
        ("webm", ("libvpx", "yuva420p", {"auto-alt-ref": "0", "crf": "4", "b": "2M"}), True),
        ("mov", ("qtrle", "argb", {}), True),
        ("avi", ("rawvideo", "bgra", {}), False),  # where the fourth byte is nothing
    ],
)
def test_what_is_transparent_in_a_video_is_put_on_white(tmp_path, suffix, encoder, seen):
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[:] = 20, 200, 60, 0  # a colour that nobody is meant to see
    pixels[:, 16:] = 200, 40, 60, 255 if seen else 0
    frame = VideoFrame.from_ndarray(pixels, format="rgba")
    path = write_video(tmp_path / f"in.{suffix}", [frame, frame], encoder=encoder)
    assert media.video_info(path).alpha is seen
    found = list(media.read_video(path))
    assert len(found) == 2
    for picture in found:
        expected = (255, 255, 255) if seen else (20, 200, 60)
        assert np.abs(picture[8:24, 4:12].astype(int) - expected).max() <= 4
        assert np.abs(picture[8:24, 20:28].astype(int) - (200, 40, 60)).max() <= 6

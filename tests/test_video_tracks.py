"""Videos as they come: times, sound, chapters, what is said of what is lost, standard input."""

import io
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import click
import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame
from clips import pitch, shown, sound_of, write_video

from blurvid import media
from blurvid.cli.extract import extract
from blurvid.cli.video import videos_among
from blurvid.config import VideoOptions
from blurvid.pipeline import extract_video
from blurvid.planning import plan
from blurvid.recipe import Recipe, Source

PICTURES = [np.full((16, 16, 3), level, np.uint8) for level in (40, 90, 140, 190)]


class Still:
    """Stands for an extractor: every frame seven times."""

    model = SimpleNamespace(name="still", count=7)
    dtype, fitting, recipe = torch.float32, None, Recipe(Source("still", "still"))

    def __init__(self):
        self.asked = 0

    def __call__(self, picture):
        self.asked += 1
        trust = SimpleNamespace(reasons=(), warnings=())
        return SimpleNamespace(
            frames=np.repeat(picture[None], 7, 0), warnings=(), trust=lambda: trust, fitted=None
        )


def slowed(source, **options):
    target = source.with_name("out.mp4")
    return extract_video(source, target, Still(), VideoOptions(**options), overwrite=True)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("rate", ["24000/1001", "25/3", "1/3"])
def test_rates_are_exact(tmp_path, rate, suffix):
    source = write_video(tmp_path / f"in.{suffix}", PICTURES, fps=rate)
    for fps, expected in (("slow", Fraction(rate)), ("keep", 7 * Fraction(rate)), (12.5, 12.5)):
        made = slowed(source, fps=fps)
        assert made.fps == expected
        assert shown(made.path) == [n / Fraction(expected) for n in range(28)]


@pytest.mark.parametrize(("fps", "slower"), [("slow", 7), ("keep", 1), (20, None)])
def test_every_frame_is_shown_when_its_input_says(tmp_path, fps, slower):
    times = [0, 50, 300, 550]
    source = write_video(tmp_path / "in.mkv", PICTURES, times=times)
    end = media.video_info(source).timing.end
    slower = slower or 28 / 20 / (end / 1000)
    made = slowed(source, fps=fps)
    expected = [
        slower * (begin + part * (after - begin) / 7) / 1000
        for begin, after in zip(times, [*times[1:], end], strict=True)
        for part in range(7)
    ]
    assert shown(made.path) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("audio", ["stretch", "keep"])
def test_pictures_that_begin_after_the_sound_stay_so(tmp_path, audio):
    tones = [{"hertz": 440, "length": 1.0}]
    source = write_video(tmp_path / "in.mkv", PICTURES, start=Fraction(1, 2), tones=tones)
    made = slowed(source, audio=audio)
    assert float(shown(made.path)[0]) == pytest.approx(3.5, abs=0.17)  # 7 frames of AAC
    assert np.abs(sound_of(made.path)[:4000]).max() > 3000


@pytest.mark.parametrize(("audio", "begins"), [("stretch", 2.1), ("keep", 2.1)])
def test_sound_that_begins_after_the_pictures_stays_so(tmp_path, audio, begins):
    tones = [{"hertz": 440, "length": 0.5, "start": 0.3}]
    source = write_video(tmp_path / "in.mkv", PICTURES, tones=tones)
    made = slowed(source, audio=audio)
    assert shown(made.path)[0] == 0
    loud = np.abs(sound_of(made.path).astype(int)) > 2000
    assert loud.argmax() / 8000 == pytest.approx(begins, abs=0.4)
    assert loud.sum() > 1000


def test_what_is_in_a_container_is_kept_or_named(tmp_path):
    thousandth = Fraction(1, 1000)
    chapters = [
        {"id": 1, "start": 0, "end": 150, "time_base": thousandth, "metadata": {"title": "one"}},
        {"id": 2, "start": 150, "end": 400, "time_base": thousandth, "metadata": {"title": "two"}},
    ]
    tones = [
        {"hertz": 440, "length": 0.4, "default": False},
        {"hertz": 1760, "length": 0.4, "language": "deu"},
    ]
    date = "2024-05-06T07:08:09"
    metadata = {"creation_time": f"{date}Z", "location": "+48.1000+011.5000/", "title": "a title"}
    source = tmp_path / "in.mkv"
    write_video(source, PICTURES, tones=tones, chapters=chapters, metadata=metadata)

    made = slowed(source)

    assert made.warnings == ("left out: sound track 1 (aac)",)
    with av.open(str(made.path)) as file:
        assert [
            (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]["title"])
            for c in file.chapters()
        ] == [(0, Fraction(105, 100), "one"), (Fraction(105, 100), Fraction(28, 10), "two")]
        assert file.metadata["creation_time"].startswith(date)
        assert file.metadata["location"].startswith("+48.1000+011.5000")
        assert file.metadata["title"] == "a title"
        assert [track.language for track in file.streams.audio] == ["deu"]
    assert pitch(sound_of(made.path)) == pytest.approx(1760, rel=0.01)


def test_kept_sound_is_copied_where_an_mp4_holds_it(tmp_path):
    def packets(path):
        with av.open(str(path)) as file:
            return [bytes(packet) for packet in file.demux(audio=0) if packet.size]

    source = write_video(tmp_path / "in.mp4", PICTURES, tones=[{"hertz": 500}])
    made = slowed(source, audio="keep")
    assert packets(made.path) == packets(source)
    assert "takes 0.143 times as long" in made.warnings[0]
    assert len(sound_of(made.path)) == pytest.approx(8000, abs=400)
    plain = [{"hertz": 500, "codec": "pcm_s16le"}]
    made = slowed(write_video(tmp_path / "in.mov", PICTURES, tones=plain), audio="keep")
    with av.open(str(made.path)) as file:
        assert file.streams.audio[0].codec_context.name == "aac"
    assert pitch(sound_of(made.path)) == pytest.approx(500, rel=0.01)


def unreadable(path):
    """Give the first track of sound of an MP4 a codec that nobody knows."""
    data = path.read_bytes()
    at = data.index(b"mp4a", data.index(b"smhd"))
    rest = data[at + 4 :].replace(b"esds", b"free", 1)
    path.write_bytes(data[:at] + b"apac" + rest)


def test_sound_that_cannot_be_decoded_is_named_before_the_work(tmp_path):
    source = write_video(tmp_path / "in.mp4", PICTURES, tones=[{"hertz": 440}])
    unreadable(source)
    extract, said = Still(), []

    def warn(text):
        said.append((extract.asked, text))

    made = extract_video(source, tmp_path / "out.mp4", extract, on_warning=warn)

    assert said == [(0, "its sound track 1 (unknown codec, und) cannot be decoded and is left out")]
    assert made.warnings == (said[0][1],)
    assert (made.audio, made.frames, len(shown(made.path))) == ("drop", 4, 28)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_another_track_of_sound_is_taken_where_the_default_one_cannot_be_decoded(tmp_path):
    tones = [{"hertz": 440}, {"hertz": 1760, "default": False}]
    source = write_video(tmp_path / "in.mp4", PICTURES, tones=tones)
    unreadable(source)
    made = slowed(source)
    assert len(made.warnings) == 1
    assert made.audio == "stretch"
    assert pitch(sound_of(made.path)) == pytest.approx(1760, rel=0.01)


def test_lost_frames_are_counted(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    source = write_video(tmp_path / "in.mov", list(noise), encoder=("png", "rgb24", {}))
    data = source.read_bytes()
    at = data.index(b"\x89PNG", data.index(b"\x89PNG") + 1)
    source.write_bytes(data[:at] + bytes(8) + data[at + 8 :])
    made = slowed(source)
    assert made.warnings == ("1 of its frames cannot be decoded",)
    assert shown(made.path)[7] == Fraction(14, 10)


def test_a_video_from_standard_input(tmp_path, monkeypatch):
    source = write_video(tmp_path / "in.mkv", PICTURES)
    photo = b"\x89PNG\r\n\x1a\n" + bytes(300)
    for data, sent in ((source.read_bytes(), True), (photo, False)):
        pipe = io.BufferedReader(io.BytesIO(data))
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=pipe))
        with click.Context(extract).scope():
            videos = videos_among(["-"])
            assert len(videos) == sent
            for path in videos.values():
                assert path.read_bytes() == data
        assert sent or pipe.read() == data
    assert [job.target for job in plan(["-"], video=True).jobs] == [Path("stdin_slow.mp4")]
    monkeypatch.setattr("sys.stdin", None)
    with click.Context(extract).scope():
        assert videos_among(["-"]) == {}


def test_transparency_that_is_lost_is_named(tmp_path):
    clear = VideoFrame.from_ndarray(np.zeros((16, 16, 4), np.uint8), format="rgba")
    source = write_video(tmp_path / "in.mov", [clear] * 2, encoder=("qtrle", "argb", {}))
    assert slowed(source).warnings == ("what is transparent in it is put on white",)


def test_words_of_phones_are_kept_or_named(tmp_path):
    apple = "com.apple.quicktime."
    words = {f"{apple}make": "maker", f"{apple}creationdate": "2024-05-06T09:08:09+0200"}
    source = write_video(tmp_path / "in.mkv", PICTURES, metadata=words)
    made = slowed(source)
    assert made.warnings == ("left out: the make of the camera",)
    with av.open(str(made.path)) as file:
        assert file.metadata["date"] == words[f"{apple}creationdate"]

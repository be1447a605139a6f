"""Videos for tests, made and looked at by PyAV alone."""

from fractions import Fraction

import av
import numpy as np
from av.video.frame import VideoFrame

LOSSLESS = ("libx264rgb", "rgb24", {"qp": "0", "preset": "ultrafast"})


def write_video(path, pictures, fps=10, times=None, start=0, encoder=LOSSLESS, tones=(), **about):
    """Write pictures (H, W, 3), and tracks of sound.

    Args:
        path: a file; its suffix names the container.
        pictures: uint8 RGB, or frames of PyAV, which are encoded as they are.
        fps: pictures a second.
        times: when each is shown [ms] instead.
        start: when the first is shown [s].
        encoder: name of the codec, pixel format, options.
        tones: a track each: its pitch [Hz], with `start` [s], `length` [s], `default`, `language`,
            `codec`.
        about: `metadata`, `chapters` of the file, `aspect` of a pixel, `colours` of the stream.
    """
    codec, layout, options = encoder
    with av.open(str(path), "w") as out:
        rate = Fraction(fps)
        frames = [p if isinstance(p, VideoFrame) else VideoFrame.from_ndarray(p) for p in pictures]
        video = out.add_stream(codec, rate, dict(options))
        video.width, video.height, video.pix_fmt = frames[0].width, frames[0].height, layout
        video.codec_context.sample_aspect_ratio = Fraction(about.get("aspect", 1))
        for key, value in about.get("colours", {}).items():
            setattr(video.codec_context, key, value)
        base = Fraction(1, 1000) if times else 1 / rate
        video.codec_context.time_base = base
        tracks = [(_sound(out, **tone), tone) for tone in tones]
        out.metadata.update(about.get("metadata", {}))
        out.set_chapters(about.get("chapters", []))
        packets = []
        for index, frame in enumerate(frames):
            frame = frame.reformat(format=layout)
            frame.time_base = base
            frame.pts = (times[index] if times else index) + round(Fraction(start) / base)
            packets += video.encode(frame)
        packets += video.encode()
        for track, tone in tracks:
            packets += _tone(track, **tone)
        for packet in packets:
            out.mux(packet)
    return path


def _sound(out, hertz, codec="aac", language=None, default=True, **_):
    track = out.add_stream(codec, 44100, layout="mono")
    track.disposition = 1 if default else 0
    if language:
        track.metadata["language"] = language
    return track


def _tone(track, hertz, length=1.0, start=0.0, **_):
    wave = 0.4 * np.sin(2 * np.pi * hertz * np.arange(round(length * 44100)) / 44100)
    packets = []
    for first in range(0, len(wave), 1024):
        part = (wave[None, first : first + 1024] * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(part, "s16", "mono")
        frame.sample_rate, frame.time_base = 44100, Fraction(1, 44100)
        frame.pts = first + round(start * 44100)
        packets += track.encode(frame)
    return packets + track.encode()


def shown(path):
    """When each frame of a video is shown [s], exactly."""
    with av.open(str(path)) as file:
        return [frame.pts * frame.time_base for frame in file.decode(video=0)]


def sound_of(path, rate=8000):
    """Samples of the first track of sound, from time 0 of the file on."""
    resampler = av.AudioResampler("s16", "mono", rate)
    with av.open(str(path)) as file:
        frames = [f for frame in file.decode(audio=0) for f in resampler.resample(frame)]
        frames += resampler.resample(None)
    begin = round((frames[0].pts or 0) * frames[0].time_base * rate)
    samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    return np.concatenate([np.zeros(max(0, begin), np.int16), samples])


def pitch(samples, rate=8000):
    """Strongest frequency [Hz]."""
    return np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples)

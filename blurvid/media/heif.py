"""HEIC photos, through pillow-heif, which is an extra: `pip install 'blurvid[heif]'`; and AVIF."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import IO, Any

import av
import numpy as np
from numpy.typing import NDArray

from blurvid.errors import InputError, reason
from blurvid.media.photo import MAX_PIXELS, Photo, check_size, metadata_of, photo_from_values
from blurvid.media.profile import Codes
from blurvid.media.video import refuse

_UNSPECIFIED, _FULL = 2, 2
"""As FFmpeg counts primaries and ranges."""
_FFMPEG = {"max_pixels": str(MAX_PIXELS)}


def read_heif(stream: IO[bytes], name: str) -> Photo:
    """Read the main image of a HEIC file.

    Raises:
        InputError: pillow-heif is not installed, or the file is damaged or too large.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError(
            f"{name}: HEIC photos need pillow-heif; run: pip install 'blurvid[heif]'"
        ) from error
    try:
        # Unconverted, values go from 0 to 2**bits - 1, so that white stays exactly white.
        file = pillow_heif.open_heif(stream, convert_hdr_to_8bit=False, hdr_to_16bit=False)
        image = file[file.primary_index]
        check_size(image.size, name)
        values = _decoded(image)
    except InputError:
        raise
    except Exception as error:  # decoders raise anything on damaged files
        problem = f"a damaged HEIC photo, or one of another kind: {reason(error)}"
        raise InputError(f"{name}: {problem}") from error
    warnings = ["holds several pictures; only the main one is used"] if len(file) > 1 else []
    # The pixels come upright, whatever the EXIF block says.
    found = dataclasses.replace(metadata_of(image.info), turned=True)
    found = found.told(heif_codes(stream), "HEIF")
    depth = 16 if ";" in image.mode else 8
    return photo_from_values(values, 1, found, name, depth=depth, warnings=warnings)


def _decoded(image: Any) -> NDArray[np.float32]:
    """(H, W, C) in [0, 1] with C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha."""
    channels, _, bits = image.mode.partition(";")
    stored = np.atleast_3d(np.asarray(image)).astype(np.float32)
    values: NDArray[np.float32] = stored / np.float32(2 ** int(bits or 8) - 1)
    if channels.endswith("a"):  # premultiplied
        light = values[..., :-1] / np.maximum(values[..., -1:], np.float32(1e-6))
        values[..., :-1] = light.clip(0, 1)
    return values


def heif_codes(stream: IO[bytes]) -> Codes | None:
    """Code points of an AVIF or HEIC picture; None where it tells none, or is damaged."""
    stream.seek(0)
    with contextlib.suppress(av.FFmpegError, OSError, LookupError, ValueError):
        with av.open(
            stream, format="mov", options=_FFMPEG, metadata_errors="replace", io_open=refuse
        ) as file:
            about = file.streams.video[0].codec_context
            codes = about.color_primaries, about.color_trc, about.colorspace
            return None if codes[0] == _UNSPECIFIED else (*codes, about.color_range == _FULL)
    return None


def is_deep_avif(stream: IO[bytes]) -> bool:
    """Whether the AV1 configuration of an AVIF file has its `high_bitdepth` bit set."""
    stream.seek(0)
    head = stream.read(1 << 16)
    at = head.find(b"av1C")
    return at >= 0 and len(head) > at + 6 and bool(head[at + 6] & 0x40)

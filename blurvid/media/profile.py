"""Colours: ICC profiles, those made of what a file says in other ways, and frames into sRGB.

All that comes after the reading knows one way only, the profile: every format of single frames
can hold it, and all programs understand it.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Pixels = NDArray[np.uint8]
Chromaticities: TypeAlias = tuple[float, float, float, float, float, float, float, float]
"""x and y of white, red, green and blue (CIE 1931)."""
Codes: TypeAlias = tuple[int, int, int, bool]
"""Code points of ITU-T H.273: primaries, transfer, matrix, and whether the range is full."""

_D65, _D50 = (0.3127, 0.3290), (0.9642, 1.0, 0.8249)
SRGB: Chromaticities = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
ADOBE: Chromaticities = (*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_WIDE: Chromaticities = (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
_PRIMARIES: dict[int, Chromaticities] = {
    1: SRGB,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (0.310, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: _WIDE,
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
"""By code point (H.273, table 2)."""
SRGB_CURVE = 13
_VIDEO = frozenset((1, 6, 14, 15))
"""Code points of BT.709's curve; pictures that name it are meant to be shown as sRGB."""
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
PQ, HLG = 16, 18
_CURVE_STEPS = 4096
_PARAMETRIC_GAMMA, _PARAMETRIC_SRGB = 0, 3
_WHITE_NITS = 203.0
"""Light of a white sheet in HDR pictures [cd/m²] (ITU-R BT.2408)."""
_HLG_NITS = 1000.0
"""Peak of the display that HLG is meant for [cd/m²] (ITU-R BT.2100)."""
_BRIGHTEST = _HLG_NITS / _WHITE_NITS
"""Light that becomes white on displays without HDR, 1 for a white sheet."""

Curve: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class Colours:
    """What the numbers of a picture mean."""

    primaries: Chromaticities = SRGB
    gamma: float | None = None
    """Exponent from stored numbers to light; None is the curve of sRGB."""
    codes: Codes | None = None
    """Where they came by code points, and the curve is one of HDR."""

    @property
    def is_srgb(self) -> bool:
        """Whether they are what is taken for granted."""
        return self.gamma is None and self.codes is None and _near(self.primaries, SRGB)

    def profile(self, grey: bool) -> bytes | None:
        """The ICC profile; None for sRGB, or where no colours can be made with the primaries."""
        if self.is_srgb or (grey and self.gamma is None and self.codes is None):
            return None
        return _profile(self, grey)


def of_codes(codes: Codes) -> Colours | None:
    """What code points mean; None where they say nothing, or nothing known.

    Args:
        codes: as in PNG's cICP and the `nclx` boxes of AVIF and HEIC.
    """
    primaries, transfer, _, _ = codes
    if primaries not in _PRIMARIES:
        return None
    known = _PRIMARIES[primaries]
    if transfer in (PQ, HLG):
        return Colours(known, codes=codes)
    if transfer == SRGB_CURVE or transfer in _VIDEO:
        return Colours(known)
    return Colours(known, _GAMMAS[transfer]) if transfer in _GAMMAS else None


def of_png(gamma: float | None, primaries: Chromaticities | None) -> Colours | None:
    """What PNG's gAMA and cHRM mean; None where they make no sense.

    With the primaries of sRGB, or none, a gamma of 1/2.2 is how files say sRGB.
    """
    found = SRGB if primaries is None else primaries
    if gamma is not None and not 0.1 <= gamma <= 10:
        return None
    plain = gamma is None or (_near(found, SRGB) and abs(gamma * 2.2 - 1) < 0.01)
    colours = Colours(SRGB if _near(found, SRGB) else found, None if plain else 1 / (gamma or 1))
    return colours if colours.is_srgb or _to_xyz(found) is not None else None


def profile_codes(icc: bytes) -> Codes | None:
    """Code points of a profile's `cicp` tag (ICC.1:2022, 9.2.17), None without one."""
    count = int.from_bytes(icc[128:132], "big")
    for at in range(132, min(132 + 12 * count, len(icc) - 11), 12):
        name, start, size = struct.unpack_from(">4sII", icc, at)
        if name == b"cicp" and size >= 12 and start + 12 <= len(icc):
            primaries, transfer, matrix, full = icc[start + 8 : start + 12]
            return primaries, transfer, matrix, bool(full)
    return None


def hdr_to_srgb(codes: Codes) -> Curve | None:
    """A function that brings HDR pictures into sRGB, None for other code points.

    White as BT.2408 has it becomes half of the light, so that what shines brighter, up to 1,000
    cd/m², is rolled off and still seen.

    Args:
        codes: of PQ or HLG.

    Returns:
        A function from (..., 3) floats in [0, 1] to the same.
    """
    primaries, transfer, _, _ = codes
    if transfer not in (PQ, HLG) or primaries not in _PRIMARIES:
        return None
    to_xyz, to_srgb = _to_xyz(_PRIMARIES[primaries]), _to_xyz(SRGB)
    assert to_xyz is not None and to_srgb is not None
    matrix = (np.linalg.inv(to_srgb) @ to_xyz).astype(np.float32)

    def convert(values: NDArray[Any]) -> NDArray[Any]:
        light = pq_light(values) if transfer == PQ else _hlg_light(values)
        peak = np.maximum(light.max(-1, keepdims=True), np.float32(1e-6))
        # Reinhard et al. 2002, equation 4: the dark stays as it is, the brightest becomes 1.
        light = light * (1 + peak / _BRIGHTEST**2) / (1 + peak)
        light = (light @ matrix.T).clip(0, 1)
        bright = 1.055 * light ** (1 / 2.4) - 0.055
        shown: NDArray[Any] = np.where(light <= 0.0031308, 12.92 * light, bright)
        return shown

    return convert


def pq_light(values: NDArray[Any]) -> NDArray[Any]:
    """Light of PQ numbers (SMPTE ST 2084) in [0, 1], 1 for a white sheet."""
    power = np.asarray(values, np.float32) ** (32 / 2523)
    ratio = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
    light: NDArray[Any] = ratio ** (16384 / 2610) * (10_000 / _WHITE_NITS)
    return light


def _hlg_light(values: NDArray[Any]) -> NDArray[Any]:
    """Light of HLG numbers (BT.2100) on the display that they are meant for, 1 for white."""
    values = np.asarray(values, np.float32)
    scene = np.where(
        values <= 0.5, values**2 / 3, (np.exp((values - 0.55991073) / 0.17883277) + 0.28466892) / 12
    )
    seen = scene @ np.array([0.2627, 0.6780, 0.0593], np.float32)
    light: NDArray[Any] = scene * seen[..., None] ** 0.2 * (_HLG_NITS / _WHITE_NITS)
    return light


def _near(one: Chromaticities, other: Chromaticities) -> bool:
    return all(abs(a - b) < 0.002 for a, b in zip(one, other, strict=True))


def _to_xyz(found: Chromaticities) -> NDArray[np.float64] | None:
    """Matrix from linear RGB to XYZ, white at Y = 1; None for primaries that make no colours."""
    points = np.array(found, np.float64).reshape(4, 2)
    if not (np.isfinite(points).all() and (points[:, 1] > 5e-5).all() and points.max() <= 1.5):
        return None
    xyz = np.stack([points[:, 0], points[:, 1], 1 - points.sum(1)]) / points[:, 1]
    white, primaries = xyz[:, 0], xyz[:, 1:]
    if abs(np.linalg.det(primaries)) < 1e-3:
        return None
    matrix: NDArray[np.float64] = primaries * np.linalg.solve(primaries, white)
    return matrix


def _profile(colours: Colours, grey: bool) -> bytes | None:
    """Write the profile (ICC.1:2022): a matrix and one curve, or the curve alone for grey."""
    to_xyz = _to_xyz(colours.primaries)
    if to_xyz is None:
        return None
    bradford = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    cones = (bradford @ np.array(_D50)) / (bradford @ to_xyz.sum(1))
    adapt = np.linalg.inv(bradford) @ np.diag(cones) @ bradford
    curve = _curve(colours)
    tags: dict[bytes, bytes] = {
        b"desc": _text(_name(colours)),
        b"cprt": _text("CC0"),
        b"wtpt": b"XYZ " + bytes(4) + _fixed(_D50),
        b"chad": b"sf32" + bytes(4) + _fixed(adapt.ravel()),
    }
    if grey:
        tags[b"kTRC"] = curve
    else:
        columns = (adapt @ to_xyz).T
        for letter, column in zip((b"r", b"g", b"b"), columns, strict=True):
            tags[letter + b"XYZ"] = b"XYZ " + bytes(4) + _fixed(column)
            tags[letter + b"TRC"] = curve
    if colours.codes is not None:
        tags[b"cicp"] = b"cicp" + bytes(4) + bytes(map(int, colours.codes))
    table, body = struct.pack(">I", len(tags)), b""
    start = 132 + 12 * len(tags)
    for name, content in tags.items():
        known = body.find(content)  # the curves are one
        at = len(body) if known < 0 or known % 4 else known
        body += content + bytes(-len(content) % 4) if at == len(body) else b""
        table += struct.pack(">4sII", name, start + at, len(content))
    head = struct.pack(
        ">I4sI4s4s4s12s4s4s24s12s48x",
        *(128 + len(table) + len(body), b"", 0x04400000, b"mntr", b"GRAY" if grey else b"RGB "),
        *(b"XYZ ", bytes.fromhex("07e800010001000000000000"), b"acsp", b"", b"", _fixed(_D50)),
    )
    return bytes(head) + table + body


def _curve(colours: Colours) -> bytes:
    if colours.codes is not None:
        steps = np.linspace(0, 1, _CURVE_STEPS)
        grey = np.repeat(steps[:, None], 3, axis=1)
        light = (pq_light if colours.codes[1] == PQ else _hlg_light)(grey)[:, 0]
        values = np.round(65535 * light / light[-1]).astype(">u2")
        table: bytes = values.tobytes()
        return b"curv" + bytes(4) + struct.pack(">I", _CURVE_STEPS) + table
    if colours.gamma is not None:
        return b"para" + struct.pack(">IHH", 0, _PARAMETRIC_GAMMA, 0) + _fixed([colours.gamma])
    values = [2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045]
    return b"para" + struct.pack(">IHH", 0, _PARAMETRIC_SRGB, 0) + _fixed(values)


def _name(colours: Colours) -> str:
    """A name for people; without the word sRGB, by which other profiles are known."""
    if colours.primaries == ADOBE and colours.gamma is not None:
        return "Compatible with Adobe RGB (1998)"
    if colours.codes is not None:
        return f"H.273 {colours.codes[0]}/{colours.codes[1]}"
    return "Linear RGB" if colours.gamma == 1 else "RGB of the photo"


def _text(words: str) -> bytes:
    data = words.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II4sII", 1, 12, b"enUS", len(data), 28) + data


def _fixed(values: Any) -> bytes:
    """Numbers as s15Fixed16."""
    return b"".join(struct.pack(">i", math.floor(float(value) * 65536 + 0.5)) for value in values)


LARGEST_PROFILE = 16_000_000
"""Longest ICC profile [bytes] that is taken for one; JPEG files hold no longer ones."""


def profile_space(icc: bytes) -> str:
    """Colour space named in the header of an ICC profile: `RGB`, `GRAY`, `CMYK`, `Lab`, ..."""
    return icc[16:20].decode("latin-1").strip()


def is_profile(icc: bytes) -> bool:
    """Whether a block of bytes is an ICC profile that can be used."""
    if icc[36:40] != b"acsp" or len(icc) > LARGEST_PROFILE:
        return False
    try:
        ImageCms.ImageCmsProfile(io.BytesIO(icc))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False
    return True


def image_to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image | None:
    """Convert a CMYK or LAB image to sRGB through its profile.

    Args:
        image: any image in the space of the profile.
        icc: its profile; None means CIE Lab, which needs none.

    Returns:
        An RGB image, or None where the profile is damaged or for another space.
    """
    try:
        source: Any = (
            ImageCms.createProfile("LAB")
            if icc is None
            else ImageCms.ImageCmsProfile(io.BytesIO(icc))
        )
        return ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def srgb_converter(icc: bytes) -> Callable[[Pixels], Pixels]:
    """Make a function that brings frames into sRGB, for formats that carry no profile.

    Args:
        icc: profile of the frames, for RGB or greyscale.

    Returns:
        A function from (H, W, 3) uint8 to (H, W, 3) uint8; it changes nothing where there
        is nothing to do or the profile is damaged.
    """
    mode = {"RGB": "RGB", "GRAY": "L"}.get(profile_space(icc))
    if mode is None:
        return _same
    codes = profile_codes(icc)
    if codes is not None and (shown := hdr_to_srgb(codes)) is not None:
        return lambda frame: np.round(shown(frame / np.float32(255)) * 255).astype(np.uint8)
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if mode == "RGB" and "srgb" in ImageCms.getProfileDescription(profile).lower():
            return _same
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return _same

    def convert(frame: Pixels) -> Pixels:
        if mode == "L":
            frame = np.round(frame.mean(-1)).astype(np.uint8)
        shown = ImageCms.applyTransform(Image.fromarray(frame), transform)
        return np.array(shown)

    return convert


def _same(frame: Pixels) -> Pixels:
    return frame

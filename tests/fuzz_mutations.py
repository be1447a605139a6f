"""How the fuzzer breaks valid files: it knows where formats keep their numbers."""

from __future__ import annotations

import copy
import json
import math
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

NUMBERS = (
    *(0, 1, 2, 3, 7, 8, 9, 15, 16, 127, 128, 255, 256, 4095, 20_000, 32_767, 32_768),
    *(65_535, 65_536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32),
    *(2**62, 2**63 - 1, 2**63, 2**64 - 1),
)  # fmt: skip
DEEP, BOMB = "@deep@", "@bomb@"
VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 7, 2**31, 2**53, 2**63, 10**400, -(10**400)),
    *(0.5, -0.0, 1e-320, 1e308, math.nan, math.inf, -math.inf),
    *("", "a", "srgb", "..", "../up", "/abs", "a/../../b", "C:\\x", "a\0b", "\ud800", "ü" * 300),
    *("a\nb", "%d", "-i", "link/000001", "1" * 5000, DEEP, BOMB),
    *([], {}, [[]], [0], [2**70], {"a": {}}, [None] * 9, {"": 0}),
)  # fmt: skip

Field = tuple[int, int, str]
"""A number in a file: offset, bytes, order."""


def break_bytes(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Break a file a few times; checksums of PNG and tar are made right again, mostly."""
    broken = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        if not broken:
            break
        at = rng.randrange(len(broken))
        match rng.choice(("field",) * 4 + ("number", "bit", "cut", "insert", "remove", "splice")):
            case "field":
                places = fields(bytes(broken))
                if places:
                    start, size, order = rng.choice(places)
                    _put(broken, start, size, order, rng)
            case "number":
                _put(broken, at, rng.choice((1, 2, 4, 8)), rng.choice(("little", "big")), rng)
            case "bit":
                broken[at] ^= 1 << rng.randrange(8)
            case "cut":
                del broken[at:]
            case "insert":
                piece = rng.randbytes(rng.choice((1, 4, 64)))
                broken[at:at] = rng.choice((piece, broken[at : at + 200], bytes(64)))
            case "remove":
                del broken[at : at + rng.choice((1, 2, 8, 100))]
            case "splice":
                other = rng.choice(others)
                broken[at:] = other[rng.randrange(len(other)) :]
    if rng.random() < 0.9:
        _settle(broken)
    return bytes(broken)


def _put(data: bytearray, at: int, size: int, order: str, rng: random.Random) -> None:
    number = rng.choice((*NUMBERS, rng.getrandbits(8 * size)))
    value = (number % (1 << 8 * size)).to_bytes(size, "big" if order == "big" else "little")
    data[at : at + size] = value[: len(data) - at]


def fields(data: bytes) -> list[Field]:
    """Numbers by which a file describes itself."""
    try:
        if data.startswith(b"\x89PNG"):
            return _png(data)
        if data[:4] in (b"II*\0", b"MM\0*", b"II+\0"):
            return _tiff(data, 0)
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(b"RIFF"):
            return _riff(data)
        if data[4:8] == b"ftyp":
            return _boxes(data, 0, len(data))
        if data[257:262] == b"ustar":
            return [(at + off, size, "big") for at in _tar(data) for off, size in TAR_FIELDS]
    except (struct.error, IndexError):
        pass
    return [(at, 2, "little") for at in range(0, min(len(data), 40), 2)]


def _png(data: bytes) -> list[Field]:
    found: list[Field] = [(16, 4, "big"), (20, 4, "big"), (24, 1, "big"), (25, 1, "big")]
    at = 8
    while at + 8 <= len(data) and len(found) < 200:
        length = int.from_bytes(data[at : at + 4], "big")
        found += [(at, 4, "big"), (at + 4, 4, "big"), (at + 8 + length // 2, 1, "big")]
        at += 12 + length
    return found


def _tiff(data: bytes, start: int) -> list[Field]:
    order = "little" if data[start : start + 1] == b"I" else "big"
    code = "<" if order == "little" else ">"
    if data[start + 2 : start + 4] in (b"+\0", b"\0+"):
        (at,) = struct.unpack_from(code + "Q", data, start + 8)
        (count,) = struct.unpack_from(code + "Q", data, start + at)
        first, step, parts = start + at + 8, 20, ((0, 2), (2, 2), (4, 8), (12, 8))
    else:
        (at,) = struct.unpack_from(code + "I", data, start + 4)
        (count,) = struct.unpack_from(code + "H", data, start + at)
        first, step, parts = start + at + 2, 12, ((0, 2), (2, 2), (4, 4), (8, 4), (8, 2))
    places = range(first, first + step * min(count, 40), step)
    found: list[Field] = [(place + off, size, order) for place in places for off, size in parts]
    return [(start + 4, 4, order), *found]


def _jpeg(data: bytes) -> list[Field]:
    found: list[Field] = []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        kind, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        found += [(at + 1, 1, "big"), (at + 2, 2, "big"), (at + 5, 2, "big"), (at + 7, 2, "big")]
        if data[at + 4 : at + 8] == b"Exif":
            found += _tiff(data, at + 10)
        if kind == 0xDA:
            break
        at += 2 + length
    return found


def _riff(data: bytes) -> list[Field]:
    found: list[Field] = [(4, 4, "little")]
    at = 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        found += [(at, 4, "little"), (at + 4, 4, "little")]
        found += [(at + 8 + i, 1, "little") for i in range(min(length, 12))]
        at += 8 + length + length % 2
    return found


def _boxes(data: bytes, at: int, end: int) -> list[Field]:
    """Boxes of ISO files (HEIF, AVIF, MP4), those inside too."""
    found: list[Field] = []
    while at + 8 <= end:
        length = int.from_bytes(data[at : at + 4], "big")
        found += [(at, 4, "big"), (at + 4, 4, "big")]
        if length < 8:
            break
        kind = data[at + 4 : at + 8]
        if kind in (b"meta", b"iprp", b"ipco", b"moov", b"trak", b"mdia", b"minf", b"stbl"):
            found += _boxes(data, at + (12 if kind == b"meta" else 8), min(end, at + length))
        elif length < 400:
            found += [(place, 2, "big") for place in range(at + 8, min(end, at + length), 2)]
        at += length
    return found


TAR_FIELDS = ((0, 8), (124, 12), (124, 1), (156, 1), (257, 6), (345, 8), (386, 12))
"""Name, size, kind, mark, prefix and sparse map in a header."""
TAR_WORDS = (
    *(b"77777777777\0", b"00000000000\0", b"-0000000777\0", b"\xff" * 12, b"\x80" + b"\xff" * 11),
    *(b"g", b"x", b"L", b"K", b"S", b"2", b"5", b"../../x\0", b"/abs\0\0\0\0", b"ustar\0"),
)  # fmt: skip


def _tar(data: bytes) -> list[int]:
    return [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"]


def _settle(data: bytearray) -> None:
    """Make checksums right, so that what lies behind them is reached."""
    if data.startswith(b"\x89PNG"):
        at = 8
        while at + 12 <= len(data):
            length = int.from_bytes(data[at : at + 4], "big")
            end = at + 8 + length
            if end + 4 > len(data):
                break
            data[end : end + 4] = struct.pack(">I", zlib.crc32(bytes(data[at + 4 : end])))
            at = end + 4
    for at in _tar(bytes(data)):
        header = data[at : at + 512]
        header[148:156] = b" " * 8
        data[at + 148 : at + 156] = b"%06o\0 " % sum(header)


def break_tar(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Break a tar archive, its headers above all."""
    broken = bytearray(data)
    headers = _tar(data)
    if not headers or rng.random() < 0.3:
        return break_bytes(data, rng, others)
    for _ in range(rng.choice((1, 2, 3))):
        at, (off, size) = rng.choice(headers), rng.choice(TAR_FIELDS)
        word = rng.choice(TAR_WORDS)[:size]
        broken[at + off : at + off + len(word)] = word
    _settle(broken)
    return bytes(broken)


def break_json(value: Any, rng: random.Random) -> bytes:
    """Put values into JSON where others are expected, at any depth."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 2, 3))):
        holder = {"": value}
        place: Any = holder
        key: Any = ""
        while isinstance(place[key], dict | list) and place[key] and rng.random() < 0.85:
            place = place[key]
            key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        match rng.choice(("value", "value", "value", "remove", "repeat")):
            case "value":
                place[key] = copy.deepcopy(rng.choice(VALUES))
            case "remove" if place is not holder:
                del place[key]
            case "repeat" if isinstance(place, list):
                place += place[key : key + 1] * rng.choice((1, 5, 2000))
        value = holder.get("")
    text = json.dumps(value)
    text = text.replace(json.dumps(DEEP), "[" * 20_000 + "]" * 20_000)
    text = text.replace(json.dumps(BOMB), "9" * 5000)
    if rng.random() < 0.1:
        text = text[: rng.randrange(len(text) + 1)]
    return text.encode()


PICKLED: tuple[bytes, ...] = (
    *(b"cos\nsystem\n", b"c__builtin__\nbytearray\n", b"ctorch\nTensor\n", b"c_codecs\nencode\n"),
    *(b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nSize\n", b"ctorch\nLongStorage\n"),
    *(b"R", b"b", b"Q", b"t", b"(", b"}", b"]", b"u", b"s", b".", b"N", b"0", b"2"),
    *(b"\x85", b"\x81", b"\x8a\x08" + b"\x7f" * 8, b"J\xff\xff\xff\x7f", b"K\xff", b"\x93"),
    *(b"r\xff\xff\xff\x7f", b"X\xff\xff\xff\x7f", b"]" * 3000, b"i", b"o"),
    *(b"I99999999999999999999\n", b"F1e999\n"),
)  # fmt: skip
"""Opcodes that a pickle of tensors holds, and some that it must not."""


def break_pickle(data: bytes, rng: random.Random) -> bytes:
    """Put opcodes into a pickle."""
    broken = bytearray(data)
    for _ in range(rng.choice((1, 2, 3))):
        at = rng.randrange(len(broken) + 1)
        if rng.random() < 0.7:
            word = rng.choice(PICKLED)
            broken[at : at + rng.choice((0, len(word)))] = word
        else:
            _put(broken, at, rng.choice((1, 2, 4, 8)), "little", rng)
    return bytes(broken)


Breaker = Callable[[bytes, random.Random, list[bytes]], bytes]

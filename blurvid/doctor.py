"""What works on this machine and what does not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from blurvid import __version__
from blurvid.errors import BlurvidError

PACKAGES = (
    "torch", "numpy", "safetensors", "click", "rich", "pillow", "imageio", "imageio-ffmpeg",
    "platformdirs",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    name: str
    ok: bool
    text: str
    """What was found, or what is wrong and what to do."""


def examine() -> Iterator[Finding]:
    """Look at versions, devices, codecs, cache and weights, one after the other."""
    yield Finding("blurvid", True, f"{__version__}, Python {platform.python_version()}")
    for package in PACKAGES:
        try:
            yield Finding(package, True, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(package, False, "not installed; run: pip install blurvid")
    for name, look in (
        ("device", _device),
        ("precision", _precision),
        ("images", _images),
        ("video", _video),
        ("cache", _cache),
        ("weights", _weights),
    ):
        yield _finding(name, look)


def _finding(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, look())
    except (BlurvidError, OSError, RuntimeError, ImportError) as error:
        return Finding(name, False, str(error).partition("\n")[0])


def _device() -> str:
    from blurvid import runtime

    return f"{runtime.describe(runtime.resolve_device('auto'))}, {runtime.threads()} threads"


def _precision() -> str:
    from blurvid import runtime

    dtype = runtime.resolve_precision("auto", runtime.resolve_device("auto"))
    return str(dtype).removeprefix("torch.")


def _images() -> str:
    from PIL import features

    known = [name for name in ("jpg", "webp", "avif", "libtiff") if features.check(name)]
    heic = importlib.util.find_spec("pillow_heif") is not None
    extra = "heic" if heic else "no HEIC (pip install 'blurvid[heif]')"
    return f"PNG, GIF, BMP, {', '.join(known)}, {extra}"


def _video() -> str:
    """Write a short video and read it back."""
    import torch

    from blurvid import media

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test.mp4"
        media.write_frames(torch.rand(7, 3, 32, 48), path)
        count = sum(1 for _ in media.read_video(path))
    return f"H.264 written and read back ({count} frames)"


def _cache() -> str:
    from blurvid import weights

    folder = weights.cache_dir()
    while not folder.exists():
        folder = folder.parent
    with tempfile.TemporaryFile(dir=folder):
        return f"{weights.cache_dir()}, writable"


def _weights() -> str:
    from blurvid import weights

    sets = weights.list_sets()
    for entry in sets:
        weights.verify(entry)
    chosen = weights.find()
    names = ", ".join(entry.name for entry in sets)
    return f"{names}: digests right; default {chosen.name}"

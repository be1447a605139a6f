"""What works on this machine and what does not."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from blurvid import __version__
from blurvid.errors import DeviceError, WeightsError, first_line

PACKAGES = (
    "torch", "numpy", "safetensors", "click", "rich", "pillow", "av",
    "platformdirs", "psutil", "filelock",
)  # fmt: skip
"""What blurvid needs; `pip check` compares versions."""
SCARCE = 1 << 30
"""Free disk space [bytes] below which large photos and batches will fail."""
NVIDIA = Path("/dev/nvidia0")
"""What is there when the driver of an NVIDIA GPU works (Linux)."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    name: str
    ok: bool
    text: str
    """What was found, or what is wrong and what to do."""


def examine() -> Iterator[Finding]:
    """Look at the packages, versions, devices, codecs, cache and weights, one after the other."""
    yield Finding("blurvid", True, f"{__version__}, Python {platform.python_version()}")
    for name in PACKAGES:
        yield _finding(name, partial(_package, name), f"run: pip install {name}")
    torch = _finding("import torch", _torch, "run: pip install --force-reinstall torch")
    if not torch.ok:
        yield torch  # and nothing else would work
        return
    for name, look, advice in (
        ("device", _device, ""),
        ("precision", _precision, ""),
        ("images", _images, "run: pip install --force-reinstall pillow"),
        ("video", _video, _PYAV),
        ("cache", _cache, "BLURVID_HOME names another folder"),
        ("disk", _disk, "TMPDIR and BLURVID_HOME name other folders"),
        ("weights", _weights, ""),
    ):
        yield _finding(name, look, advice)


_PYAV = "run: pip install --force-reinstall av"


def _finding(name: str, look: Callable[[], str], advice: str) -> Finding:
    try:
        return Finding(name, True, look())
    except Exception as error:  # a broken install raises anything
        text = first_line(error)
        return Finding(name, False, f"{text}; {advice}" if advice else text)


def _package(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise DeviceError("not installed") from None


def _torch() -> str:
    importlib.import_module("torch")
    return "works"


def _device() -> str:
    import torch

    from blurvid import runtime

    device = runtime.resolve_device("auto")
    text = f"{runtime.describe(device)}, {torch.get_num_threads()} threads"
    if device.type == "cuda" or not NVIDIA.exists():
        return text
    if torch.version.cuda is None:
        return f"{text}; there is an NVIDIA GPU, but this torch is a build for CPUs"
    raise DeviceError(
        f"an NVIDIA GPU that torch cannot use: it was built for CUDA {torch.version.cuda}; update "
        "the driver, or install the torch that fits it (nvidia-smi tells)"
    )


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

    with tempfile.TemporaryFile(dir=_there(weights.cache_dir())):
        return f"{weights.cache_dir()}, writable"


def _there(folder: Path) -> Path:
    """A folder, or the first above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder


def _disk() -> str:
    """How much room there is for what is written besides the results."""
    from blurvid import weights

    room = {}
    folders = [Path(tempfile.gettempdir())]
    with contextlib.suppress(WeightsError):  # no cache, as the line above says
        folders.append(weights.cache_dir())
    for folder in folders:
        free = shutil.disk_usage(_there(folder)).free
        if free < SCARCE:
            raise DeviceError(f"{folder}: only {free / 1e9:.1f} GB free")
        room[str(folder)] = f"{free / 1e9:.0f} GB free in {folder}"
    return ", ".join(room.values())


def _weights() -> str:
    from blurvid import weights

    sets = weights.list_sets()
    for entry in sets:
        entry.verify()
    chosen = weights.find()
    names = ", ".join(entry.name for entry in sets)
    return f"{names}: digests right; default {chosen.name}"

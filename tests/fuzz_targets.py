"""What the fuzzer feeds with broken files and odd words, and what must hold whatever it is fed.

Each target takes a folder of its own and a source of randomness, and ends in one of two words:
`done`, or `refused` where a listed error came with one clear line. All else is a finding.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import random
import shutil
import tempfile
import traceback
import warnings as python_warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from click.testing import CliRunner
from fuzz_mutations import break_bytes, break_json, break_pickle, break_tar
from fuzz_seeds import (
    checkpoints,
    listing,
    manifest,
    photos,
    tars,
    weight_set,
)
from PIL import Image

from blurvid import media, weights
from blurvid.cli import main
from blurvid.config import FRAME_FORMATS
from blurvid.errors import BlurvidError
from blurvid.lab.data import open_source, read_windows, write_windows
from blurvid.lab.data.clips import read_stills
from blurvid.lab.evaluate import evaluate
from blurvid.lab.options import SynthOptions, TrainOptions
from blurvid.lab.train.settings import change_settings, check_options
from blurvid.lab.train.state import load_state
from blurvid.media.stills import save_still
from blurvid.media.video import read_video, video_info
from blurvid.weights import store
from blurvid.weights.pickles import read_checkpoint

CODES = frozenset((0, 2, 3, 4, 5, 6))
"""Exit codes that no input and no option may leave; 1 is a bug, or weights that overflow."""


def accepted(call: Callable[[], object]) -> str:
    """Whether something was done, or refused with one clear line."""
    with python_warnings.catch_warnings(record=True) as said:
        python_warnings.simplefilter("always")
        try:
            call()
        except BlurvidError as error:
            assert str(error).strip() and "\n" not in str(error), repr(error)
            assert len(str(error)) < 4000, "an error as long as its input"
            return "refused"
        finally:
            stray = [entry for entry in said if entry.category is not ResourceWarning]
            assert not stray, f"a warning came through: {stray[0].message}"
    return "done"


def _photo(place: Path, rng: random.Random) -> str:
    """Photos of all formats: read, and frames written with what came along."""
    seeds = photos()
    name = rng.choice(sorted(seeds))
    data = break_bytes(seeds[name], rng, [seeds[key] for key in sorted(seeds)])
    (place / "case").write_bytes(data)
    kind = rng.choice(FRAME_FORMATS)

    def call() -> None:
        photo = media.read_photo(io.BytesIO(data))
        check_photo(photo)
        if photo.pixels.numel() < 100_000:
            path = place / f"frame.{kind}"
            path.unlink(missing_ok=True)
            save_still(photo.pixels, path, photo, kind, path)
            check_photo(media.read_photo(path))

    return accepted(call)


def check_photo(photo: media.Photo) -> None:
    """What holds for every photo that was read."""
    assert photo.pixels.shape[0] == 3 and photo.pixels.numel() > 0
    assert photo.pixels.isfinite().all()
    assert 0 <= photo.pixels.min() <= photo.pixels.max() <= 1
    if photo.alpha is not None:
        assert photo.alpha.shape[-2:] == photo.pixels.shape[-2:]


def _fresh(place: Path, name: str) -> Path:
    folder = place / name
    shutil.rmtree(folder, ignore_errors=True)
    return folder


@functools.cache
def _set(model: str) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        made = weight_set(Path(folder) / "set", model)
        return {path.name: path.read_bytes() for path in sorted(made.iterdir())}


def _weights(place: Path, rng: random.Random) -> str:
    """Weight sets: broken description, header or numbers, with and without right digests."""
    files = dict(_set(rng.choice(("direct", "cascade", "bdirnet"))))
    info = json.loads(files["set.json"])
    if rng.random() < 0.6:
        part = rng.choice(sorted(info["files"]))
        name = info["files"][part]["file"]
        files[name] = _broken_tensors(files[name], rng)
        if rng.random() < 0.9:
            digest = hashlib.sha256(files[name]).hexdigest()
            info["files"][part] |= {"sha256": digest, "bytes": len(files[name])}
        files["set.json"] = json.dumps(info).encode()
    else:
        files["set.json"] = break_json(info, rng)
    folder = _fresh(place, "set")
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)

    def call() -> None:
        found = weights.find(folder)
        _ = weights.list_sets(), store.spec_of(found)
        net = store.load(found)
        assert all(value.isfinite().all() for value in net.state_dict().values())

    return accepted(call)


def _broken_tensors(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file, broken in its header or anywhere."""
    length = int.from_bytes(data[:8], "little")
    if rng.random() < 0.6:
        header = break_json(json.loads(data[8 : 8 + length]), rng)
        return len(header).to_bytes(8, "little") + header + data[8 + length :]
    return break_bytes(data, rng, [data])


def _checkpoint(place: Path, rng: random.Random) -> str:
    """Checkpoints of torch: opcodes, archives, sizes."""
    name = rng.choice(sorted(checkpoints()))
    data = checkpoints()[name]
    if name == "zip" and rng.random() < 0.7:
        out = io.BytesIO()
        packing = rng.choice((zipfile.ZIP_STORED,) * 4 + (zipfile.ZIP_DEFLATED,))
        with (
            zipfile.ZipFile(io.BytesIO(data)) as archive,
            zipfile.ZipFile(out, "w", packing) as changed,
        ):
            for member in archive.namelist():
                content = archive.read(member)
                if member.endswith(".pkl"):
                    content = break_pickle(content, rng)
                changed.writestr(member, content)
        data = out.getvalue()
    elif rng.random() < 0.6:
        data = break_pickle(data, rng)
    else:
        data = break_bytes(data, rng, [data])
    path = place / "state.pt"
    path.write_bytes(data)
    return accepted(lambda: read_checkpoint(path) if rng.random() < 0.5 else load_state(path))


def _windows(place: Path, rng: random.Random) -> str:
    """Manifests and listings of windows: read, scored, trained on, written over."""
    folder, outside = _fresh(place, "windows"), _fresh(place, "outside")
    image = Image.fromarray(np.zeros((32, 32, 3), np.uint8))
    for home in (folder / "clip" / "000001", folder / "clip" / "000002", outside / "000001"):
        home.mkdir(parents=True)
        for name in ("blurry", *(f"sharp_{i}" for i in range(1, 8))):
            image.save(home / f"{name}.png")
    (folder / "link").symlink_to(outside, target_is_directory=True)
    frames = folder / "clips" / "street" / "frames"
    frames.mkdir(parents=True)
    for i in range(7):
        image.save(frames / f"{i}.png")
    image.save(frames.parent / "blur.png")
    if rng.random() < 0.6:
        lines = [break_json(record, rng) for record in manifest()]
        (folder / "manifest.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    else:
        (folder / "samples.json").write_bytes(break_json(listing(), rng))
    step = rng.choice(("score", "train", "resume"))

    def call() -> None:
        if step == "resume":
            options = SynthOptions(crop=32)
            write_windows([frames], folder, options, resume=True)
            return
        if step == "score":
            evaluate(lambda y: y.expand(7, -1, -1, -1), read_windows(folder)[:3])
        else:
            source = open_source([folder], TrainOptions(), torch.device("cpu"))
            source.draw(2, 16, torch.Generator())

    result = accepted(call)
    assert len(list((outside / "000001").iterdir())) == 8, "files outside were removed"
    assert [path.name for path in outside.iterdir()] == ["000001"], "files outside were made"
    return result


def _archive(place: Path, rng: random.Random) -> str:
    """Tar archives of photos to train on."""
    seeds = tars()
    data = break_tar(seeds[rng.choice(sorted(seeds))], rng, list(seeds.values()))
    path = place / "photos.tar"
    path.write_bytes(data)
    return accepted(lambda: list(read_stills([path])))


@functools.cache
def _video() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        media.write_frames(torch.rand(7, 3, 32, 48), path, stem="clip", kind="mp4")
        return path.read_bytes()


PLAYLISTS = (
    b"ffconcat version 1.0\nfile secret.mp4\n",
    b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    b"<?xml version='1.0'?><MPD><BaseURL>secret.mp4</BaseURL></MPD>",
    b"v=0\nm=video 5004 RTP/AVP 96\n",
)
NAMES = (
    "clip",
    "-i",
    "%d",
    "a|b",
    "concat:a|b",
    "a\nb",
    "data:,x",
    "http:x",
    "pipe:0",
    "[0]",
    "*?",
)


def _clip(place: Path, rng: random.Random) -> str:
    """Videos, playlists in their place, and names that mean something to ffmpeg."""
    folder = _fresh(place, "videos")
    folder.mkdir()
    (folder / "secret.mp4").write_bytes(_video())
    listed = rng.random() < 0.15
    data = rng.choice(PLAYLISTS) if listed else break_bytes(_video(), rng, [_video()])
    path = folder / f"{rng.choice(NAMES)}.mp4"
    path.write_bytes(data)

    def call() -> None:
        video_info(path)
        for number, frame in enumerate(read_video(path)):
            assert frame.ndim == 3 and frame.shape[2] == 3
            if number > 100:
                break

    result = accepted(call)
    assert not listed or result == "refused", "a playlist was followed"
    return result


WORDS = (
    *("", " ", "-", "--", "0", "1", "-1", "2147483648", "99999999999999999999", "1e999", "nan"),
    *("inf", "-inf", "1e-320", "0.5", "0x10", "1/0", "1/1", "3/2", "0/0", "9999999999/1"),
    *("auto", "srgb", "none", "a" * 300, "a/b", "../x", "/nowhere/x", "{stem}", "{", "{0}", "}"),
    *("{stem!r}", "{stem.x}", "{index:9999999999}", "{index:>999d}", "ü", "\udcff", "a\nb"),
    *("\x1b[2J", "cuda:99", "mps", "1G", "0K", "1e5T", "null", "[1,2", "{}", "*", "**/*", "["),
)  # fmt: skip


def _settings(place: Path, rng: random.Random) -> str:
    """Settings of a training run, as `--set` gives them."""
    keys = ["model", "minutes", "batch", "crop", "stages", "order", "loss", "seed", "warmup", "ema"]
    keys += [f"motion.{key}" for key in ("max_path", "layers", "gammas", "source_scale", "x")]
    keys += [f"direct.{key}" for key in ("channels", "blocks", "factor", "kernel", "block")]
    keys += ["cascade.width", "camera.noise", "camera.quality", "camera", "a.b"]

    def word() -> str:
        if rng.random() < 0.5:
            return rng.choice(WORDS)
        return break_json(rng.choice(([1.0, 2.0], [[2.2, 1.0]], 3, "pair", 0.5)), rng).decode()

    settings = [f"{rng.choice(keys)}={word()}" for _ in range(rng.choice((1, 1, 2, 3)))]
    return accepted(lambda: check_options(change_settings(TrainOptions(), settings)))


COMMANDS = ("extract", "extract", "deblur", "synth", "eval", "weights list",
            "weights verify", "weights path", "weights import", "doctor", "bench",
            "train")  # fmt: skip
SAFE = {
    "bench": ["--res", "16x16", "--network", "direct", "--repeats", "1", "--warmup", "0"],
    "train": ["--model", "direct", "--steps", "0", "--crop", "16", "--batch", "1"],
}
"""Words that keep commands short which run as long as they are told to."""
LONG = {"repeats", "warmup", "res", "max_steps", "minutes", "batch", "crop", "count", "settings"}
"""Options that may ask for hours, and get them."""
QUICK = ["--device", "cpu", "--threads", "1"]


@functools.cache
def _command(name: str) -> click.Command:
    command: Any = main
    for word in name.split():
        command = command.commands[word]
    return command


def _words(place: Path, rng: random.Random) -> str:
    """Command lines: every command with odd words for its options and arguments."""
    name = rng.choice(COMMANDS)
    command = _command(name)
    out = _fresh(place, "out")
    files = [
        str(place / "in" / entry) for entry in ("photo.png", "photo.jpg", "", "list", "no.png")
    ]
    files += [str(place / "set"), str(out / "clip.gif"), str(out), str(out / "x.mp4"), "photo.png"]
    options = [
        param
        for param in command.params
        if isinstance(param, click.Option) and param.name not in LONG and not param.is_eager
    ]
    words = [*name.split(), *SAFE.get(name, [])]
    for option in rng.sample(options, k=min(len(options), rng.choice((0, 1, 1, 2, 3)))):
        words.append(rng.choice([*option.opts, *option.secondary_opts]))
        if not option.is_flag:
            kinds = list(getattr(option.type, "choices", ())) or files
            words.append(str(rng.choice((rng.choice(WORDS), rng.choice(kinds)))))
    if any("--threads" in param.opts for param in command.params) and "--threads" not in words:
        words += QUICK[2:]
    for argument in command.params:
        if isinstance(argument, click.Argument) and rng.random() < 0.95:
            words.append(rng.choice((files[0], rng.choice(files), rng.choice(WORDS))))
    if name in ("extract", "deblur") and not {"-o", "--output"} & set(words):
        words += ["-o", str(out / rng.choice(("clip.gif", "a.png", "frames", "x.webp")))]
    (place / "case").write_text(repr(words))
    out.mkdir()
    with _home(place / "home"), contextlib.chdir(out):
        result = CliRunner(env={"BLURVID_WEIGHTS": str(place / "set")}).invoke(main, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    told = result.stderr.strip()
    assert result.exit_code in CODES, f"exit code {result.exit_code}: {told[-300:]}"
    assert "Traceback" not in told
    assert result.exit_code == 0 or told, "a failure without a word"
    return "refused" if result.exit_code else "done"


class _home:  # noqa: N801 - a context manager
    """The cache somewhere else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        self.patch = weights.sets.cache_dir, weights.sets.released_dir
        weights.sets.cache_dir = lambda: self.folder
        weights.sets.released_dir = lambda: self.folder / "released"

    def __exit__(self, *_: object) -> None:
        weights.sets.cache_dir, weights.sets.released_dir = self.patch


@dataclass(frozen=True)
class Target:
    """Something to feed."""

    run: Callable[[Path, random.Random], str]
    share: float
    """Of all cases."""
    short: int
    """Cases in the short run of the test suite."""


TARGETS = {
    "photos": Target(_photo, 0.40, 120),
    "weights": Target(_weights, 0.14, 25),
    "checkpoints": Target(_checkpoint, 0.10, 40),
    "windows": Target(_windows, 0.08, 20),
    "archives": Target(_archive, 0.08, 30),
    "settings": Target(_settings, 0.08, 40),
    "command lines": Target(_words, 0.05, 12),
    "videos": Target(_clip, 0.02, 4),
}


def prepare(place: Path) -> None:
    """Make what the targets find in their folder."""
    (place / "in").mkdir(parents=True)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
    image.save(place / "in" / "photo.png")
    image.save(place / "in" / "photo.jpg")
    (place / "in" / "list").write_text(f"{place / 'in' / 'photo.png'}\n")
    weight_set(place / "set")


def told(error: BaseException) -> str:
    """Where and why something failed, on one line."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__}: {str(error)[:200]!r} ({Path(where.filename).name}:{where.lineno})"
    )

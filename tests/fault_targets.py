"""What is killed: commands, what must be true after the kill, and how they go on."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuzz_seeds import SLIM
from PIL import Image
from test_weights_import import authors_state

from blurvid import weights
from blurvid.config import DirectSpec
from blurvid.lab.train.state import load_state
from blurvid.media.mp4 import encode
from blurvid.models import build, parts
from blurvid.networks import DirectNet
from blurvid.weights import authors, store

Files = dict[str, bytes]
Stamps = dict[str, tuple[int, int]]
QUICK = ("--device", "cpu", "--threads", "1", "--precision", "fp32")


def files_in(folder: Path) -> Files:
    """All files below a folder, hidden ones too."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def stamps_of(folder: Path, names: set[str]) -> Stamps:
    """What changes when a file is written again, though with the same bytes."""
    found = {}
    for name in names:
        status = (folder / name).stat()
        found[name] = (status.st_ino, status.st_mtime_ns)
    return found


def no_half_file(found: Mapping[str, bytes], whole: Mapping[str, bytes]) -> None:
    """Every file with a final name is as an uninterrupted run writes it."""
    for name, data in found.items():
        if not is_hidden(name):
            assert name in whole, f"{name} is not a name that a whole run gives"
            assert data == whole[name], f"{name} is half, or not the same"


class Extract:
    """A batch of photos in each of the formats."""

    ways: tuple[tuple[str, ...], ...] = (
        ("--format", "png"),
        ("--format", "gif", "--jobs", "2"),
        ("--format", "mp4", "--jobs", "1"),
        ("--format", "webp", "--flow", "out", "--jobs", "0"),
        ("--format", "html"),
    )

    def prepare(self, place: Path) -> None:
        noise = np.random.default_rng(0)
        for number in range(4):
            folder = place / "in" / str(number % 2)
            folder.mkdir(parents=True, exist_ok=True)
            coarse = noise.integers(0, 256, (6, 8, 3), np.uint8)
            Image.fromarray(coarse).resize((48, 32)).save(folder / f"{number}.png")
        torch.manual_seed(0)
        net = DirectNet(DirectSpec(channels=(8, 12), blocks=(1, 1)))
        torch.nn.init.uniform_(net.head.bias, -0.3, 0.3)
        where = place / "tiny"
        store.save(net, where, name="tiny", recipe={}, data="", scores={}, licence="MIT")

    def command(self, place: Path, way: int, here: Path) -> list[str]:
        words = ["extract", str(place / "in"), "-o", "out", "--weights", str(place / "tiny")]
        words += [*QUICK, *self.ways[way], "--json"]
        return [*words, "--skip-existing"] if (here / "out").exists() else words

    def unlike(self, words: list[str]) -> list[str]:
        """The same command in another way that may not change a byte."""
        return [*words, "--jobs", "3"]

    def done(self, here: Path, whole: Files) -> set[str]:
        """Files of photos that are complete."""
        there = set(files_in(here))
        units: dict[str, set[str]] = {}
        for name in whole:
            units.setdefault(name.split("/")[-1][0], set()).add(name)
        return set().union(*(names for names in units.values() if names <= there))

    def after_kill(self, here: Path, whole: Files) -> None:
        no_half_file(files_in(here), whole)

    def after_all(self, here: Path, whole: Files, before: set[str], said: str) -> None:
        assert files_in(here) == whole, "not what an uninterrupted run writes"
        skipped = {
            str(Path(path))
            for line in said.splitlines()
            if (record := json.loads(line)).get("skipped")
            for path in record["outputs"]
        }
        assert skipped == before, "photos done before are not those that were skipped"


class Synth:
    """Windows of clips, of a video and of photos."""

    ways = (("clips", "--jobs", "2"), ("clip.mp4", "--jobs", "1", "--scale", "0.5"),
            ("stills", "--stills", "--count", "3", "--jobs", "3", "--max-path", "5"))  # fmt: skip

    def prepare(self, place: Path) -> None:
        y, x = np.mgrid[:48, :64].astype(np.float32)
        frames = []
        for index in range(35):
            waves = [np.sin(0.35 * (x - index) + 0.2 * y), np.sin(0.5 * y + 0.1 * x)]
            levels = np.stack([*waves, waves[0] * waves[1]], axis=-1)
            frames.append(np.round(127 + 100 * levels).astype(np.uint8))
        for clip in ("a", "b"):
            (place / "clips" / clip).mkdir(parents=True)
            for index, frame in enumerate(frames[:28]):
                Image.fromarray(frame).save(place / "clips" / clip / f"{index:03d}.png")
        (place / "stills").mkdir()
        for index in (0, 20):
            large = Image.fromarray(frames[index]).resize((192, 144))
            large.save(place / "stills" / f"{index}.png")
        large_frames = [np.repeat(np.repeat(frame, 2, 0), 2, 1) for frame in frames]
        video = place / "clip.mp4"
        encode(large_frames[:35], large_frames[0].shape[:2], video, 30, 20, video)

    def command(self, place: Path, way: int, here: Path) -> list[str]:
        source, *more = self.ways[way]
        words = ["synth", str(place / source), "-o", "out", *more]
        return [*words, "--resume"] if (here / "out").exists() else words

    def unlike(self, words: list[str]) -> list[str]:
        return [*words, "--jobs", "4"]

    def done(self, here: Path, whole: Files) -> set[str]:
        listed = set()
        for name in ("manifest.jsonl", "manifest.jsonl.partial"):
            if (here / "out" / name).exists():
                lines = (here / "out" / name).read_text().split("\n")[:-1]
                listed |= {f"out/{json.loads(line)['window']}/" for line in lines}
        return {name for name in whole if name.rpartition("/")[0] + "/" in listed}

    def after_kill(self, here: Path, whole: Files) -> None:
        found = files_in(here)
        part = found.pop("out/manifest.jsonl.partial", b"")
        lines = part.split(b"\n")
        assert set(lines[:-1]) <= set(whole["out/manifest.jsonl"].split(b"\n"))
        no_half_file(found, whole)
        shown = {name.rpartition("/")[0] for name in found if not is_hidden(name)} - {"out"}
        for window in shown:
            images = {name for name in whole if name.startswith(f"{window}/")}
            assert images <= set(found), f"{window} is half"
        if "out/manifest.jsonl" in found:
            assert {n for n in found if not is_hidden(n)} == set(whole)

    def after_all(self, here: Path, whole: Files, before: set[str], said: str) -> None:
        assert files_in(here) == whole, "not what an uninterrupted run writes"


def plain(name: str) -> str:
    """A name without the digest that files of weights have in theirs."""
    return re.sub(r"-[0-9a-f]{8}(\.safetensors)$", r"\1", name)


class Train:
    """A run whose budget is in steps, with a checkpoint after each."""

    ways = (("stills",), ("windows", "--batch", "3"))
    steps = 10

    def prepare(self, place: Path) -> None:
        noise = np.random.default_rng(0)
        (place / "stills").mkdir(parents=True)
        for number in range(3):
            coarse = noise.integers(0, 256, (12, 12, 3), np.uint8)
            Image.fromarray(coarse).resize((64, 64)).save(place / "stills" / f"{number}.png")
        from blurvid.lab.data import write_windows
        from blurvid.lab.options import MotionOptions, SynthOptions

        motion = MotionOptions(max_path=4, covered=0.0)
        write_windows([place / "stills"], place / "windows", SynthOptions(), motion=motion)

    def command(self, place: Path, way: int, here: Path) -> list[str]:
        source, *more = self.ways[way]
        settings = {
            "direct.channels": [8, 12], "direct.blocks": [1, 1], "motion.max_path": 4,
            "motion.source_scale": [1.0, 1.2],
            "log_every": 1, "save_minutes": 0,
        }  # fmt: skip
        words = ["train", "--data", str(place / source), "--out", "run", "--batch", "2"]
        words += ["--crop", "16", "--steps", str(self.steps), *QUICK, *more]
        words += [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
        return [*words, "--resume"] if (here / "run" / "state.pt").exists() else words

    def unlike(self, words: list[str]) -> list[str]:
        return words

    def step(self, here: Path) -> int:
        path = here / "run" / "state.pt"
        return int(load_state(path)["step"]) if path.exists() else 0

    def done(self, here: Path, whole: Files) -> set[str]:
        return {f"step {step}" for step in range(1, self.step(here) + 1)}

    def after_kill(self, here: Path, whole: Files) -> None:
        found = files_in(here)
        assert {plain(name) for name in found if not is_hidden(name)} <= set(map(plain, whole))
        self.step(here)
        place = here / "run" / "weights"
        if place.exists():
            weights.find(place).verify()

    def after_all(self, here: Path, whole: Files, before: set[str], said: str) -> None:
        found = files_in(here)
        assert sorted(map(plain, found)) == sorted(map(plain, whole)), "other files"
        weights.find(here / "run" / "weights").verify()
        state = load_state(here / "run" / "state.pt")
        assert state["step"] == self.steps
        assert all(value.isfinite().all() for value in state["average"].values())
        log = [json.loads(line)["step"] for line in found["run/log.jsonl"].splitlines()]
        assert log == list(range(1, self.steps + 1)), "a step is missing in the log, or twice there"


class Weights:
    """A set that is imported, or imported in the place of an older one."""

    ways = ("import", "replace")

    def prepare(self, place: Path) -> None:
        place.mkdir()
        torch.manual_seed(0)
        for stage, module in parts(build("cascade", SLIM)).items():
            torch.save({"state_dict_G": authors_state(stage, module)}, place / f"{stage}.pth")
        model = build("cascade", SLIM)
        about = {"name": "jin2018", "recipe": {}, "data": "", "scores": {}, "licence": ""}
        store.save(model, place / "old" / "jin2018", **about)

    def command(self, place: Path, way: int, here: Path) -> list[str]:
        words = ["weights", "import", *(str(path) for path in sorted(place.glob("*.pth")))]
        if self.ways[way] == "import":
            return words
        if not (here / "home").exists():
            shutil.copytree(place / "old", here / "home" / "weights")
        return [*words, "--overwrite"]

    def unlike(self, words: list[str]) -> list[str]:
        return words

    def done(self, here: Path, whole: Files) -> set[str]:
        found = files_in(here)
        return set(whole) if found.items() >= whole.items() else set()

    def after_kill(self, here: Path, whole: Files) -> None:
        names = {name.split("/")[2] for name in whole}
        os.environ["BLURVID_HOME"] = str(here / "home")
        for entry in weights.list_sets():
            if entry.origin == "cache":
                assert entry.name in names
                entry.verify()
        found = files_in(here)
        shown = {name: data for name, data in found.items() if not is_hidden(name)}
        old = here.parent / "weights" / "old" / "jin2018"
        earlier = {f"home/weights/jin2018/{n}": data for n, data in files_in(old).items()}
        known = [whole.items(), earlier.items()]
        assert all(any(file in some for some in known) for file in shown.items()), "half a file"

    def after_all(self, here: Path, whole: Files, before: set[str], said: str) -> None:
        assert files_in(here) == whole, "not what an uninterrupted run writes"


Any_ = Extract | Synth | Train | Weights


@dataclass(frozen=True)
class Target:
    """Something to kill."""

    make: Callable[[], Any_]
    twice: tuple[int, ...] = ()
    """Exit codes besides 0 with which a command may refuse to do again what is done."""


TARGETS = {
    "extract": Target(Extract),
    "synth": Target(Synth),
    "train": Target(Train),
    "weights": Target(Weights, (6,)),
}


def slim_import() -> None:
    """Let an import of the authors' files expect a small cascade."""
    plain = store.skeleton

    def skeleton(name: str, spec: Any = None) -> Any:
        return plain(name, spec or (SLIM if name == "cascade" else None))

    store.skeleton = authors.skeleton = skeleton

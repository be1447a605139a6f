"""One photo of a batch: looked at, read, extracted, written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from blurvid import media, runtime
from blurvid.batch.plan import Job
from blurvid.config import Output
from blurvid.errors import BlurvidError, DeviceError, OutputError
from blurvid.flow import Motion
from blurvid.pipeline import Clip, Extractor
from blurvid.recipe import Recipe


@dataclass(frozen=True)
class Outcome:
    """What became of one job; it holds no pixels, so that it can be kept and sent anywhere."""

    job: Job
    outputs: list[Path] = field(default_factory=list)
    error: BlurvidError | None = None
    skipped: bool = False
    recipe: Recipe | None = None
    """What made the frames; None where none were made."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What is told of them besides, as plain values."""
    warnings: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """The outcome as plain values, for one line of JSON."""
        record = {"input": self.job.name, "outputs": [str(path) for path in self.outputs]}
        if self.error is not None:
            return record | {"error": str(self.error)}
        if self.recipe is None:
            return record | {"skipped": True}
        return record | self.recipe.record() | self.facts | {"warnings": list(self.warnings)}


def facts(clip: Clip, measure: bool, motion: Motion | None = None) -> dict[str, Any]:
    """What is told of a clip, as plain values.

    Args:
        clip: what was made.
        measure: work out the re-blur PSNR and the trust.
        motion: of the frames as they were written, where it was asked for.
    """
    found: dict[str, Any] = {}
    if motion is not None:
        found["motion"] = {name: round(value, 2) for name, value in asdict(motion).items()}
    measure &= len(clip.tensor) > 1  # the average of a single frame explains nothing
    return found | {
        "width": clip.tensor.shape[-1],
        "height": clip.tensor.shape[-2],
        "frames": len(clip.tensor),
        "device": clip.device,
        "scale": clip.scale,
        "tiles": clip.tiles,
        "seconds": round(clip.seconds, 3),
        "reblur_psnr": round(min(clip.reblur_psnr, 999.0), 2) if measure else None,
        "trust": clip.trust().record() if measure else None,
        "verdict": None if clip.verdict is None else clip.verdict.record(),
    }


def named(job: Job, error: BlurvidError) -> BlurvidError:
    """An error that tells which photo it came from."""
    named = type(error)(f"{job.name}: {error}")
    named.__cause__ = error
    return named


@dataclass
class Gate:
    """What is looked at before a photo is taken up."""

    inputs: frozenset[tuple[int, int]]
    """Device and number of each photo's file; none of them is written over."""
    output: Output
    cleaned: set[Path] = field(default_factory=set)
    """Folders in which nothing of a killed run is left."""

    @property
    def replaces(self) -> bool:
        """Whether files are written over; also what an interrupted batch left incomplete."""
        return self.output.overwrite or self.output.skip_existing

    def check(self, job: Job) -> Outcome | None:
        """Check where the frames will go; an outcome where nothing is left to be done."""
        try:
            if job.error is not None:
                raise job.error
            files = job.files()
            for path in files:
                self._refuse_input(job, path)
            for folder in dict.fromkeys(path.parent for path in files):
                if folder not in self.cleaned:
                    self.cleaned.add(folder)
                    media.remove_stale(folder)
            if self.output.skip_existing and all(path.exists() for path in files):
                return Outcome(job, files, skipped=True)
            job.files(self.replaces)
        except BlurvidError as error:
            return Outcome(job, error=error)
        return None

    def _refuse_input(self, job: Job, path: Path) -> None:
        """Refuse to write over a photo of the batch, whatever name leads to it."""
        try:
            status = path.stat()
        except OSError:
            return
        if (status.st_dev, status.st_ino) in self.inputs:
            raise OutputError(f"{job.name}: output {path} is the same file as an input")


@dataclass(frozen=True)
class Steps:
    """What is done with one job, step by step; an `Outcome` ends it before the last."""

    extractor: Extractor
    gate: Gate
    measure: bool = True
    allow_truncated: bool = False
    on_warning: Callable[[Job, str], None] | None = None

    def read(self, job: Job) -> media.Photo | Outcome:
        """Check where the frames will go, and read the photo."""
        settled = self.gate.check(job)
        if settled is not None:
            return settled
        try:
            source = sys.stdin.buffer if job.photo is None else job.photo
            return media.read_photo(source, job.name, allow_truncated=self.allow_truncated)
        except BlurvidError as error:
            return Outcome(job, error=error)

    def extract(self, job: Job, photo: media.Photo) -> Clip | Outcome:
        """Run the network."""
        try:
            # A comparison, which is small anyway, lacks nothing.
            lost = () if self.gate.output.clip.compare else media.lost_in(job.kind, photo)
            if self.on_warning is not None:
                for warning in (*photo.warnings, *lost):
                    self.on_warning(job, warning)
            clip = self.extractor(photo)
        except BlurvidError as error:
            return Outcome(job, error=named(job, error))
        return replace(clip, warnings=clip.warnings + lost)

    def write(self, job: Job, clip: Clip) -> Outcome:
        """Write the frames."""
        try:
            with runtime.memory_guard(torch.device("cpu")):
                return self._write(job, clip)
        except DeviceError as error:  # too little memory; it knows no name
            return Outcome(job, error=named(job, error))
        except BlurvidError as error:
            return Outcome(job, error=error)

    def _write(self, job: Job, clip: Clip) -> Outcome:
        overwrite, shown, motion = self.gate.replaces, self.gate.output.clip, None
        if job.count == 1:
            outputs = [clip.save_still(job.target, overwrite=overwrite)]
        else:
            outputs = clip.save(
                job.target, options=shown, stem=job.stem, overwrite=overwrite, kind=job.kind
            )
            for path in job.besides.get("montage", ()):
                outputs.append(clip.save_montage(path, overwrite=overwrite))
            for path in job.besides.get("flow", ()):
                outputs.append(clip.save_flow(path, reverse=shown.reverse, overwrite=overwrite))
                motion = clip.motion(shown.reverse)
            for path in job.besides.get("trust", ()):
                outputs.append(clip.save_trust(path, overwrite=overwrite))
            for path in job.besides.get("contact", ()):
                media.write_strip(clip.tensor, path, clip.photo, overwrite=overwrite)
        told = facts(clip, self.measure, motion)
        return Outcome(job, outputs, recipe=clip.recipe, facts=told, warnings=clip.warnings)

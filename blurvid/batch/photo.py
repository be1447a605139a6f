"""One photo of a batch: looked at, read, extracted, written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from blurvid import media, runtime
from blurvid.errors import BlurvidError, DeviceError
from blurvid.flow import Motion
from blurvid.pipeline import Clip, Extractor
from blurvid.planning import Gate, Job, Outcome

WRITING = 0.97
"""Share of the time of a photo after which its files are written, about."""


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
            size = None if job.photo is None else media.photo_size(job.photo)
            if size is not None:
                self.extractor.check_size(*size)
        except DeviceError as error:  # which knows no name
            return Outcome(job, error=named(job, error))
        try:
            source = sys.stdin.buffer if job.photo is None else job.photo
            return media.read_photo(source, job.name, allow_truncated=self.allow_truncated)
        except BlurvidError as error:
            return Outcome(job, error=error)

    def known(self, job: Job, photo: media.Photo) -> tuple[str, ...]:
        """What there is to say of a photo before the network works on it."""
        # A comparison, which is small anyway, lacks nothing.
        lost = () if self.gate.output.clip.compare else media.lost_in(job.kind, photo)
        return (*photo.warnings, *lost)

    def extract(self, job: Job, photo: media.Photo) -> Clip | Outcome:
        """Run the network."""
        try:
            known = self.known(job, photo)
            if self.on_warning is not None:
                for warning in known:
                    self.on_warning(job, warning)
            clip = self.extractor(photo)
        except BlurvidError as error:
            return Outcome(job, error=named(job, error))
        return replace(clip, warnings=tuple(dict.fromkeys((*clip.warnings, *known))))

    def write(self, job: Job, clip: Clip) -> Outcome:
        """Write the frames."""
        self.extractor.tell("writing", WRITING)
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
            for kind, paths in job.besides.items():
                for path in paths:
                    clip.save_beside(kind, path, reverse=shown.reverse, overwrite=overwrite)
                if kind != "contact":  # a part of the page about all
                    outputs += paths
            if job.besides.get("flow"):
                motion = clip.motion(shown.reverse)
        told = facts(clip, self.measure, motion)
        return Outcome(job, outputs, recipe=clip.recipe, facts=told, warnings=clip.warnings)

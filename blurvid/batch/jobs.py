"""One photo of a batch, and what became of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from blurvid import media
from blurvid.config import FRAMES
from blurvid.errors import BlurvidError, InputError, OptionError
from blurvid.flow import Motion
from blurvid.pipeline import Clip

STDIN = "-"


@dataclass(frozen=True)
class Job:
    """One photo and where its frames go."""

    photo: Path | None
    """None is standard input."""
    target: Path
    """A file, or the folder for single frames."""
    stem: str
    """Start of the names of single frames."""
    kind: str
    """One of `FORMATS`."""
    error: InputError | None = None
    """Why the photo cannot even be looked at."""
    montage: Path | None = None
    """Where a sheet of the frames goes besides."""
    single: bool = False
    """Whether the target is a file for the middle frame alone."""
    flows: tuple[Path, ...] = ()
    """Where the motion goes besides."""

    @property
    def name(self) -> str:
        """The photo's name for messages."""
        return STDIN if self.photo is None else str(self.photo)

    def files(self, overwrite: bool = True) -> list[Path]:
        """The files that will be written.

        Raises:
            OutputError: one cannot be written, or is there already and not to be overwritten.
            OptionError: the sheet or the motion is one of the other files.
        """
        if self.single:
            media.check_file(self.target, overwrite)
            return [self.target]
        files = media.check_target(self.target, self.stem, FRAMES, overwrite, self.kind)
        if self.montage is not None:
            if self.montage in files:
                raise OptionError(f"{self.montage} is meant for a frame and for the montage")
            files.append(media.check_montage(self.montage, overwrite))
        for path in self.flows:
            if path in files:
                raise OptionError(f"{path} is meant for the motion and for something else")
            files.append(media.check_flow(path, overwrite))
        return files


@dataclass(frozen=True)
class Outcome:
    """What became of one job."""

    job: Job
    outputs: list[Path] = field(default_factory=list)
    clip: Clip | None = None
    error: BlurvidError | None = None
    skipped: bool = False
    motion: Motion | None = None
    """Of the frames as they were written; None where it was not asked for."""

    def record(self) -> dict[str, Any]:
        """The outcome as plain values, for one line of JSON."""
        record: dict[str, Any] = {
            "input": self.job.name,
            "outputs": [str(path) for path in self.outputs],
        }
        if self.error is not None:
            return record | {"error": str(self.error)}
        if self.clip is None:
            return record | {"skipped": True}
        clip = self.clip
        if self.motion is not None:
            record["motion"] = {
                name: round(value, 2) for name, value in asdict(self.motion).items()
            }
        return record | {
            "width": clip.tensor.shape[-1],
            "height": clip.tensor.shape[-2],
            "model": clip.model,
            "weights": clip.weights,
            "middle": clip.middle,
            "device": clip.device,
            "precision": clip.precision,
            "quality": asdict(clip.quality),
            "direction": clip.direction,
            "flips": list(clip.flips),
            "scale": clip.scale,
            "tiles": clip.tiles,
            "seconds": round(clip.seconds, 3),
            # The average of a single frame explains nothing.
            "reblur_psnr": None if self.job.single else round(min(clip.reblur_psnr, 999.0), 2),
            "warnings": list(clip.warnings),
        }

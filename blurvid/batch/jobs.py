"""One photo of a batch, and what became of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from blurvid import media
from blurvid.config import FRAMES, QualityOptions
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
    trusts: tuple[Path, ...] = ()
    """Where the maps of trust go besides."""
    frames: int = FRAMES
    """How many over the exposure."""
    beyond: int = 0
    """How many more at each end."""
    allow_truncated: bool = False
    """Whether a photo that ends early is read as far as it goes."""

    @property
    def count(self) -> int:
        """How many frames it gives."""
        return self.frames + 2 * self.beyond

    @property
    def name(self) -> str:
        """The photo's name for messages."""
        return STDIN if self.photo is None else str(self.photo)

    def files(self, overwrite: bool = True) -> list[Path]:
        """The files that will be written.

        Raises:
            OutputError: one cannot be written, or is there already and not to be overwritten.
            OptionError: the sheet, the motion or the trust is one of the other files.
        """
        if self.single:
            media.check_file(self.target, overwrite)
            return [self.target]
        files = media.check_target(self.target, self.stem, self.count, overwrite, self.kind)
        sheets = () if self.montage is None else (self.montage,)
        for kind, paths in (("montage", sheets), ("flow", self.flows), ("trust", self.trusts)):
            for path in paths:
                if path in files:
                    raise OptionError(f"{path} is meant for the {kind} and for something else")
                files.append(media.check_besides(kind, path, overwrite))
        return files


@dataclass(frozen=True)
class Made:
    """What is told of a clip: all but its pixels, so that it can be kept and sent anywhere."""

    width: int
    height: int
    frames: int
    beyond: int
    """How many of them lie before the exposure, and as many after it."""
    model: str
    weights: str
    middle: str | None
    device: str
    precision: str
    quality: QualityOptions
    direction: str
    flips: tuple[str, ...]
    scale: float
    tiles: int
    seconds: float
    """Time the network took."""
    reblur_psnr: float | None
    """None where it was not asked for, and for a single frame: its average explains nothing."""
    trust: dict[str, Any] | None
    """How far to believe it, as `Trust.record` tells; None as for the re-blur."""
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, clip: Clip, measure: bool) -> Made:
        """Describe a clip.

        Args:
            clip: what was made.
            measure: work out the re-blur PSNR.
        """
        return cls(
            width=clip.tensor.shape[-1],
            height=clip.tensor.shape[-2],
            frames=len(clip.tensor),
            beyond=clip.beyond,
            model=clip.model,
            weights=clip.weights,
            middle=clip.middle,
            device=clip.device,
            precision=clip.precision,
            quality=clip.quality,
            direction=clip.direction,
            flips=clip.flips,
            scale=clip.scale,
            tiles=clip.tiles,
            seconds=clip.seconds,
            reblur_psnr=clip.reblur_psnr if measure else None,
            trust=clip.trust().record() if measure and len(clip.tensor) > 1 else None,
            warnings=clip.warnings,
        )


@dataclass(frozen=True)
class Outcome:
    """What became of one job."""

    job: Job
    outputs: list[Path] = field(default_factory=list)
    made: Made | None = None
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
        if self.made is None:
            return record | {"skipped": True}
        if self.motion is not None:
            record["motion"] = {
                name: round(value, 2) for name, value in asdict(self.motion).items()
            }
        psnr = self.made.reblur_psnr
        return (
            record
            | asdict(self.made)
            | {
                "flips": list(self.made.flips),
                "seconds": round(self.made.seconds, 3),
                "reblur_psnr": None if psnr is None else round(min(psnr, 999.0), 2),
                "warnings": list(self.made.warnings),
            }
        )

"""Many photos: which goes where, one after the other, none stopping the rest."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blurvid import media
from blurvid.config import FORMATS, FRAMES, ClipOptions
from blurvid.errors import BlurvidError, InputError, OptionError, OutputError
from blurvid.pipeline import Clip, Extractor

STDIN = "-"


@dataclass(frozen=True)
class Job:
    """One photo and where its frames go."""

    photo: Path | None
    """None is standard input."""
    target: Path
    """A file, or the folder for PNG files."""
    stem: str
    """Start of the names of PNG files."""

    @property
    def name(self) -> str:
        """The photo's name for messages."""
        return STDIN if self.photo is None else str(self.photo)


@dataclass(frozen=True)
class Outcome:
    """What became of one job."""

    job: Job
    outputs: list[Path] = field(default_factory=list)
    clip: Clip | None = None
    error: BlurvidError | None = None
    skipped: bool = False

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
        return record | {
            "width": clip.tensor.shape[-1],
            "height": clip.tensor.shape[-2],
            "model": clip.model,
            "weights": clip.weights,
            "device": clip.device,
            "precision": clip.precision,
            "seconds": round(clip.seconds, 3),
            "reblur_psnr": round(min(clip.reblur_psnr, 999.0), 2),
            "warnings": list(clip.warnings),
        }


def plan(sources: Sequence[str | Path], out: Path | None, kind: str | None = None) -> list[Job]:
    """Find the photos and say where the frames of each go.

    Args:
        sources: photos, folders (searched through), or `-` for standard input.
        out: a file whose suffix names the kind, for one photo; or a folder, in which the tree
            of a source folder is kept; None is the current folder.
        kind: one of `FORMATS` for what is written to a folder; by default `png`, or `mp4` when
            there is no `out`.

    Raises:
        InputError: a source that is not there, or a folder without photos.
        OptionError: a file as output of many photos, or contradicting kinds.
    """
    found = [entry for source in sources for entry in _photos(source)]
    many = len(found) > 1 or any(Path(source).is_dir() for source in sources)
    if out is not None and out.suffix and not out.is_dir():
        if many:
            raise OptionError(
                f"{out} is one file, but there are {len(found)} photos: name a folder and "
                "choose --format"
            )
        if kind is not None and f".{kind}" != out.suffix.lower():
            raise OptionError(f"{out} and --format {kind} contradict each other")
        photo, relative = found[0]
        return [Job(photo, out, relative.name)]
    kind = kind or ("mp4" if out is None else "png")
    if kind not in FORMATS:
        raise OptionError(f"no format named {kind!r}; use {', '.join(FORMATS)}")
    folder = out or Path()
    # a.jpg and a.png, or photos of one name from two places, must not overwrite each other
    count = Counter(relative.with_suffix("") for _, relative in found)
    jobs, taken = [], set()
    for photo, relative in found:
        base = relative.with_suffix("")
        if count[base] > 1:
            base = relative.with_name(relative.name.replace(".", "_"))
        unique, number = base, 2
        while unique in taken:
            unique, number = base.with_name(f"{base.name}_{number}"), number + 1
        taken.add(unique)
        target = folder / unique
        target = target.parent if kind == "png" else target.with_name(f"{target.name}.{kind}")
        jobs.append(Job(photo, target, unique.name))
    return jobs


def _photos(source: str | Path) -> Iterator[tuple[Path | None, Path]]:
    """Photos of a source, each with its path relative to the source."""
    if str(source) == STDIN:
        yield None, Path("stdin.png")
        return
    source = Path(source)
    if source.is_dir():
        photos = media.list_photos(source, recursive=True)
        if not photos:
            raise InputError(f"{source}: no photos in this folder")
        for photo in photos:
            yield photo, photo.relative_to(source)
    elif source.exists():
        yield source, Path(source.name)
    else:
        raise InputError(f"{source}: no such file or folder")


def run(
    jobs: Sequence[Job],
    extract: Extractor,
    options: ClipOptions,
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
    fail_fast: bool = False,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Do jobs one after the other; a failed one is reported and the next one taken.

    Args:
        jobs: what to do.
        extract: the loaded model.
        options: how clips are shown.
        overwrite: replace existing outputs.
        skip_existing: leave jobs whose outputs are all there, to resume a batch.
        fail_fast: stop after the first failure.
        on_outcome: called after each job.

    Returns:
        The outcomes, without clips, so that memory does not grow with the batch.
    """
    outcomes = []
    for job in jobs:
        outcome = _do(job, extract, options, overwrite, skip_existing)
        if on_outcome:
            on_outcome(outcome)
        outcomes.append(Outcome(job, outcome.outputs, None, outcome.error, outcome.skipped))
        if fail_fast and outcome.error is not None:
            break
    return outcomes


def _do(
    job: Job, extract: Extractor, options: ClipOptions, overwrite: bool, skip_existing: bool
) -> Outcome:
    try:
        if skip_existing:
            expected = media.check_target(job.target, job.stem, FRAMES, overwrite=True)
            if all(path.exists() for path in expected):
                return Outcome(job, expected, skipped=True)
            overwrite = True  # what an interrupted batch left incomplete is made anew
        else:
            media.check_target(job.target, job.stem, FRAMES, overwrite)
        if job.photo is None:
            photo = media.read_photo(sys.stdin.buffer, name=STDIN)
        else:
            photo = media.read_photo(job.photo)
            if job.photo.resolve() in (p.resolve() for p in _files(job)):
                raise OutputError(f"{job.photo}: input and output are the same file")
        clip = extract(photo)
        outputs = clip.save(job.target, options=options, stem=job.stem, overwrite=overwrite)
        return Outcome(job, outputs, clip)
    except BlurvidError as error:
        return Outcome(job, error=error)


def _files(job: Job) -> list[Path]:
    return media.check_target(job.target, job.stem, FRAMES, overwrite=True)

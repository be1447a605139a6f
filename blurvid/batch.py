"""Many photos: which goes where, one after the other, none stopping the rest."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from blurvid import media
from blurvid.config import FORMATS, FRAME_FORMATS, FRAMES, ClipOptions
from blurvid.errors import BlurvidError, InputError, OptionError, OutputError
from blurvid.pipeline import Clip, Extractor

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

    @property
    def name(self) -> str:
        """The photo's name for messages."""
        return STDIN if self.photo is None else str(self.photo)

    def files(self, overwrite: bool = True) -> list[Path]:
        """The files that will be written.

        Raises:
            OutputError: one cannot be written, or is there already and not to be overwritten.
            OptionError: the sheet is one of the frames.
        """
        files = media.check_target(self.target, self.stem, FRAMES, overwrite, self.kind)
        if self.montage is not None:
            if self.montage in files:
                raise OptionError(f"{self.montage} is meant for a frame and for the montage")
            files.append(media.check_montage(self.montage, overwrite))
        return files


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
            "quality": asdict(clip.quality),
            "seconds": round(clip.seconds, 3),
            "reblur_psnr": round(min(clip.reblur_psnr, 999.0), 2),
            "warnings": list(clip.warnings),
        }


def plan(
    sources: Sequence[str | Path],
    out: Path | None,
    kind: str | None = None,
    montage: Path | None = None,
) -> list[Job]:
    """Find the photos and say where the frames of each go.

    Args:
        sources: photos, folders (searched through), or `-` for standard input.
        out: a file whose suffix names the kind, for one photo; or a folder, in which the tree
            of a source folder is kept; None is the current folder.
        kind: one of `FORMATS` for what is written to a folder; by default `png`, or `mp4` when
            there is no `out`.
        montage: a PNG file for a sheet of the frames, for one photo; or a folder, in which the
            tree of a source folder is kept; None makes no sheets.

    Raises:
        InputError: there is no photo at all; one missing among others becomes a job that fails.
        OptionError: a file as output of many photos, or contradicting kinds.
    """
    found = [entry for source in sources for entry in _photos(source)]
    if all(entry.error for entry in found):
        raise next(entry.error for entry in found if entry.error)
    many = len(found) > 1 or found[0].in_folder
    if out is not None and _is_file(out, many, kind):
        if many:
            raise OptionError(
                f"{out} is one file, but there are {len(found)} photos: name a folder and "
                "choose --format"
            )
        named = media.kind_of(out)
        if kind not in (None, named):
            raise OptionError(f"{out} and --format {kind} contradict each other")
        return [
            Job(
                found[0].photo,
                out,
                found[0].relative.stem,
                named,
                montage=_montage(montage, Path(found[0].relative.stem), many),
            )
        ]
    kind = kind or ("mp4" if out is None else "png")
    if kind not in FORMATS:
        raise OptionError(f"no format named {kind!r}; use {', '.join(FORMATS)}")
    folder = out or Path()
    # a.jpg and a.png, or photos of one name from two places, must not overwrite each other
    count = Counter(entry.relative.with_suffix("") for entry in found)
    jobs, taken = [], set()
    for entry in found:
        base = entry.relative.with_suffix("")
        if count[base] > 1:
            base = base.with_name(entry.relative.name.replace(".", "_"))
        unique, number = base, 2
        while unique in taken:
            unique, number = base.with_name(f"{base.name}_{number}"), number + 1
        taken.add(unique)
        target = folder / unique
        single = kind in FRAME_FORMATS
        target = target.parent if single else target.with_name(f"{target.name}.{kind}")
        sheet = _montage(montage, unique, many)
        jobs.append(Job(entry.photo, target, unique.name, kind, entry.error, sheet))
    return jobs


def _montage(montage: Path | None, base: Path, many: bool) -> Path | None:
    """Where the sheet of a photo goes whose frames are named `base`."""
    if montage is None:
        return None
    if not _is_file(montage, many, None, (".png",)):
        return montage / base.with_name(f"{base.name}_montage.png")
    if many:
        raise OptionError(f"{montage} is one file, but there are many photos: name a folder")
    return montage


def _is_file(
    out: Path, many: bool, kind: str | None, suffixes: Sequence[str] = media.CLIP_SUFFIXES
) -> bool:
    """Whether an output is meant as a file; a new folder may have a dot in its name."""
    try:
        if not out.suffix or out.is_dir():
            return False
    except OSError as error:
        raise OutputError(f"{out}: {error.strerror}") from error
    return out.suffix.lower() in suffixes or not (many or kind)


@dataclass(frozen=True)
class _Found:
    photo: Path | None
    relative: Path
    """Below the source folder; names the output."""
    in_folder: bool = False
    error: InputError | None = None


def _photos(source: str | Path) -> Iterator[_Found]:
    """Photos of a source, or the reason why there are none."""
    if str(source) == STDIN:
        yield _Found(None, Path("stdin.png"))
        return
    source = Path(source)
    try:
        if source.is_dir():
            photos = media.list_photos(source, recursive=True)
            for photo in photos:
                yield _Found(photo, photo.relative_to(source), in_folder=True)
            if photos:
                return
            error = InputError(f"{source}: no photos in this folder")
        elif source.exists():
            yield _Found(source, Path(source.name))
            return
        else:
            error = InputError(f"{source}: no such file or folder")
    except OSError as problem:
        error = InputError(f"{source}: {problem.strerror}")
    except InputError as problem:
        error = problem
    yield _Found(source, Path(source.name or "photo"), error=error)


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
    media.check_clip_options(options)
    inputs = {job.photo.resolve() for job in jobs if job.photo is not None}
    outcomes = []
    for job in jobs:
        outcome = _do(job, extract, options, inputs, overwrite, skip_existing)
        if on_outcome:
            on_outcome(outcome)
        outcomes.append(Outcome(job, outcome.outputs, None, outcome.error, outcome.skipped))
        if fail_fast and outcome.error is not None:
            break
    return outcomes


def _do(
    job: Job,
    extract: Extractor,
    options: ClipOptions,
    inputs: Set[Path],
    overwrite: bool,
    skip_existing: bool,
) -> Outcome:
    try:
        if job.error is not None:
            raise job.error
        files = job.files()
        for path in files:
            if path.resolve() in inputs:
                raise OutputError(f"{job.name}: output {path} is the same file as an input")
        if skip_existing:
            if all(path.exists() for path in files):
                return Outcome(job, files, skipped=True)
            overwrite = True  # what an interrupted batch left incomplete is made anew
        job.files(overwrite)
        if job.photo is None:
            photo = media.read_photo(sys.stdin.buffer, name=STDIN)
        else:
            photo = media.read_photo(job.photo)
        try:
            clip = extract(photo)
        except BlurvidError as error:
            raise type(error)(f"{job.name}: {error}") from error
        clip = replace(clip, warnings=clip.warnings + media.lost_in(job.kind, photo))
        outputs = clip.save(
            job.target, options=options, stem=job.stem, overwrite=overwrite, kind=job.kind
        )
        if job.montage is not None:
            outputs.append(clip.save_montage(job.montage, overwrite=overwrite))
        return Outcome(job, outputs, clip)
    except BlurvidError as error:
        return Outcome(job, error=error)

"""Photos with the places of their frames, what is known of them beforehand, what became of them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blurvid import targets
from blurvid.atomic import locked, remove_stale
from blurvid.config import FRAME_FORMATS, FRAMES, Output
from blurvid.errors import BlurvidError, InputError, OptionError, OutputError
from blurvid.planning.trees import STDIN
from blurvid.recipe import Recipe


@dataclass(frozen=True)
class Job:
    """One photo or video and where its frames go."""

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
    besides: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    """Where each of `targets.BESIDES` goes."""
    count: int = FRAMES
    """How many frames it gives; of one, the target is its file."""

    @property
    def name(self) -> str:
        """The photo's name for messages."""
        return STDIN if self.photo is None else str(self.photo)

    def files(self, overwrite: bool = True) -> list[Path]:
        """The files that will be written.

        Raises:
            OutputError: one cannot be written, or is there already and not to be overwritten.
            OptionError: the motion or the trust is one of the other files.
        """
        if self.count == 1:
            targets.check_file(self.target, overwrite)
            return [self.target]
        files = targets.check_target(self.target, self.stem, self.count, overwrite, self.kind)
        for kind, paths in self.besides.items():
            for path in paths:
                if path in files:
                    raise OptionError(f"{path} is meant for the {kind} and for something else")
                files.append(targets.check_besides(kind, path, overwrite))
        return files


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

    def __post_init__(self) -> None:
        error: BaseException | None = self.error
        while error is not None:
            # A traceback keeps all that the functions which failed had in their hands: without it
            # there is memory for the next photo.
            error.__traceback__ = None
            error = error.__cause__ or error.__context__

    def record(self) -> dict[str, Any]:
        """The outcome as plain values, for one line of JSON."""
        record = {"input": self.job.name, "outputs": [str(path) for path in self.outputs]}
        if self.error is not None:
            return record | {"error": str(self.error)}
        if self.recipe is None:
            return record | {"skipped": True}
        return record | self.recipe.record() | self.facts | {"warnings": list(self.warnings)}


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

    def settled(self, jobs: Sequence[Job], fail_fast: bool) -> list[Outcome] | None:
        """What becomes of jobs of which none needs a network; None where one does."""
        found: list[Outcome] = []
        for job in jobs:
            outcome = self.check(job)
            if outcome is None:
                return None
            found.append(outcome)
            if fail_fast and outcome.error is not None:
                break
        remove_stale(folder_of(jobs))  # what a run left that was killed when all was done
        return found

    def check(self, job: Job) -> Outcome | None:
        """Look at where the frames will go; an outcome where nothing is left to be done.

        What killed runs left in these folders is removed first.
        """
        try:
            if job.error is not None:
                raise job.error
            files = job.files()
            for folder in dict.fromkeys(path.parent for path in files):
                if folder not in self.cleaned:
                    self.cleaned.add(folder)
                    remove_stale(folder)
            for path in files:
                self._refuse_input(job, path)
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


def identities(jobs: Sequence[Job]) -> frozenset[tuple[int, int]]:
    """What the photos of jobs are on the disk, whatever they are called."""
    found = set()
    for job in jobs:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # there may be no stdin
            status = os.fstat(sys.stdin.fileno()) if job.photo is None else job.photo.stat()
            found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def alone(jobs: Sequence[Job]) -> AbstractContextManager[None]:
    """Keep other processes from the same jobs; other jobs, shares of a batch too, may go on.

    Raises:
        OutputError: another process is doing these jobs.
    """
    if not jobs:
        return contextlib.nullcontext()
    targets = "\0".join(f"{job.target.absolute()}\0{job.stem}\0{job.kind}" for job in jobs)
    key = hashlib.sha256(targets.encode(errors="surrogateescape")).hexdigest()[:16]
    folder = folder_of(jobs)
    return locked(folder / f".blurvid-{key}.lock", folder if len(jobs) > 1 else jobs[0].target)


def named(job: Job, error: BlurvidError) -> BlurvidError:
    """An error that tells which photo it came from."""
    named = type(error)(f"{job.name}: {error}")
    named.__cause__ = error
    return named


def folder_of(jobs: Sequence[Job]) -> Path:
    """The folder that everything goes to, or the first of several that have none in common."""
    folders = [
        job.target if job.kind in FRAME_FORMATS and job.count > 1 else job.target.parent
        for job in jobs
    ]
    with contextlib.suppress(ValueError):  # two drives
        common = Path(os.path.commonpath(folders))
        if not common.anchor or common != Path(common.anchor):
            return common
    return folders[0]

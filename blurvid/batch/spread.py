"""Batches of photos and of clips on a Ray cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from blurvid import media, runtime
from blurvid.batch.cluster import load
from blurvid.batch.jobs import Job, Outcome
from blurvid.batch.run import (
    Gate,
    Steps,
    alone,
    folder_of,
    identities,
    named,
    side_by_side,
)
from blurvid.batch.workers import Workers
from blurvid.config import RAY_BLOCK, RAY_WRITERS, ClipOptions, RunOptions
from blurvid.errors import BlurvidError, OptionError
from blurvid.pipeline import Extractor

Opening: TypeAlias = Callable[..., AbstractContextManager[Extractor]]
"""Makes the extractor: `pipeline.extractor` or `deblurrer` with all but `run` given."""


@dataclass(frozen=True)
class Told:
    """What a worker says of its model."""

    device: str
    middle: str | None
    """What gives the middle frame in the place of the model's own network."""
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Photos:
    """What workers do with photos."""

    opening: Opening
    options: ClipOptions
    overwrite: bool
    measure: bool
    writers: int

    @contextlib.contextmanager
    def opened(
        self, run: RunOptions
    ) -> Iterator[tuple[Told, Callable[[Sequence[Job], bool], list[Outcome]]]]:
        """Load the model."""
        with self.opening(run=run) as extractor:
            cleaned: set[Path] = set()

            def do(jobs: Sequence[Job], again: bool) -> list[Outcome]:
                # The files of a worker that died may be there, whole, and were told to nobody.
                gate = Gate(frozenset(), self.overwrite or again, False, cleaned)
                steps = Steps(extractor, self.options, gate, self.measure)
                return list(side_by_side(jobs, steps, self.writers))

            middle = extractor.middle.name if extractor.middle else None
            yield Told(runtime.describe(extractor.device), middle, extractor.warnings), do

    def tidy(self, jobs: Sequence[Job], ended: Sequence[str]) -> None:
        with contextlib.suppress(BlurvidError):  # a folder may be gone
            for folder in {path.parent for job in jobs for path in job.files()}:
                media.remove_stale(folder, ended)


def run_on_ray(
    jobs: Sequence[Job],
    opening: Opening,
    options: ClipOptions,
    workers: Workers,
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
    fail_fast: bool = False,
    on_outcome: Callable[[Outcome], None] | None = None,
    writers: int | None = None,
    measure: bool = True,
    whole: Sequence[Job] | None = None,
) -> list[Outcome]:
    """Do jobs on the workers of a Ray cluster, as `run` does them on this machine.

    The files are those that `run` writes, under the same paths, which all machines must see. This
    process looks at what is there and hands out the photos; workers load the model once, read, and
    write. What a worker that died had in hand is done again by another.

    Args:
        jobs: what to do; no standard input.
        opening: `pipeline.extractor` or `deblurrer` with all but `run` given (`partial`).
        options: how clips are shown.
        workers: which cluster, how many workers, and what is told of them.
        overwrite: as for `run`.
        skip_existing: as for `run`.
        fail_fast: hand out nothing after the first failure; what is in work is finished.
        on_outcome: called after each job, in this thread, in the order in which they are done.
        writers: photos that a worker reads or writes while another is in the network, by default
            `RAY_WRITERS`.
        measure: as for `run`.
        whole: as for `run`.

    Returns:
        The outcomes, in the order of the jobs.

    Raises:
        OptionError: Ray is not installed, or a photo on standard input.
        DeviceError: no such cluster, or no worker can be had.
        OutputError: another process is doing these jobs.
        BlurvidError: why the model cannot be loaded.
    """
    media.check_clip_options(options)
    if any(job.photo is None for job in jobs):
        raise OptionError("standard input cannot be read on other machines; name files")
    writers = RAY_WRITERS if writers is None else writers
    runtime.check_threads(writers, "photos beside the network", least=0)
    load(workers.ray, workers.run)
    gate = Gate(identities(whole or jobs), overwrite, skip_existing)
    outcomes: dict[int, Outcome] = {}
    left: list[Job] = []
    stop = False

    def finish(job: Job, outcome: Outcome) -> None:
        nonlocal stop
        outcomes[id(job)] = outcome
        stop = stop or (fail_fast and outcome.error is not None)
        if on_outcome:
            on_outcome(outcome)

    with alone(jobs):
        for job in jobs:
            settled = gate.check(job)
            if settled is None:
                left.append(job)
                continue
            finish(job, settled)
            if stop:
                break
        work = _Photos(opening, options, gate.replaces, measure, writers)
        results = workers.results(work, left, folder_of(jobs), RAY_BLOCK, lambda: stop)
        with contextlib.closing(results):
            for job, result in results if left else ():
                if isinstance(result, BlurvidError):
                    result = Outcome(job, error=named(job, result))
                finish(job, replace(result, job=job))  # not the copy that travelled
    return [outcomes[id(job)] for job in jobs if id(job) in outcomes]

"""Batches of photos on a Ray cluster."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from blurvid import media, runtime
from blurvid.batch.cluster import joined
from blurvid.batch.crew import Crew, Worker
from blurvid.batch.jobs import Job, Outcome
from blurvid.batch.run import Gate, Steps, alone, identities, most_frames, named, pixels_for
from blurvid.config import FRAME_FORMATS, RAY_WRITERS, ClipOptions, RayOptions, RunOptions
from blurvid.errors import BlurvidError, OptionError, OutputError
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
    frames: int
    """Largest number that is made of a photo."""

    @contextlib.contextmanager
    def opened(self, run: RunOptions) -> Iterator[tuple[Told, Callable[[Job, bool], Outcome]]]:
        """Load the model. Photos are read and written in the threads that ask; one has the network.

        Photos in work together are small ones, as in a batch on one machine.
        """
        with ThreadPoolExecutor(1, "network") as network:
            # Settings of torch belong to the thread in which they were made.
            block = self.opening(run=run)
            extractor = network.submit(block.__enter__).result()
            room = _Room(pixels_for(extractor, self.frames))

            cleaned: set[Path] = set()

            def do(job: Job, again: bool) -> Outcome:
                # The files of a worker that died may be there, whole, and were told to nobody.
                gate = Gate(frozenset(), self.overwrite or again, False, cleaned)
                steps = Steps(extractor, self.options, gate, self.measure)
                photo = steps.read(job)
                if isinstance(photo, Outcome):
                    return photo
                with room.taken(photo.pixels.shape[-2] * photo.pixels.shape[-1]):
                    clip = network.submit(steps.extract, job, photo).result()
                    return clip if isinstance(clip, Outcome) else steps.write(job, clip)

            middle = extractor.middle.name if extractor.middle else None
            device = runtime.describe(extractor.device)
            try:
                yield Told(device, middle, extractor.warnings), do
            finally:
                network.submit(block.__exit__, None, None, None).result()


class _Room:
    """Lets photos into work while they are small; a large one alone."""

    def __init__(self, pixels: int) -> None:
        self.pixels, self.inside = pixels, 0
        self.changed = threading.Condition()

    @contextlib.contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        with self.changed:
            self.changed.wait_for(lambda: not self.inside or self.inside + pixels <= self.pixels)
            self.inside += pixels
        try:
            yield
        finally:
            with self.changed:
                self.inside -= pixels
                self.changed.notify_all()


def run_on_ray(
    jobs: Sequence[Job],
    opening: Opening,
    options: ClipOptions,
    ray: RayOptions = RayOptions(),
    run: RunOptions = RunOptions(),
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
    fail_fast: bool = False,
    on_outcome: Callable[[Outcome], None] | None = None,
    on_worker: Callable[[Worker], None] | None = None,
    on_trouble: Callable[[str], None] | None = None,
    writers: int | None = None,
    measure: bool = True,
    whole: Sequence[Job] | None = None,
) -> list[Outcome]:
    """Do jobs on the workers of a Ray cluster, as `run` does them on this machine.

    The files are those that `run` writes, under the same paths, which all machines must see. This
    process looks at what is there and hands out one photo at a time; workers load the model once,
    read, and write. What a worker that died had in hand is done again by another.

    Args:
        jobs: what to do; no standard input.
        opening: `pipeline.extractor` or `deblurrer` with all but `run` given (`partial`).
        options: how clips are shown.
        ray: which cluster, how many workers.
        run: device, threads, precision and memory of each worker.
        overwrite: as for `run`.
        skip_existing: as for `run`.
        fail_fast: hand out nothing after the first failure; what is in work is finished.
        on_outcome: called after each job, in this thread, in the order in which they are done.
        on_worker: called with each worker that is ready, its `told` a `Told`.
        on_trouble: called with a line about each worker that died.
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
    gate = Gate(identities(whole or jobs), overwrite, skip_existing)
    outcomes: dict[int, Outcome] = {}
    number = {id(job): place for place, job in enumerate(jobs)}
    stop = False

    def finish(job: Job, outcome: Outcome) -> None:
        nonlocal stop
        outcomes[number[id(job)]] = outcome
        stop = stop or (fail_fast and outcome.error is not None)
        if on_outcome:
            on_outcome(outcome)

    def left() -> Iterator[Job | None]:
        for job in jobs:
            if stop:
                return
            settled = gate.check(job)
            if settled is None:
                yield job
            else:
                finish(job, settled)
                yield None

    def tidy(worker: Worker, lost: list[Job]) -> None:
        with contextlib.suppress(BlurvidError):  # a folder may be gone
            for folder in {path.parent for job in lost for path in job.files()}:
                media.remove_stale(folder, [worker.start])

    work = _Photos(opening, options, gate.replaces, measure, most_frames(jobs))
    if not jobs:
        return []
    first = jobs[0]
    folder = (
        first.target.parent if first.single or first.kind not in FRAME_FORMATS else first.target
    )
    with alone(jobs), joined(ray, run) as (module, seats), in_sight(folder) as sight:
        crew: Crew[Job] = Crew(
            module, seats, work, run, sight,
            in_flight=writers + 1, on_worker=on_worker, on_trouble=on_trouble, on_death=tidy,
        )  # fmt: skip
        try:
            for job, result in crew.results(left()):
                if isinstance(result, BlurvidError):
                    result = Outcome(job, error=named(job, result))
                finish(job, replace(result, job=job))  # not the copy that travelled
        finally:
            crew.end()
    return [outcomes[place] for place in sorted(outcomes)]


@contextlib.contextmanager
def in_sight(folder: Path) -> Iterator[Path]:
    """A file by which a worker knows that it sees the disk of the results."""
    path = folder / f"{media.own_start()}0.here"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise OutputError(f"{folder}: {media.reason(error)}") from error
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)

"""Windows of many clips, made on a Ray cluster."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from blurvid import runtime
from blurvid.batch.cluster import joined
from blurvid.batch.crew import Crew, Worker
from blurvid.batch.spread import in_sight
from blurvid.config import RayOptions, RunOptions
from blurvid.errors import BlurvidError
from blurvid.lab.data.windows.clips import SourceClip
from blurvid.lab.data.windows.team import Made, Pending, Planner, make_clip

_Windows: TypeAlias = tuple[list[Made], BlurvidError | None]
"""What came of a clip: its windows, and why there are no more."""


@dataclass(frozen=True)
class _Clips:
    """What workers do with clips."""

    plan: Planner
    out: Path
    threads: int | None

    @contextlib.contextmanager
    def opened(self, run: RunOptions) -> Iterator[tuple[None, Callable[[Pending, bool], _Windows]]]:
        """Start the threads that make windows."""
        threads = self.threads or run.threads or 1
        with runtime.single_threaded_pool(threads) as pool:

            def do(pending: Pending, again: bool) -> _Windows:
                made: list[Made] = []
                try:
                    made.extend(make_clip(self.plan, pending, self.out, pool, 2 * threads))
                except BlurvidError as error:
                    return made, error  # those before it are whole
                return made, None

            yield None, do


@dataclass(frozen=True)
class RayTeam:
    """Makes windows on the workers of a Ray cluster; a `Team`.

    A task is a clip. The images lie in the folder of the windows, under temporary names, before
    they are taken up here; so all machines must see that folder, and the clips.
    """

    ray: RayOptions = RayOptions()
    run: RunOptions = RunOptions(device="cpu")
    jobs: int | None = None
    """Threads of each worker, by default as many as it has CPUs."""
    on_worker: Callable[[Worker], None] | None = None
    on_trouble: Callable[[str], None] | None = None

    in_order = False

    def __call__(
        self, clips: Iterable[Pending], plan: Planner, out: Path
    ) -> Generator[tuple[SourceClip, Iterator[Made]], None, None]:
        """Give the windows of each clip as soon as all of them are made."""

        def tidy(worker: Worker, lost: list[Pending]) -> None:
            for clip, _ in lost:
                for scratch in (out / clip.name).glob(".*.partial"):
                    shutil.rmtree(scratch, ignore_errors=True)

        with joined(self.ray, self.run) as (module, seats), in_sight(out) as sight:
            crew: Crew[Pending] = Crew(
                module, seats, _Clips(plan, out, self.jobs), self.run, sight,
                in_flight=1, on_worker=self.on_worker, on_trouble=self.on_trouble, on_death=tidy,
            )  # fmt: skip
            try:
                for (clip, _), result in crew.results(iter(clips)):
                    yield clip, _taken(clip, result)
            finally:
                crew.end()


def _taken(clip: SourceClip, result: _Windows | BlurvidError) -> Iterator[Made]:
    """The windows that a worker made of a clip, then the error that ended it."""
    if isinstance(result, BlurvidError):
        raise type(result)(f"{clip.path}: {result}")
    made, error = result
    yield from made
    if error is not None:
        raise error

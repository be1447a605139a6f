"""Windows of many clips, made on a Ray cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from blurvid import runtime
from blurvid.batch.spread import spread
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
    def __call__(self, run: RunOptions) -> Iterator[Callable[[Pending], _Windows]]:
        """Start the threads that make windows."""
        threads = self.threads or run.threads or 1
        with runtime.single_threaded_pool(threads) as pool:

            def do(clip: Pending) -> _Windows:
                made: list[Made] = []
                try:
                    made.extend(make_clip(self.plan, clip, self.out, pool, 2 * threads))
                except BlurvidError as error:
                    return made, error  # those before it are whole
                return made, None

            yield do


@dataclass(frozen=True)
class RayTeam:
    """Makes windows on the workers of a Ray cluster; a `Team`.

    A task is a clip. The images lie in the folder of the windows, under temporary names, before
    they are taken up here; so all machines must see that folder, and the clips.
    """

    ray: RayOptions
    run: RunOptions
    jobs: int | None = None
    """Threads of each worker, by default as many as it has CPUs."""

    in_order = False

    def __call__(
        self, clips: Iterable[Pending], plan: Planner, out: Path
    ) -> Generator[tuple[SourceClip, Iterator[Made]], None, None]:
        """Give the windows of each clip as soon as all of them are made."""
        results = spread(list(clips), _Clips(plan, out, self.jobs), out, self.ray, self.run)
        with contextlib.closing(results):
            for (clip, _), result in results:
                yield clip, _taken(clip, result)


def _taken(clip: SourceClip, result: _Windows | BlurvidError) -> Iterator[Made]:
    """The windows that a worker made of a clip, then the error that ended it."""
    if isinstance(result, BlurvidError):
        raise type(result)(f"{clip.path}: {result}")
    made, error = result
    yield from made
    if error is not None:
        raise error

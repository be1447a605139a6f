"""Scores of all seven frames, beside the trivial answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from blurvid.blur import average_frames
from blurvid.config import MIDDLE, Gamma
from blurvid.errors import InputError
from blurvid.lab.data.windows import StoredWindow
from blurvid.lab.evaluate.shared import Extract, average, extracted, means, plain, scored
from blurvid.lab.evaluate.windows import check_counts
from blurvid.lab.metrics import SequenceScore, psnr, score_sequence, spearman
from blurvid.pipeline.trust import assess


@dataclass(frozen=True)
class Row:
    """Scores of one window."""

    window: str
    clip: str
    group: str
    gamma: Gamma
    """Response of the re-blur."""
    score: SequenceScore
    reblur: float
    """PSNR [dB] of the average of the extracted frames against the blurry image."""
    blurry: SequenceScore
    """Trivial answer: the blurry image, seven times."""
    middle: SequenceScore
    """Trivial answer: the extracted middle frame, seven times."""
    true_middle: SequenceScore
    """For reference: the true middle frame, seven times; its own frame is infinitely good."""
    expected: float
    """PSNR [dB] that `pipeline.trust` expects, without the truth."""
    motion: float
    """95th percentile of the ways found in the frames [px]."""
    texture: float
    """Energy of the blurry image's slopes [dB]."""


@dataclass(frozen=True)
class MeanScore:
    """Means of `SequenceScore` over windows."""

    psnr: float
    ppsnr: float
    per_frame: tuple[float, ...]
    ssim: float
    pssim: float
    ssim_per_frame: tuple[float, ...]


@dataclass(frozen=True)
class Summary:
    """Means over windows."""

    windows: int
    reversed: int
    """Windows whose better order of time was the reverse."""
    score: MeanScore
    reblur: float
    blurry: MeanScore
    middle: MeanScore
    true_middle: MeanScore


@dataclass(frozen=True)
class Ranking:
    """How well numbers known without the truth tell better windows from worse ones.

    Each is Spearman's rank correlation with pPSNR over the windows, 1 for the same order; the
    others are there to compare the first with. NaN where all windows are alike.
    """

    expected: float
    """Of the expected PSNR."""
    reblur: float
    """Of the PSNR of the re-blur."""
    motion: float
    """Of the motion found, the shorter the better."""
    texture: float
    """Of the energy of the blurry image's slopes, the less the better."""
    error: float
    """Mean difference between expected and true PSNR, without its sign [dB]."""


@dataclass(frozen=True)
class Report:
    """Scores of all windows, and their means."""

    rows: tuple[Row, ...]

    @property
    def gamma(self) -> Gamma | None:
        """Response of the re-blur; None if it differs between windows."""
        responses = {row.gamma for row in self.rows}
        return responses.pop() if len(responses) == 1 else None

    @property
    def mean(self) -> Summary:
        """Means over all windows."""
        return summarise(self.rows)

    @property
    def groups(self) -> dict[str, Summary]:
        """Means over the windows of each group, in order of appearance."""
        names = dict.fromkeys(row.group for row in self.rows)
        return {name: summarise([r for r in self.rows if r.group == name]) for name in names}

    @property
    def ranking(self) -> Ranking | None:
        """How well the trust ranks the windows; None of fewer than three."""
        rows = self.rows
        if len(rows) < 3:
            return None
        true = [row.score.ppsnr for row in rows]
        return Ranking(
            expected=spearman([row.expected for row in rows], true),
            reblur=spearman([row.reblur for row in rows], true),
            motion=spearman([-row.motion for row in rows], true),
            texture=spearman([-row.texture for row in rows], true),
            error=average([abs(row.expected - row.score.ppsnr) for row in rows]),
        )

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain values.

        Returns:
            Strings, numbers, lists and dictionaries; None for what is infinite (a frame that
            equals the truth), since JSON has no name for it. PSNR in dB.
        """
        return plain(
            {
                "gamma": self.gamma,
                "windows": len(self.rows),
                "clips": len({row.clip for row in self.rows}),
                "mean": self.mean,
                "groups": self.groups,
                "trust": self.ranking,
                "rows": self.rows,
            }
        )


def evaluate(
    extract: Extract,
    windows: Iterable[StoredWindow],
    gamma: Gamma | None = None,
    *,
    on_window: Callable[[Row], None] | None = None,
) -> Report:
    """Score an extractor on windows, one after the other.

    Args:
        extract: gives seven frames for y, see `Extract`.
        windows: windows of seven sharp frames.
        gamma: camera response of the re-blur; None takes the one each window was made with.
        on_window: called with the scores of every window.

    Returns:
        The scores; where `extract` left its frames on another device, they were computed there.

    Raises:
        InputError: no windows, a window that has not seven sharp frames, or frames of the wrong
            shape or with values that are not finite from `extract`.
    """

    def score(window: StoredWindow) -> Row:
        check_counts([window])
        return _score(extract, window, window.gamma if gamma is None else gamma)

    return Report(scored(windows, score, on_window))


def summarise(rows: Sequence[Row]) -> Summary:
    """Average the scores of windows, each window counting once.

    Args:
        rows: at least one.

    Returns:
        The means; infinite where one of the values is.
    """
    return Summary(
        windows=len(rows),
        reversed=sum(row.score.reversed for row in rows),
        score=means(MeanScore, [row.score for row in rows]),
        reblur=average([row.reblur for row in rows]),
        blurry=means(MeanScore, [row.blurry for row in rows]),
        middle=means(MeanScore, [row.middle for row in rows]),
        true_middle=means(MeanScore, [row.true_middle for row in rows]),
    )


def _score(extract: Extract, window: StoredWindow, gamma: Gamma) -> Row:
    y, truth = window.blurry(), window.sharp()
    if truth.shape[1:] != y.shape:
        raise InputError(f"{window.name}: blurry image and sharp frames differ in size")
    frames = extracted(extract, window.name, y)
    trust = assess(frames.cpu(), y)
    y, truth = y.to(frames.device), truth.to(frames.device)
    middle = MIDDLE - 1
    return Row(
        window=window.name,
        clip=window.clip,
        group=window.clip.rpartition("_")[0] or window.clip,
        gamma=gamma,
        score=score_sequence(frames, truth),
        reblur=float(psnr(average_frames(frames, gamma), y)),
        blurry=score_sequence(y.expand_as(truth), truth),
        middle=score_sequence(frames[middle].expand_as(truth), truth),
        true_middle=score_sequence(truth[middle].expand_as(truth), truth),
        expected=trust.psnr,
        motion=trust.motion,
        texture=trust.texture,
    )

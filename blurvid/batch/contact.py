"""A page about a batch, of what became of each photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from blurvid import media
from blurvid.batch.photo import Outcome
from blurvid.config import FRAMES


def write_contact(outcomes: Sequence[Outcome], target: Path, *, overwrite: bool = False) -> Path:
    """Write the page of `Output.contact`, once all photos are done.

    Args:
        outcomes: what became of each photo.
        target: a file ending in `.html`.
        overwrite: replace an existing file.

    Returns:
        The file.

    Raises:
        OptionError: another suffix.
        OutputError: the file exists already, or cannot be written.
    """
    cards = [_card(outcome) for outcome in outcomes]
    return media.write_contact(cards, target, overwrite=overwrite)


def _card(outcome: Outcome) -> media.Card:
    """What the page tells of one photo."""
    job, facts = outcome.job, outcome.facts
    strip = next(iter(job.besides["contact"]), None)
    trust = facts.get("trust")
    return media.Card(
        job.name,
        None if outcome.error else strip,
        min(job.count, FRAMES) + 1,
        tuple(outcome.outputs),
        _verdict(outcome),
        outcome.error is not None,
        trust and trust["psnr"],
        facts.get("seconds"),
    )


def _verdict(outcome: Outcome) -> str:
    """What was gained, in a sentence, as far as it is known; or what went wrong."""
    if outcome.error is not None:
        return str(outcome.error).removeprefix(f"{outcome.job.name}: ")
    if outcome.skipped:
        return "Was there already."
    return next(iter(outcome.warnings), "")

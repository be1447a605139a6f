"""A page about a batch, of what became of each photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from blurvid import media
from blurvid.config import FRAMES
from blurvid.planning import Outcome


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
    verdict = facts.get("verdict") or {}
    text, level = verdict.get("text", ""), verdict.get("level", "")
    if outcome.error is not None:
        text, level = str(outcome.error).removeprefix(f"{job.name}: "), "failed"
    elif outcome.skipped:
        text = "was there already"
    return media.Card(
        job.name,
        None if outcome.error else strip,
        min(job.count, FRAMES) + 1,
        tuple(outcome.outputs),
        text,
        level,
        verdict.get("gain"),
        facts.get("seconds"),
    )

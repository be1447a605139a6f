"""Many photos and their frames on one page, small: what became of a batch at a glance."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from string import Template
from urllib.parse import quote

from PIL import Image

from blurvid.atomic import replacing
from blurvid.config import FRAMES
from blurvid.media.pages import digest, escaped, look, part_of
from blurvid.planning import Outcome
from blurvid.targets import check_besides


def write_contact(outcomes: Sequence[Outcome], target: Path, *, overwrite: bool = False) -> Path:
    """Write the page of `Output.contact`, once all photos are done.

    Photos can be sorted; each is compared with its frames under the pointer, and plays there.
    Pictures are loaded when they come into sight.

    Args:
        outcomes: what became of each photo.
        target: a file ending in `.html`; its folder is made if missing.
        overwrite: replace an existing file.

    Returns:
        The file.

    Raises:
        OptionError: another suffix.
        OutputError: the file exists already, or cannot be written.
    """
    check_besides("page", target, overwrite)
    folder = target.absolute().parent
    style = look() + part_of(__name__, "contact.css")
    script = part_of(__name__, "contact.js")
    done = sum(outcome.error is None for outcome in outcomes)
    page = Template(part_of(__name__, "contact.html")).substitute(
        policy=f"default-src 'none'; img-src * data:; style-src {digest(style)}; "
        f"script-src {digest(script)}; base-uri 'none'; form-action 'none'",
        title=_title(done, len(outcomes) - done),
        cards="\n".join(_card(outcome, folder) for outcome in outcomes),
        style=style,
        script=script,
    )
    with replacing([target]) as (temporary,):
        temporary.write_bytes(page.encode())
    return target


def _card(outcome: Outcome, folder: Path) -> str:
    """One photo on the page."""
    photo, verdict = outcome.job.name, outcome.facts.get("verdict") or {}
    name, seconds = Path(photo).name, outcome.facts.get("seconds")
    text, level = verdict.get("text", ""), verdict.get("level", "")
    if outcome.error is not None:
        text, level = str(outcome.error).removeprefix(f"{photo}: "), "failed"
    elif outcome.skipped:
        text = "was there already"
    links = "".join(
        f'<a href="{_link(path, folder)}">{escaped(path.suffix[1:].upper() or path.name)}</a>'
        for path in _worth(outcome.outputs)
    )
    return (
        f'<li class="card {escaped(level)}" data-gain="{_number(verdict.get("gain"))}" '
        f'data-seconds="{_number(seconds)}">{_pictures(outcome, folder)}'
        f'<div class="told"><h2 title="{escaped(photo)}">{escaped(name)}</h2>'
        f'<p class="verdict">{escaped(text[:1].upper() + text[1:])}</p>'
        f'<div class="row"><span>{"" if seconds is None else f"{seconds:.1f} s"}</span>'
        f'<span class="links">{links}</span></div></div></li>'
    )


def _pictures(outcome: Outcome, folder: Path) -> str:
    """The photo over its frames, both of them parts of one picture."""
    strip = next(iter(outcome.job.besides["contact"]), None)
    if outcome.error is not None or strip is None or not strip.is_file():
        return '<div class="cell"></div>'
    with Image.open(strip) as picture:
        width, height = picture.size
    cells = min(outcome.job.count, FRAMES) + 1
    image = f'<img src="{_link(strip, folder)}" loading="lazy" decoding="async" alt='
    name = escaped(f"{Path(outcome.job.name).name}, blurred and sharp")
    return (
        f'<div class="cell"><div class="window" tabindex="0" data-cells="{cells}" '
        f'data-ratio="{width * cells / height:.4f}">'
        f'<div class="layer sharp">{image}"{name}"></div>'
        f'<div class="layer blurred">{image}""></div><i class="edge"></i></div></div>'
    )


def _worth(outputs: Sequence[Path]) -> Sequence[Path]:
    """Of pictures in a folder, the first leads to all."""
    return outputs[:1] if len(outputs) > len({path.suffix for path in outputs}) else outputs


def _link(path: Path, folder: Path) -> str:
    """An address as seen from a folder, or the whole one where no way leads there."""
    try:
        way = Path(os.path.relpath(path.absolute(), folder)).as_posix()
    except ValueError:  # another drive
        return escaped(path.absolute().as_uri())
    return escaped(quote(way.encode("utf-8", "surrogateescape")))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _title(done: int, failed: int) -> str:
    """How many photos there are."""
    photos = f"{done} photo" if done == 1 else f"{done} photos"
    return f"{photos}, {failed} failed" if failed else photos

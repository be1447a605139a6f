"""Many photos and their frames on one page, small: what became of a batch at a glance."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from urllib.parse import quote

import numpy as np
from PIL import Image
from torch import Tensor

from blurvid.atomic import replacing
from blurvid.config import FRAMES
from blurvid.media.clip import flat_frames
from blurvid.media.pages import digest, escaped, look, part_of
from blurvid.media.photo import Photo
from blurvid.targets import check_contact

_SIDE = 480
"""Longest side of a picture on the page [px]."""
_QUALITY = 82


@dataclass(frozen=True)
class Card:
    """What the page tells of one photo."""

    name: str
    strip: Path | None = None
    """The photo and its frames, see `save_strip`; None where there are none."""
    cells: int = FRAMES + 1
    """How many pictures that holds."""
    outputs: tuple[Path, ...] = ()
    """What was written, to be opened from the page."""
    verdict: str = ""
    """What was gained, in a sentence, or what went wrong."""
    level: str = ""
    """The same in a word: `sharper`, `some`, `none`, `failed`, or nothing."""
    gain: float | None = None
    """What is sorted by: the more, the better."""
    seconds: float | None = None
    """How long it took."""


def save_strip(frames: Tensor, path: Path, photo: Photo) -> None:
    """Write a photo and at most seven of its frames below one another, small, as WebP.

    One picture for all of them is one file to load, and a page plays it by moving it.

    Args:
        frames: (T, 3, H, W) float RGB, nominally in [0, 1], on any device.
        path: a file that is new.
        photo: what the frames came from, H x W as they are.
    """
    (blurry,) = flat_frames(photo.pixels[None], photo)
    picked = np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().astype(int)
    pictures = [Image.fromarray(blurry)]
    pictures += [Image.fromarray(frame) for frame in flat_frames(frames[picked.tolist()], photo)]
    for picture in pictures:
        picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=3)
    width, height = pictures[0].size
    strip = Image.new("RGB", (width, height * len(pictures)))
    for number, picture in enumerate(pictures):
        strip.paste(picture, (0, number * height))
    strip.save(path, "webp", quality=_QUALITY)


def write_contact(cards: Sequence[Card], target: Path, *, overwrite: bool = False) -> Path:
    """Write a page about many photos.

    Photos can be sorted; each is compared with its frames under the pointer, and plays there.
    Pictures are loaded when they come into sight.

    Args:
        cards: what to tell of each photo.
        target: a file ending in `.html`; its folder is made if missing.
        overwrite: replace an existing file.

    Returns:
        The file.

    Raises:
        OptionError: another suffix.
        OutputError: the file exists already, or cannot be written.
    """
    check_contact(target, overwrite)
    folder = target.absolute().parent
    style = look() + part_of(__name__, "contact.css")
    script = part_of(__name__, "contact.js")
    done = sum(card.level != "failed" for card in cards)
    page = Template(part_of(__name__, "contact.html")).substitute(
        policy=f"default-src 'none'; img-src * data:; style-src {digest(style)}; "
        f"script-src {digest(script)}; base-uri 'none'; form-action 'none'",
        title=_title(done, len(cards) - done),
        cards="\n".join(_card(card, folder) for card in cards),
        style=style,
        script=script,
    )
    with replacing([target]) as (temporary,):
        temporary.write_bytes(page.encode())
    return target


def _card(card: Card, folder: Path) -> str:
    """One photo on the page."""
    name = Path(card.name).name
    links = "".join(
        f'<a href="{_link(path, folder)}">{escaped(path.suffix[1:].upper() or path.name)}</a>'
        for path in _worth(card.outputs)
    )
    text = card.verdict[:1].upper() + card.verdict[1:]
    time = "" if card.seconds is None else f"{card.seconds:.1f} s"
    return (
        f'<li class="card {escaped(card.level)}" data-gain="{_number(card.gain)}" '
        f'data-seconds="{_number(card.seconds)}">{_pictures(card, folder)}'
        f'<div class="told"><h2 title="{escaped(card.name)}">{escaped(name)}</h2>'
        f'<p class="verdict">{escaped(text)}</p>'
        f'<div class="row"><span>{time}</span><span class="links">{links}</span></div>'
        "</div></li>"
    )


def _pictures(card: Card, folder: Path) -> str:
    """The photo over its frames, both of them parts of one picture."""
    if card.strip is None or not card.strip.is_file():
        return '<div class="cell"></div>'
    with Image.open(card.strip) as strip:
        width, height = strip.size
    image = f'<img src="{_link(card.strip, folder)}" loading="lazy" decoding="async" alt='
    name = escaped(f"{Path(card.name).name}, blurred and sharp")
    return (
        f'<div class="cell"><div class="window" tabindex="0" data-cells="{card.cells}" '
        f'data-ratio="{width * card.cells / height:.4f}">'
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

"""Frames to one HTML file that shows them: no server, no network, nothing else to keep."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurvid.atomic import stoppable
from blurvid.config import ClipOptions
from blurvid.media.flow import FULL_ERROR, FULL_REBLUR, TrustMaps, colored
from blurvid.media.pages import digest, escaped, look, part_of
from blurvid.media.profile import Pixels

_CODECS: tuple[tuple[float, str, dict[str, Any]], ...] = (
    (0.5e6, "png", {}),
    (4e6, "jpeg", {"quality": 92, "subsampling": "4:4:4"}),
    (float("inf"), "jpeg", {"quality": 88, "subsampling": "4:2:0"}),
)
"""Up to how many pixels a frame is embedded how. Eight sharp images of 12 megapixels make a file
of 20 to 40 MB. JPEG and WebP of one size differ little at these qualities, but WebP takes ten
times as long to write and ends at 16383 pixels a side (both measured)."""

_SCRIPTS = (
    *("objects.js", "lens.js", "saver.js"),
    *("player.js", "player_files.js", "player_input.js", "player_start.js"),
)
"""Joined to one script; the function that `player.js` begins goes on to the end of the last."""


@dataclass(frozen=True, eq=False)
class Movable:
    """Something in a photo that moves on its own, and can be turned around in time."""

    share: Pixels
    """How much of each pixel is turned around, (h, w) uint8, of the whole photo at any size, but
    the same for all."""
    at: str
    """A point in it, as `--flip` takes it."""


@dataclass(frozen=True)
class Origin:
    """How frames came about, as a command line that can be repeated."""

    command: str
    """The command without what the player itself can change, and without an output."""
    outputs: Mapping[str, str]
    """Files that it can write, as words of a command line, by the kind's name."""


@dataclass(frozen=True, eq=False)
class Notes:
    """What a player says of frames besides the frames."""

    facts: Mapping[str, str] = field(default_factory=dict)
    """Each under its name."""
    verdict: str | None = None
    """One sentence about what was gained, shown with the title."""
    objects: Sequence[Movable] = ()
    """What can be turned around by a click, larger ones first."""
    maps: TrustMaps | None = None
    """Where the frames can be believed, to be laid over them."""
    origin: Origin | None = None
    """How to make files of what is shown."""


def save_player(
    frames: Sequence[Pixels],
    blurry: Pixels | None,
    path: Path,
    title: str,
    options: ClipOptions,
    notes: Notes,
) -> None:
    """Write a page on which the frames can be played, scrubbed, zoomed and compared.

    The page holds its style, its script and all images; a content security policy with the
    digests of the first two forbids everything else, the network above all. Without scripts
    the images are shown side by side.

    Args:
        frames: (H, W, 3) uint8 RGB (sRGB) each, in the order of time.
        blurry: the photo they were extracted from, likewise; None leaves comparing out.
        path: a file that must be new.
        title: the photo's name; any characters.
        options: with what speed, and how it plays at first.
        notes: what else to say about the frames.

    Raises:
        OSError: the file cannot be written.
    """
    height, width = frames[0].shape[:2]
    style, script = look() + _part("player.css"), "".join(map(_part, _SCRIPTS))
    images = [("Blurred photo", "blurry", blurry)] if blurry is not None else []
    images += [(f"Frame {number}", "frame", frame) for number, frame in enumerate(frames, start=1)]
    figures = [_figure(*image) for image in stoppable(images)]
    figures += [_object(thing) for thing in notes.objects]
    figures += [] if notes.maps is None else _maps(notes.maps)
    facts = {"size": f"{width} × {height}", **notes.facts}
    page = Template(_part("player.html")).substitute(
        # The page is text of its own; what it is filled with is not looked through again.
        policy=f"default-src 'none'; img-src data:; style-src {digest(style)}; "
        f"script-src {digest(script)}; base-uri 'none'; form-action 'none'",
        title=escaped(title),
        verdict=f'<p class="verdict">{escaped(notes.verdict)}</p>' if notes.verdict else "",
        facts="".join(
            f"<div><dt>{escaped(name)}</dt> <dd>{escaped(value)}</dd></div>"
            for name, value in facts.items()
        ),
        images="\n".join(figures),
        origin="" if notes.origin is None else _origin(notes.origin, options.reverse),
        save="" if notes.origin is None else _save(notes.origin),
        count=len(frames),
        fps=f"{options.fps:g}",
        mode="bounce" if options.bounce else "loop",
        style=style,
        script=script,
    )
    with path.open("xb") as file:
        file.write(page.encode())


def _part(name: str) -> str:
    """One of the files that the page is made of."""
    return part_of(__name__, name)


def _origin(origin: Origin, reverse: bool) -> str:
    """What the script needs to know for the command line."""
    reversed_ = str(reverse).lower()
    return f'data-command="{escaped(origin.command)}" data-reversed="{reversed_}"'


def _save(origin: Origin) -> str:
    """Where the command line is shown."""
    kinds = "".join(
        f'<option value="{escaped(word)}">{escaped(name)}</option>'
        for name, word in origin.outputs.items()
    )
    return (
        '<details class="command"><summary>As a command</summary>'
        '<code id="command"></code>'
        f'<div class="row"><select id="kind" aria-label="Kind of file">{kinds}</select>'
        '<button id="copy" type="button">Copy command</button></div></details>'
    )


def _object(thing: Movable) -> str:
    """The share of an object, which is not for looking at."""
    source = _source(thing.share)
    return f'<img class="object" alt="" data-at="{escaped(thing.at)}" hidden src="{source}">'


def _maps(maps: TrustMaps) -> list[str]:
    """What can be laid over the frames; the colours tell how much."""
    texts = []
    for name, text, plane, full in (
        ("Expected error", "How far off the frames may be", maps.error, FULL_ERROR),
        ("Re-blur error", "What their average leaves unexplained", maps.reblur, FULL_REBLUR),
    ):
        texts.append(
            f'<img class="map" alt="" data-name="{name}" data-text="{text}" '
            f'data-full="{255 * full:.0f}" hidden src="{_source(colored(plane, full))}">'
        )
    return texts


def _figure(label: str, kind: str, image: Pixels) -> str:
    """An image with its data and a caption."""
    pixels = image.shape[0] * image.shape[1]
    codec, options = next((codec, options) for most, codec, options in _CODECS if pixels <= most)
    source = _source(image, codec, options)
    return (
        f'<figure><img class="{kind}" alt="{label}" src="{source}">'
        f"<figcaption>{label}</figcaption></figure>"
    )


def _source(image: Pixels, codec: str = "png", options: Mapping[str, Any] = {}) -> str:
    """An image as an address that holds it."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format=codec, **options)
    return f"data:image/{codec};base64,{base64.b64encode(stream.getvalue()).decode()}"

"""How frames are made of a photo: every choice, taken once from what was asked for and defaults."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, Unpack

from blurvid.bounds import Bounds, check, edges_of
from blurvid.config import (
    DIRECTIONS,
    FAST,
    FOREIGN_SUFFIXES,
    FRAMES,
    LEAST_FRAMES,
    MIDDLE_CHOICES,
    MODELS,
    MOST_BEYOND,
    MOST_FRAMES,
    QUALITIES,
    SMALLEST_SCALE,
    TRAINED,
)
from blurvid.errors import InputError, OptionError
from blurvid.files import is_photo
from blurvid.weights import SET_FILE, WeightSet, best_middle, find

AUTO, OWN = MIDDLE_CHOICES[:2]
GIVEN, FOREIGN = "given", "foreign"
"""Kinds of sources that are none of `config.TRAINED`: a picture, a file of another's weights."""


@dataclass(frozen=True)
class Source:
    """Where a network comes from, or a middle frame."""

    name: str
    """What to call it: the name of its weight set, or of its file."""
    kind: str
    """The model's name, `GIVEN` or `FOREIGN`."""
    origin: WeightSet | Path | None = field(default=None, repr=False)
    """The weight set, or the file."""


@dataclass(frozen=True)
class Way:
    """How far something in a photo moves from the first frame to the last [px of the photo]."""

    x: float
    """To the right."""
    y: float
    """Downwards."""
    region: Any = None
    """Where it is in the photo, as `media.region` takes it, but for points; None is all of it."""

    def __str__(self) -> str:
        return f"{self.x:g},{self.y:g}" + ("" if self.region is None else f"@{self.region}")


@dataclass(frozen=True)
class Recipe:
    """Everything that the frames of a photo depend on, besides the photo."""

    weights: Source
    """What the model is loaded from."""
    middle: Source | None = None
    """What gives the middle frame in the place of the model's own network."""
    passes: int = 1
    """Answers averaged: 1, 2 (the photo mirrored left to right too) or 4 (top to bottom too)."""
    scale: Annotated[float, Bounds(SMALLEST_SCALE, 1)] | Literal["auto"] = "auto"
    """Size at which the network sees the photo, as a share of its own; smaller for longer blur.
    `auto` measures the blur."""
    direction: str = "auto"
    """Which way time runs, which a single photo cannot tell: one of `config.DIRECTIONS`."""
    flips: tuple[Any, ...] = ()
    """Regions in which time is turned around after that, each as `media.region` takes it."""
    motion: tuple[Way, ...] = ()
    """About how the picture moves as a whole, and things in it, for the motion model: where it
    does not see better."""
    still: tuple[Any, ...] = ()
    """Regions that stay at rest, each as `media.region` takes it, but for points; likewise."""
    frames: int = FRAMES
    """How many over the exposure, see `Clip.resample`; 1 is the middle one alone."""
    beyond: int = 0
    """How many more at each end, outside of the exposure."""
    region: Any = None
    """A rectangle that alone is worked on, as `media.region` takes it; None is the whole. Of a
    clip, in pixels."""
    paste: bool = False
    """Put that part back into the whole picture, with a soft edge; else it is all there is."""
    precision: str = "auto"
    """Of the features; of a clip, the one that was taken."""
    warnings: tuple[str, ...] = ()
    """Which options change nothing."""

    def __post_init__(self) -> None:
        check(self, "scale")
        if self.passes not in QUALITIES.values():
            known = ", ".join(map(str, QUALITIES.values()))
            raise OptionError(f"passes must be {known}, not {self.passes}")
        if self.direction not in DIRECTIONS:
            named = f"no direction named {self.direction!r}"
            raise OptionError(f"{named}; use {', '.join(DIRECTIONS)}")
        if self.frames != 1:
            check_frames(self.frames)
        check_beyond(self.beyond, self.frames)
        if self.paste and self.region is None:
            raise OptionError("what is pasted is a region; name one")
        if self.region is not None and self.middle is not None and self.middle.kind == GIVEN:
            raise OptionError("a picture as middle frame goes with a whole photo, not a region")

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.weights.kind

    @property
    def count(self) -> int:
        """How many frames a photo becomes."""
        return self.frames + 2 * self.beyond

    def record(self) -> dict[str, Any]:
        """The choices as plain values."""
        return {
            "model": self.model,
            "weights": self.weights.name,
            "middle": self.middle.name if self.middle else None,
            "precision": self.precision,
            "quality": {"passes": self.passes, "scale": self.scale},
            "direction": self.direction,
            "flips": [str(region) for region in self.flips],
            "ways": [str(way) for way in self.motion],
            "still": [str(region) for region in self.still],
            "beyond": self.beyond,
            "region": None if self.region is None else str(self.region),
            "paste": self.paste,
        }

    def describe(self, scale: float | None = None) -> str:
        """What is done besides one plain pass of the model's own networks, in words.

        Args:
            scale: the one taken, where one photo is meant.
        """
        words = []
        if self.middle is not None and self.frames > 1:
            words.append(f"middle frame by {self.middle.name}")
        if self.passes != 1:
            words.append(f"{self.passes} passes")
        taken = self.scale if scale is None else scale
        if self.scale != "auto" or taken not in ("auto", 1):
            words.append(f"scale {taken}")
        return ", ".join(words)

    def command(self, photo: str) -> str:
        """The command line that gives the frames of a photo again, but for an output.

        Args:
            photo: its file, whose folder is left out; `-` for none.
        """
        name = "photo.jpg" if photo == "-" else Path(photo).name or "photo.jpg"
        words = ["blurvid", "extract", f"./{name}" if name.startswith("-") else name]
        words += ["--model", self.model, "--weights", self.weights.name]
        passes = next(name for name, count in QUALITIES.items() if count == self.passes)
        middle = self.middle.name if self.middle else None
        for option, value, usual in (
            ("--quality", passes, "fast"),
            ("--scale", self.scale, "auto"),
            ("--middle", middle, None),
            *(("--motion", way, None) for way in self.motion),
            *(("--still", region, None) for region in self.still),
            ("--direction", self.direction, "auto"),
            *(("--flip", region, None) for region in self.flips),
            ("--frames", self.frames, FRAMES),
            ("--beyond", self.beyond, 0),
            ("--region", self.region, None),
        ):
            if value != usual:
                words += [option, str(value)]
        if self.paste:
            words.append("--paste")
        return shlex.join(words)


class Choices(TypedDict, total=False):
    """Fields of a `Recipe` that are taken as they are asked for, which says what each means."""

    passes: int
    scale: float | Literal["auto"]
    direction: str
    flips: tuple[Any, ...]
    motion: tuple[Way, ...]
    still: tuple[Any, ...]
    frames: int
    beyond: int
    region: Any
    paste: bool


def resolve(
    model: str = AUTO,
    weights_name: str | Path | WeightSet | None = None,
    middle: str | Path = AUTO,
    precision: str = "auto",
    **choices: Unpack[Choices],
) -> Recipe:
    """Take every choice, once.

    Args:
        model: one of `config.MODELS`; `auto` is the first whose weights are there, or where only a
            middle frame is named, one that has a place for it.
        weights_name: name or folder of a weight set, or one found already; None takes the model's
            own.
        middle: what gives the middle frame: `auto`, which is the model's own, but for a cascade
            known to score lower than another network; `own`; the name or folder of a weight set,
            or of a model for its default one; a picture, which is the middle frame itself, for the
            motion model; or a file of weights that spandrel can read.
        precision: of the features.
        choices: fields of the recipe, such as `direction="left"`.

    Raises:
        OptionError: options that are out of range, of another kind, or do not go together.
        InputError: a mask that is not there.
        WeightsError: there are no such weights, or they are damaged.
        TypeError: no such field.
    """
    ways = choices.get("motion", ())
    if not all(isinstance(way, Way) for way in ways):
        raise OptionError("motion is told by a list of blurvid.Way, such as [Way(40, -5)]")
    flips, still = choices.get("flips", ()), choices.get("still", ())
    for regions in (flips, still):
        if isinstance(regions, str):
            raise OptionError(f"flips and still are lists of regions, such as [{regions!r}]")
    for region in (*flips, *still, *(way.region for way in ways)):
        if isinstance(region, str) and edges_of(region) is None and not Path(region).exists():
            raise InputError(f"{region}: no such file or folder")
    if isinstance(weights_name, WeightSet):
        found = weights_name
    else:
        found = find(weights_name, model)
        open_choice = weights_name is None and model == "auto"
        if open_choice and str(middle) != AUTO and found.model == FAST:
            found = find(None, "cascade")
    if found.model not in MODELS:
        raise OptionError(
            f"the {found.model} model gives one frame only; use it with --middle, or blurvid deblur"
        )
    recipe = Recipe(Source(found.name, found.model, found), precision=precision, **choices)
    if found.model == MODELS[0]:
        if recipe.scale not in ("auto", 1):
            told = "scale changes nothing: the motion model has sizes of its own"
            recipe = replace(recipe, scale="auto", warnings=(told,))
    elif recipe.motion or recipe.still:
        raise OptionError(f"hints on the motion are for the {MODELS[0]} model")
    elif recipe.count != FRAMES:
        raise OptionError(
            f"the {found.model} model gives {FRAMES} frames; others are for the {MODELS[0]} model"
        )
    return replace(recipe, middle=_guide(middle, found))


def _guide(middle: str | Path, found: WeightSet) -> Source | None:
    """What gives a model its middle frame in the place of its own network."""
    cascade, moving = found.model == "cascade", found.model == MODELS[0]
    if not cascade and (str(middle) == AUTO or (str(middle) == OWN and found.middle)):
        return None
    guide = _find_middle(middle, found if cascade else None)
    if moving and guide is not None and guide.kind == MODELS[0]:
        raise OptionError(f"the {found.model} model cannot be given its own middle frame")
    if not (moving or cascade):
        raise OptionError(
            f"the {found.model} model has no middle network that could be replaced; use "
            "--model motion or cascade"
        )
    if cascade and guide is not None and guide.kind == GIVEN:
        raise OptionError(f"{guide.name}: a picture as middle frame is for the {MODELS[0]} model")
    return guide


def resolve_middle(
    middle: str | Path = AUTO,
    precision: str = "auto",
    *,
    passes: int = 1,
    region: Any = None,
    paste: bool = False,
) -> Recipe:
    """Take every choice for the middle frame alone; `middle` may be `auto`, the best there is.

    Args and errors are those of `resolve`.
    """
    found = _find_middle(middle)
    if found is None or found.kind == GIVEN:
        raise OptionError(f"{middle} is a picture, not something that deblurs")
    return Recipe(
        *(found, found, passes),
        scale=1.0,
        frames=1,
        region=region,
        paste=paste,
        precision=precision,
    )


def _find_middle(choice: str | Path, cascade: WeightSet | None = None) -> Source | None:
    """Find what gives the middle frame; None for a cascade's own network.

    Args:
        choice: as for `resolve`.
        cascade: the weights whose middle network may be replaced; None where there are none.

    Raises:
        OptionError: `own` without a cascade.
        InputError: a picture that is not there.
        WeightsError: there are no such weights, or they are damaged.
    """
    text, path = str(choice), Path(choice)
    if text == OWN:
        if cascade is None:
            raise OptionError("only a cascade has a middle network of its own; name another")
        return None
    if text == AUTO:
        found = best_middle(cascade)
    elif text in TRAINED:
        found = find(None, text)
    elif path.suffix.lower() in FOREIGN_SUFFIXES and not path.is_dir():
        return Source(path.stem, FOREIGN, path)
    elif path.is_file() and path.name != SET_FILE:
        return Source(path.name, GIVEN, path)
    elif is_photo(path) and not path.exists():
        raise InputError(f"{path}: no such file")
    else:
        found = find(choice)
    return None if found is None else Source(found.name, found.model, found)


def check_frames(count: int) -> None:
    """Refuse a number of frames that cannot be made.

    Raises:
        OptionError: it is not from `LEAST_FRAMES` to `MOST_FRAMES`.
    """
    if not LEAST_FRAMES <= count <= MOST_FRAMES:
        raise OptionError(f"{count} frames; {LEAST_FRAMES} to {MOST_FRAMES} are possible")


def check_beyond(count: int, frames: int = FRAMES) -> None:
    """Refuse frames beyond the exposure that cannot be made.

    Args:
        count: how many at each end.
        frames: how many over the exposure.

    Raises:
        OptionError: too many, or not seven within.
    """
    if not 0 <= count <= MOST_BEYOND:
        raise OptionError(f"{count} frames beyond the exposure; 0 to {MOST_BEYOND} are possible")
    if count and frames != FRAMES:
        raise OptionError(f"frames beyond the exposure go with {FRAMES} within, not with {frames}")

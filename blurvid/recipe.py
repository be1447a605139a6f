"""How frames are made of a photo: every choice, taken once from what was asked for and defaults."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blurvid.bounds import check
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
    TRAINED,
    MotionHints,
    OrderOptions,
    PartOptions,
    QualityOptions,
    Wanted,
)
from blurvid.errors import InputError, OptionError
from blurvid.regions import edges_of

if TYPE_CHECKING:
    from blurvid.weights import WeightSet

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
class Recipe:
    """Everything that the frames of a photo depend on, besides the photo."""

    weights: Source
    """What the model is loaded from."""
    middle: Source | None = None
    """What gives the middle frame in the place of the model's own network."""
    quality: QualityOptions = QualityOptions()
    order: OrderOptions = OrderOptions()
    hints: MotionHints = MotionHints()
    frames: int = FRAMES
    """How many over the exposure; 1 is the middle one alone."""
    beyond: int = 0
    """How many more at each end."""
    part: PartOptions = PartOptions()
    """What is worked on; of a clip, with its rectangle in pixels."""
    precision: str = "auto"
    """Of the features; of a clip, the one that was taken."""
    warnings: tuple[str, ...] = ()
    """Which options change nothing."""

    def __post_init__(self) -> None:
        check(self.quality)
        if self.quality.passes not in QUALITIES.values():
            known = ", ".join(map(str, QUALITIES.values()))
            raise OptionError(f"passes must be {known}, not {self.quality.passes}")
        if self.order.direction not in DIRECTIONS:
            named = f"no direction named {self.order.direction!r}"
            raise OptionError(f"{named}; use {', '.join(DIRECTIONS)}")
        if self.frames != 1:
            check_frames(self.frames)
        check_beyond(self.beyond, self.frames)
        if self.part.paste and self.part.region is None:
            raise OptionError("what is pasted is a region; name one")
        if self.part.region is not None and self.middle is not None and self.middle.kind == GIVEN:
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
            "quality": asdict(self.quality),
            "direction": self.order.direction,
            "flips": [str(region) for region in self.order.flips],
            "beyond": self.beyond,
            "region": None if self.part.region is None else str(self.part.region),
            "paste": self.part.paste,
        }

    def describe(self, scale: float | None = None) -> str:
        """What is done besides one plain pass of the model's own networks, in words.

        Args:
            scale: the one taken, where one photo is meant.
        """
        words, plain, quality = [], QualityOptions(), self.quality
        if self.middle is not None and self.frames > 1:
            words.append(f"middle frame by {self.middle.name}")
        if quality.passes != plain.passes:
            words.append(f"{quality.passes} passes")
        taken = quality.scale if scale is None else scale
        if quality.scale != plain.scale or taken not in (plain.scale, 1):
            words.append(f"scale {taken}")
        return ", ".join(words)

    def command(self, photo: str) -> str:
        """The command line that gives the frames of a photo again, but for an output.

        Args:
            photo: its file, whose folder is left out; `-` for none.
        """
        plain, quality, motion = QualityOptions(), self.quality, self.hints.motion
        name = "photo.jpg" if photo == "-" else Path(photo).name or "photo.jpg"
        words = ["blurvid", "extract", f"./{name}" if name.startswith("-") else name]
        words += ["--model", self.model, "--weights", self.weights.name]
        passes = next(name for name, count in QUALITIES.items() if count == quality.passes)
        middle = self.middle.name if self.middle else None
        for option, value, usual in (
            ("--quality", passes, "fast"),
            ("--scale", quality.scale, plain.scale),
            ("--middle", middle, None),
            ("--motion", motion and f"{motion[0]:g},{motion[1]:g}", None),
            *(("--still", region, None) for region in self.hints.still),
            ("--direction", self.order.direction, "auto"),
            *(("--flip", region, None) for region in self.order.flips),
            ("--frames", self.frames, FRAMES),
            ("--beyond", self.beyond, 0),
            ("--region", self.part.region, None),
        ):
            if value != usual:
                words += [option, str(value)]
        if self.part.paste:
            words.append("--paste")
        return shlex.join(words)


def resolve(wanted: Wanted = Wanted(), precision: str = "auto", **changes: Any) -> Recipe:
    """Take every choice, once.

    Args:
        wanted: what is asked for.
        precision: of the features.
        changes: single fields of `Wanted`.

    Raises:
        OptionError: options that are out of range, or do not go together.
        InputError: a mask that is not there.
        WeightsError: there are no such weights, or they are damaged.
        TypeError: no such field.
    """
    from blurvid.weights import find

    wanted = replace(wanted, **changes)
    middle, quality = str(wanted.middle), wanted.quality
    for region in (*wanted.order.flips, *wanted.hints.still):
        if isinstance(region, str) and edges_of(region) is None and not Path(region).exists():
            raise InputError(f"{region}: no such file or folder")
    found = wanted.weights_name
    if found is None or isinstance(found, str | Path):
        found = find(found, wanted.model)
        open_choice = wanted.weights_name is None and wanted.model == "auto"
        if open_choice and middle != AUTO and found.model == FAST:
            found = find(None, "cascade")
    moving = found.model == MODELS[0]
    if found.model not in MODELS:
        raise OptionError(
            f"the {found.model} model gives one frame only; use it with --middle, or blurvid deblur"
        )
    if wanted.hints != MotionHints() and not moving:
        raise OptionError(f"hints on the motion are for the {MODELS[0]} model")
    if (wanted.frames != FRAMES or wanted.beyond) and not moving:
        raise OptionError(
            f"the {found.model} model gives {FRAMES} frames; others are for the {MODELS[0]} model"
        )
    guide = None
    if found.model == "cascade":
        guide = find_middle(wanted.middle, found)
        if guide is not None and guide.kind == GIVEN:
            raise OptionError(
                f"{guide.name}: a picture as middle frame is for the {MODELS[0]} model"
            )
    elif middle != AUTO and not (middle == OWN and found.middle):
        guide = find_middle(wanted.middle)
        if guide is not None and found.model == guide.kind == MODELS[0]:
            raise OptionError(f"the {found.model} model cannot be given its own middle frame")
        if not moving:
            raise OptionError(
                f"the {found.model} model has no middle network that could be replaced; use "
                "--model motion or cascade"
            )
    warnings = []
    if moving and quality.scale not in ("auto", 1):
        check(quality)
        quality = replace(quality, scale="auto")
        warnings.append("scale changes nothing: the motion model has sizes of its own")
    return Recipe(
        *(Source(found.name, found.model, found), guide, quality, wanted.order, wanted.hints),
        *(wanted.frames, wanted.beyond, wanted.part, precision, tuple(warnings)),
    )


def resolve_middle(wanted: Wanted = Wanted(), precision: str = "auto", **changes: Any) -> Recipe:
    """Take every choice for the middle frame alone; `middle` may be `auto`, the best there is.

    Args and errors are those of `resolve`.
    """
    wanted = replace(wanted, **changes)
    found = find_middle(wanted.middle)
    if found is None or found.kind == GIVEN:
        raise OptionError(f"{wanted.middle} is a picture, not something that deblurs")
    quality = replace(wanted.quality, scale=1.0)
    return Recipe(found, found, quality, frames=1, part=wanted.part, precision=precision)


def find_middle(choice: str | Path, cascade: WeightSet | None = None) -> Source | None:
    """Find what gives the middle frame; None for a cascade's own network.

    Args:
        choice: as for `resolve`.
        cascade: the weights whose middle network may be replaced; None where there are none.

    Raises:
        OptionError: `own` without a cascade.
        WeightsError: there are no such weights, or they are damaged.
    """
    from blurvid.weights import SET_FILE, best_middle, find

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

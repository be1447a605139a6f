"""Where the middle frame comes from: the model itself, another deblurrer, or the user."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from blurvid import media, weights
from blurvid.config import MIDDLE_CHOICES, TRAINED
from blurvid.errors import InputError, OptionError
from blurvid.models import (
    GivenMiddle,
    GivenPicture,
    GuidedCascade,
    MotionModel,
    SequenceModel,
    middle_of,
)
from blurvid.models.cascade import Cascade

AUTO, OWN = MIDDLE_CHOICES[:2]


@dataclass(frozen=True, eq=False)
class Middle:
    """A source of middle frames."""

    model: SequenceModel
    """Gives one frame."""
    name: str
    """What to call it: the name of its weights, or of its file."""
    kind: str
    """Its model's name; `given` for a frame of the user's."""
    recipe: object = None
    """How it was trained, as its `set.json` tells."""
    frame: Tensor | None = None
    """The frame that is given, (3, H, W) in [0, 1]."""


def find_middle(choice: str | Path, cascade: weights.WeightSet | None = None) -> Middle | None:
    """Find what gives the middle frame.

    Args:
        choice: `auto`, the best there is; `own`; the name or folder of a weight set, or of a model
            for its default one; a picture, which is the middle frame itself; or a file of weights
            that spandrel can read.
        cascade: the weights whose middle network may be replaced; None where there are none.

    Returns:
        None for the cascade's own.

    Raises:
        OptionError: `own` without a cascade.
        InputError: an unreadable picture.
        WeightsError: there are no such weights, or they are damaged.
    """
    text = str(choice)
    if text == OWN:
        if cascade is None:
            raise OptionError("only a cascade has a middle network of its own; name another")
        return None
    if text == AUTO:
        found = weights.best_middle(cascade)
        return None if found is None else _loaded(found)
    path = Path(choice)
    if text in TRAINED:
        return _loaded(weights.find(None, text))
    if path.suffix.lower() in weights.FOREIGN_SUFFIXES and not path.is_dir():
        model = weights.load_foreign(path)
        return Middle(model, model.name, "foreign")
    if path.is_file() and path.name != weights.SET_FILE:
        frame = media.read_photo(path).pixels
        return Middle(GivenMiddle(), path.name, "given", frame=frame)
    return _loaded(weights.find(choice))


def _loaded(weight_set: weights.WeightSet) -> Middle:
    model = middle_of(weights.load(weight_set))
    recipe = weight_set.info.get("recipe")
    return Middle(model, weight_set.name, weight_set.model, recipe)


def guided(model: object, middle: Middle) -> SequenceModel:
    """Put another middle frame into a cascade, or into the motion model.

    Raises:
        OptionError: a model without a middle network.
    """
    if isinstance(model, MotionModel):
        if middle.kind == model.name:
            raise OptionError("the motion model cannot be given its own middle frame")
        model.middle = middle.model if middle.frame is None else GivenPicture(middle.frame)
        return model
    if not isinstance(model, Cascade):
        name = getattr(model, "name", "this")
        raise OptionError(
            f"the {name} model has no middle network that could be replaced; use --model motion "
            "or cascade"
        )
    return GuidedCascade(model, middle.model)


def check_frame(frame: Tensor, y: Tensor, name: str) -> None:
    """Refuse a middle frame that does not fit the photo.

    Raises:
        InputError: another size.
    """
    if frame.shape != y.shape:
        sizes = [f"{image.shape[-1]}x{image.shape[-2]}" for image in (frame, y)]
        raise InputError(f"{name}: the middle frame has {sizes[0]} px, the photo {sizes[1]} px")

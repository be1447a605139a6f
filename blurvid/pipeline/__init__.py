"""One photo to seven frames, and the frames of a video to seven times as many."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Unpack

from torch import nn

from blurvid import media, runtime
from blurvid.config import RunOptions
from blurvid.models import (
    GivenPicture,
    GuidedCascade,
    MotionModel,
    SequenceModel,
    middle_of,
)
from blurvid.models.cascade import Cascade
from blurvid.pipeline.clip import Clip, stem_of
from blurvid.pipeline.extraction import Extractor, fit
from blurvid.pipeline.video import SlowVideo, extract_video
from blurvid.recipe import GIVEN, Choices, Recipe, Source, Wanted, resolve
from blurvid.weights import WeightSet
from blurvid.weights.foreign import load_foreign
from blurvid.weights.store import load


@contextmanager
def opened(recipe: Recipe, run: RunOptions = RunOptions()) -> Iterator[Extractor]:
    """Load what a recipe names, and keep it ready for the time of a block.

    Args:
        recipe: what `resolve` or `resolve_middle` gives.
        run: device, threads, memory.

    Yields:
        A function from a photo to its `Clip`.

    Raises:
        InputError: a mask or a middle frame that cannot be read.
        WeightsError: weights missing or damaged.
        DeviceError: the device is not there.
    """
    with runtime.running(run) as (device, dtype):
        network = _middle(recipe.weights) if recipe.frames == 1 else _sequence(recipe)
        assert isinstance(network, nn.Module)
        runtime.place(network, device)
        yield Extractor(network, recipe, device, dtype, run.max_memory)


def _sequence(recipe: Recipe) -> SequenceModel:
    """Load a model of all frames, with another network for the middle one where one is named."""
    assert isinstance(recipe.weights.origin, WeightSet)
    network = load(recipe.weights.origin)
    if recipe.middle is not None and isinstance(network, MotionModel):
        network.middle = _middle(recipe.middle)
    elif recipe.middle is not None and isinstance(network, Cascade):
        return GuidedCascade(network, _middle(recipe.middle))
    return network


def _middle(source: Source) -> SequenceModel:
    """Load what gives the middle frame alone."""
    if isinstance(source.origin, WeightSet):
        return middle_of(load(source.origin))
    assert source.origin is not None
    if source.kind == GIVEN:
        return GivenPicture(media.read_photo(source.origin).pixels)
    return load_foreign(source.origin)


def extractor(
    weights_name: str | Path | WeightSet | None = None,
    run: RunOptions = RunOptions(),
    *,
    model: str = "auto",
    middle: str | Path = "auto",
    **choices: Unpack[Choices],
) -> AbstractContextManager[Extractor]:
    """Load a model and keep it ready for the time of a block, see `opened`.

    Args:
        weights_name: name or folder of a weight set, or one found already.
        run: device, precision, threads.
        model: see `recipe.Wanted`.
        middle: the same.
        choices: fields of the recipe, such as `direction="left"`.
    """
    return opened(resolve(model, weights_name, middle, run.precision, **choices), run)


def extract(
    photo: media.PhotoLike, *, run: RunOptions = RunOptions(), **wanted: Unpack[Wanted]
) -> Clip:
    """Turn one motion-blurred photo into the seven sharp frames it was made of.

    Args:
        photo: a path, an open binary file, a PIL image, a numpy array ((H, W, 3) uint8, or
            float in [0, 1]) or a tensor ((3, H, W) in [0, 1]), RGB.
        run: device, precision, threads.
        wanted: fields of `recipe.Wanted`, such as `model="direct"`, `frames=25` or `beyond=1`.

    Returns:
        The clip, of the photo's size or that of its part; its `recipe` tells what made it.

    Raises:
        OptionError: an option is out of range.
        InputError: an unreadable photo.
        WeightsError: weights missing or damaged.
        DeviceError: the device is not there or has too little memory.
        TypeError: no such field.
    """
    recipe = resolve(precision=run.precision, **wanted)
    photo = media.as_photo(photo)
    with opened(recipe, run) as ready:
        clip = ready(photo)
    return dataclasses.replace(clip, warnings=recipe.warnings + clip.warnings)

"""One photo to seven frames, and the frames of a video to seven times as many."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from torch import Tensor, nn

from blurvid import media, runtime, weights
from blurvid.config import (
    FRAMES,
    MotionHints,
    OrderOptions,
    PartOptions,
    QualityOptions,
    RunOptions,
)
from blurvid.models import (
    GivenMiddle,
    GivenPicture,
    GuidedCascade,
    MotionModel,
    SequenceModel,
    middle_of,
)
from blurvid.models.cascade import Cascade
from blurvid.pipeline.clip import Clip, stem_of
from blurvid.pipeline.extraction import Extractor, fit
from blurvid.pipeline.video import SlowVideo, check_video, extract_video
from blurvid.recipe import AUTO, GIVEN, Recipe, Source, resolve
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
        if recipe.frames == 1:
            network: SequenceModel = _middle(recipe.weights)
            given = None
        else:
            network, given = _sequence(recipe)
        assert isinstance(network, nn.Module)
        runtime.place(network, device)
        yield Extractor(network, recipe, device, dtype, run.max_memory, given)


def _sequence(recipe: Recipe) -> tuple[SequenceModel, Tensor | None]:
    """Load a model of all frames, and the picture that is its middle frame, where one is."""
    found, middle, given = recipe.weights.origin, recipe.middle, None
    assert isinstance(found, weights.WeightSet)
    network: SequenceModel = load(found)
    if middle is not None and middle.kind == GIVEN:
        assert isinstance(middle.origin, Path)
        given = media.read_photo(middle.origin).pixels
    if middle is not None and isinstance(network, MotionModel):
        network.middle = _middle(middle) if given is None else GivenPicture(given)
    elif middle is not None and isinstance(network, Cascade):
        network = GuidedCascade(network, _middle(middle) if given is None else GivenMiddle())
    return network, given


def _middle(source: Source) -> SequenceModel:
    """Load what gives the middle frame alone."""
    if isinstance(source.origin, weights.WeightSet):
        return middle_of(load(source.origin))
    assert source.origin is not None
    return load_foreign(source.origin)


def extractor(
    weights_name: str | Path | weights.WeightSet | None = None,
    run: RunOptions = RunOptions(),
    *,
    model: str = "auto",
    quality: QualityOptions = QualityOptions(),
    middle: str | Path = AUTO,
    order: OrderOptions = OrderOptions(),
    hints: MotionHints = MotionHints(),
) -> AbstractContextManager[Extractor]:
    """Load a model and keep it ready for the time of a block, see `opened`.

    Args:
        weights_name: as for `recipe.resolve`, like what follows.
        run: device, precision, threads.
        model: `auto` or one of `config.MODELS`.
        quality: what is done besides one plain pass.
        middle: what gives the middle frame.
        order: which way time runs, in all of the photo and in parts of it.
        hints: what is known of the motion.
    """
    recipe = resolve(
        *(weights_name, model, middle),
        quality=quality,
        order=order,
        hints=hints,
        precision=run.precision,
    )
    return opened(recipe, run)


def extract(
    photo: media.PhotoLike,
    *,
    weights_name: str | Path | weights.WeightSet | None = None,
    model: str = "auto",
    run: RunOptions = RunOptions(),
    quality: QualityOptions = QualityOptions(),
    middle: str | Path = AUTO,
    order: OrderOptions = OrderOptions(),
    hints: MotionHints = MotionHints(),
    frames: int = FRAMES,
    beyond: int = 0,
    part: PartOptions = PartOptions(),
) -> Clip:
    """Turn one motion-blurred photo into the seven sharp frames it was made of.

    Args:
        photo: a path, an open binary file, a PIL image, a numpy array ((H, W, 3) uint8, or
            float in [0, 1]) or a tensor ((3, H, W) in [0, 1]), RGB.
        weights_name: as for `extractor`, like all that follows but the last three.
        model: `auto` or one of `config.MODELS`.
        run: device, precision, threads.
        quality: what is done besides one plain pass.
        middle: what gives the middle frame.
        order: which way time runs, in all of the photo and in parts of it.
        hints: what is known of the motion.
        frames: how many, see `Clip.resample`.
        beyond: how many more at each end, outside of the exposure, see `Extractor.extended`.
        part: a rectangle that alone is worked on, as the clip or pasted into the whole photo.

    Returns:
        The clip, of the photo's size or that of its part; its `recipe` tells what made it.

    Raises:
        OptionError: an option is out of range.
        InputError: an unreadable photo.
        WeightsError: weights missing or damaged.
        DeviceError: the device is not there or has too little memory.
    """
    recipe = resolve(
        *(weights_name, model, middle),
        quality=quality,
        order=order,
        hints=hints,
        frames=frames,
        beyond=beyond,
        part=part,
        precision=run.precision,
    )
    photo = media.as_photo(photo)
    with opened(recipe, run) as ready:
        clip = ready(photo)
    return dataclasses.replace(clip, warnings=recipe.warnings + clip.warnings)

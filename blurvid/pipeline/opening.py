"""From the names of weights to an extractor that is ready for photos."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from blurvid import runtime, weights
from blurvid.config import (
    FAST,
    FRAMES,
    MODELS,
    MotionHints,
    OrderOptions,
    QualityOptions,
    RunOptions,
)
from blurvid.errors import OptionError
from blurvid.models import MotionModel, SequenceModel
from blurvid.pipeline.beyond import check_beyond, extend
from blurvid.pipeline.clip import Clip
from blurvid.pipeline.extraction import Extractor, PhotoLike, as_photo
from blurvid.pipeline.middle import AUTO, OWN, find_middle, guided
from blurvid.pipeline.resample import check_frames


def choose(
    name: str | Path | None = None, model: str = "auto", middle: str | Path = AUTO
) -> weights.WeightSet:
    """Find the weights; where only a middle frame is named, of a model with a place for it.

    Args:
        name: name or folder of a weight set.
        model: `auto` or one of `config.MODELS`.
        middle: what gives the middle frame.

    Raises:
        WeightsError: there are none, or they are damaged.
    """
    found = weights.find(name, model)
    if model == "auto" and name is None and str(middle) != AUTO and found.model == FAST:
        return weights.find(None, "cascade")
    return found


@contextmanager
def extractor(
    weights_name: str | Path | weights.WeightSet | None = None,
    run: RunOptions = RunOptions(),
    *,
    model: str = "auto",
    quality: QualityOptions = QualityOptions(),
    middle: str | Path = AUTO,
    order: OrderOptions = OrderOptions(),
    hints: MotionHints = MotionHints(),
) -> Iterator[Extractor]:
    """Load a model and keep it ready for the time of a block.

    Args:
        weights_name: name or folder of a weight set, or one found already; the released one by
            default.
        run: device, precision, threads.
        model: `auto` or one of `config.MODELS`; `auto` takes the first of them whose weights are
            there.
        quality: what is done besides one plain pass.
        middle: what gives the middle frame, see `find_middle`.
        order: which way time runs, in all of the photo and in parts of it.
        hints: what is known of the motion; for the motion model.

    Yields:
        A function from a photo to its `Clip`.

    Raises:
        OptionError: an option of `quality` or `order` is out of range.
        InputError: a mask of `order` cannot be read.
        WeightsError: weights missing or damaged.
        DeviceError: the device is not there.
    """
    if not isinstance(weights_name, weights.WeightSet):
        weights_name = choose(weights_name, model, middle)
    if weights_name.model not in MODELS:
        raise OptionError(
            f"the {weights_name.model} model gives one frame only; use it with --middle, or "
            "blurvid deblur"
        )
    if hints != MotionHints() and weights_name.model != MODELS[0]:
        raise OptionError(f"hints on the motion are for the {MODELS[0]} model")
    with runtime.running(run) as (device, dtype):
        network: SequenceModel = weights.load(weights_name)
        found = None
        if weights_name.model == "cascade":
            found = find_middle(middle, weights_name)
        elif str(middle) != AUTO and not (str(middle) == OWN and weights_name.middle):
            found = find_middle(middle)
        if found is not None:
            network = guided(network, found)
        warnings: tuple[str, ...] = ()
        if isinstance(network, MotionModel) and quality.scale not in ("auto", 1):
            quality = dataclasses.replace(quality, scale="auto")
            warnings += ("scale changes nothing: the motion model has sizes of its own",)
        assert isinstance(network, nn.Module)
        runtime.place(network, device)
        fast = run.compile and device.type == "cuda"
        if run.compile and not fast:
            warnings += (f"compile changes nothing on {device.type}: it is for CUDA devices",)
        yield Extractor(
            network,
            weights_name.name,
            device,
            dtype,
            quality,
            warnings,
            run.max_memory,
            found,
            order=order,
            fast=fast,
            hints=hints,
        )


@contextmanager
def deblurrer(
    middle: str | Path = AUTO, run: RunOptions = RunOptions(), *, passes: int = 1
) -> Iterator[Extractor]:
    """Load what gives the middle frame alone, and keep it ready for the time of a block.

    Args:
        middle: see `find_middle`; not a picture.
        run: device, precision, threads.
        passes: answers averaged, see `QualityOptions`.

    Yields:
        A function from a photo to a `Clip` of one frame.

    Raises:
        OptionError, WeightsError, DeviceError: as their names say.
    """
    with runtime.running(run) as (device, dtype):
        found = find_middle(middle)
        if found is None or found.frame is not None or not isinstance(found.model, nn.Module):
            raise OptionError(f"{middle} is a picture, not something that deblurs")
        runtime.place(found.model, device)
        quality = QualityOptions(passes=passes, scale=1.0)
        yield Extractor(found.model, found.name, device, dtype, quality, (), run.max_memory, found)


def extract(
    photo: PhotoLike,
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
) -> Clip:
    """Turn one motion-blurred photo into the seven sharp frames it was made of.

    Args:
        photo: a path, an open binary file, a PIL image, a numpy array ((H, W, 3) uint8, or
            float in [0, 1]) or a tensor ((3, H, W) in [0, 1]), RGB.
        weights_name: name or folder of a weight set; the released one by default.
        model: `auto` or one of `config.MODELS`; `auto` takes the first of them whose weights are
            there.
        run: device, precision, threads.
        quality: what is done besides one plain pass.
        middle: what gives the middle frame, see `find_middle`.
        order: which way time runs, in all of the photo and in parts of it.
        hints: what is known of the motion; for the motion model.
        frames: how many, see `Clip.resample`.
        beyond: how many more at each end, outside of the exposure, see `pipeline.beyond.extend`.

    Returns:
        The clip, of the photo's size; it tells which model and weights made it.

    Raises:
        OptionError: an option is out of range.
        InputError: an unreadable photo.
        WeightsError: weights missing or damaged.
        DeviceError: the device is not there or has too little memory.
    """
    check_frames(frames)
    check_beyond(beyond, frames)
    photo = as_photo(photo)
    with extractor(
        weights_name,
        model=model,
        run=run,
        quality=quality,
        middle=middle,
        order=order,
        hints=hints,
    ) as ready:
        clip = extend(ready, ready(photo), beyond)
        clip = dataclasses.replace(clip, warnings=ready.warnings + clip.warnings)
    return clip if frames == FRAMES else clip.resample(frames, ready.host_memory)

"""One photo to seven frames: fit to the model's size, run it, undo the fit."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from blurvid import media, runtime, weights
from blurvid.config import LOCAL_WINDOW, PAPER_CROP, QualityOptions, RunOptions
from blurvid.errors import BlurvidError, OptionError
from blurvid.models import SelfEnsemble, SequenceModel, use_window
from blurvid.pipeline.clip import Clip
from blurvid.synth import constrain

Photo: TypeAlias = str | Path | BinaryIO | Image.Image | NDArray[Any] | Tensor | media.Photo
"""What a photo may come as."""

ROWS_AT_ONCE = 128
"""Rows of a photo whose frames are constrained in one piece, so that memory stays small."""


class Extractor:
    """A loaded model on its device, for many photos. Use `extractor` to make one."""

    def __init__(
        self,
        model: SequenceModel,
        name: str,
        device: torch.device,
        dtype: torch.dtype,
        quality: QualityOptions = QualityOptions(),
        warnings: tuple[str, ...] = (),
    ) -> None:
        check_quality(quality)
        self.model = model if quality.passes == 1 else SelfEnsemble(model, quality.passes)
        self.name, self.quality = name, quality
        self.device, self.dtype = device, dtype
        self.warnings = warnings
        """What the user should know about the options, whatever the photo."""

    def __call__(self, photo: Photo) -> Clip:
        """Extract the seven frames of a photo.

        Args:
            photo: as for `extract`.

        Raises:
            InputError: an unreadable photo.
            DeviceError: too little memory.
            BlurvidError: the network gives values that are not finite even in float32.
        """
        photo = _read(photo)
        started = time.perf_counter()
        frames, dtype = self.frames(photo.pixels)
        return Clip(
            tensor=frames,
            photo=photo,
            model=self.model.name,
            weights=self.name,
            device=runtime.describe(self.device),
            precision=str(dtype).removeprefix("torch."),
            seconds=time.perf_counter() - started,
            warnings=photo.warnings
            + (("half precision overflowed; done in float32",) if dtype != self.dtype else ()),
            quality=self.quality,
        )

    @torch.no_grad()
    def frames(self, y: Tensor) -> tuple[Tensor, torch.dtype]:
        """Extract frames from a bare image.

        Args:
            y: blurry image, (3, H, W), RGB in [0, 1].

        Returns:
            x[1..7], (7, 3, H, W) in [0, 1] on the CPU, and the precision they were made in.
        """
        height, width = y.shape[-2:]
        fitted = fit(y, self.model.size_multiple).unsqueeze(0).to(self.device)
        for dtype in dict.fromkeys((self.dtype, torch.float32)):
            with runtime.memory_guard(self.device), runtime.autocast(self.device, dtype):
                found = self.model(fitted)[0].float()
            if found.isfinite().all():
                return self._finish(found[..., :height, :width].clamp(0, 1), y).cpu(), dtype
        raise BlurvidError(f"the {self.model.name} model gave values that are not finite")

    def _finish(self, frames: Tensor, y: Tensor) -> Tensor:
        """Make frames average to the photo where that is asked for."""
        gamma = self.quality.constraint
        if gamma is None:
            return frames
        with runtime.memory_guard(self.device):
            pieces = zip(
                torch.split(frames, ROWS_AT_ONCE, dim=-2),
                torch.split(y.to(frames.device), ROWS_AT_ONCE, dim=-2),
                strict=True,
            )
            return torch.cat([constrain(x, seen, gamma) for x, seen in pieces], dim=-2)


def check_quality(options: QualityOptions) -> None:
    """Refuse options that mean nothing.

    Raises:
        OptionError: one is out of range; the message names it. (The number of passes is
            checked by `SelfEnsemble`.)
    """
    gamma = options.constraint
    exponent = isinstance(gamma, int | float) and 0.1 <= gamma <= 10
    if gamma is not None and gamma != "srgb" and not exponent:
        raise OptionError(f"constraint {gamma!r}: use an exponent such as 1.0 or 2.2, or srgb")
    if options.statistics not in ("global", "local"):
        raise OptionError(f"no statistics named {options.statistics!r}; use global or local")


def fit(y: Tensor, multiple: int) -> Tensor:
    """Pad to the right and below by reflection until `multiple` divides both sides.

    Args:
        y: (C, H, W).
        multiple: as the model wants it.

    Returns:
        (C, H', W'); the image is the upper left part of it.
    """
    y = y.unsqueeze(0)
    for _ in range(2):  # reflection reaches at most side - 1 pixels far at a time
        right, below = (-side % multiple for side in (y.shape[-1], y.shape[-2]))
        right, below = min(right, y.shape[-1] - 1), min(below, y.shape[-2] - 1)
        y = F.pad(y, (0, right, 0, below), mode="reflect")
    right, below = (-side % multiple for side in (y.shape[-1], y.shape[-2]))
    return F.pad(y, (0, right, 0, below), mode="replicate")[0]


def _read(photo: Photo) -> media.Photo:
    if isinstance(photo, media.Photo):
        return photo
    value: Any = photo
    opened = isinstance(value, str | Path) or hasattr(value, "read")
    return media.read_photo(value) if opened else media.photo_from_array(value)


@contextmanager
def extractor(
    weights_name: str | Path | weights.WeightSet | None = None,
    run: RunOptions = RunOptions(),
    *,
    model: str = "auto",
    quality: QualityOptions = QualityOptions(),
) -> Iterator[Extractor]:
    """Load a model and keep it ready for the time of a block.

    Args:
        weights_name: name or folder of a weight set, or one found already; the released one by
            default.
        run: device, precision, threads.
        model: `auto`, `cascade` or `direct`; `auto` takes the one with the better score.
        quality: what is done besides one plain pass.

    Yields:
        A function from a photo to its `Clip`.

    Raises:
        OptionError: an option of `quality` is out of range.
        WeightsError: weights missing or damaged.
        DeviceError: the device is not there.
    """
    if not isinstance(weights_name, weights.WeightSet):
        weights_name = weights.find(weights_name, model)
    with runtime.running(run) as (device, dtype):
        network = weights.load(weights_name)
        warnings: tuple[str, ...] = ()
        if quality.statistics == "local":
            crop = weights_name.crop or PAPER_CROP  # the authors' weights do not tell theirs
            if not use_window(network, round(LOCAL_WINDOW * crop)):
                quality = dataclasses.replace(quality, statistics="global")
                warnings = (
                    f"local statistics change nothing: the {network.name} model normalizes nothing",
                )
        runtime.place(network, device)
        yield Extractor(network, weights_name.name, device, dtype, quality, warnings)


def extract(
    photo: Photo,
    *,
    weights_name: str | Path | weights.WeightSet | None = None,
    model: str = "auto",
    run: RunOptions = RunOptions(),
    quality: QualityOptions = QualityOptions(),
) -> Clip:
    """Turn one motion-blurred photo into the seven sharp frames it was made of.

    Args:
        photo: a path, an open binary file, a PIL image, a numpy array ((H, W, 3) uint8, or
            float in [0, 1]) or a tensor ((3, H, W) in [0, 1]), RGB.
        weights_name: name or folder of a weight set; the released one by default.
        model: `auto`, `cascade` or `direct`; `auto` takes the one with the better score.
        run: device, precision, threads.
        quality: what is done besides one plain pass.

    Returns:
        The clip, of the photo's size; it tells which model and weights made it.

    Raises:
        OptionError: an option is out of range.
        InputError: an unreadable photo.
        WeightsError: weights missing or damaged.
        DeviceError: the device is not there or has too little memory.
    """
    photo = _read(photo)
    with extractor(weights_name, model=model, run=run, quality=quality) as ready:
        clip = ready(photo)
        return dataclasses.replace(clip, warnings=ready.warnings + clip.warnings)

"""Deblurrers of others, read by spandrel (`pip install 'blurvid[spandrel]'`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from blurvid.errors import WeightsError, first_line
from blurvid.networks.one_frame import OneFrame
from blurvid.weights.sets import refuse_pointer

BYTES_PER_PIXEL = 4096
"""What a network of another's is taken to need [bytes of float32 features]; NAFNet of width 64
takes about 2600, larger ones more. A guess, on the safe side for most."""


class ForeignDeblurrer(OneFrame):
    """A network of another's as a deblurrer of the middle frame, (B, 3, H, W) -> (B, 1, 3, H, W).

    Args:
        descriptor: spandrel's `ImageModelDescriptor`.
        name: for messages.
    """

    def __init__(self, descriptor: Any, name: str) -> None:
        super().__init__()
        self.net: nn.Module = descriptor.model
        self.descriptor, self.name = descriptor, name
        self.size_multiple = max(1, int(descriptor.size_requirements.multiple_of))

    def forward(self, y: Tensor) -> Tensor:
        """Deblur images."""
        return self.descriptor(y).unsqueeze(1)  # type: ignore[no-any-return]

    def memory(self, height: int, width: int, feature_size: int) -> int:
        """Guess the most that `fill` takes besides its arguments [bytes]."""
        return height * width * BYTES_PER_PIXEL * feature_size // 4


def load_foreign(path: Path) -> ForeignDeblurrer:
    """Load a deblurrer from a file of any architecture that spandrel knows.

    Its pickles are read by spandrel's restricted unpickler, which executes nothing.

    Args:
        path: `.pth`, `.pt`, `.ckpt` or `.safetensors`.

    Returns:
        The network in evaluation mode, fp32, without gradients, on the CPU.

    Raises:
        WeightsError: missing or damaged, unknown, or not for an RGB image of the same size; or
            spandrel is not there.
    """
    try:
        with path.open("rb") as file:
            refuse_pointer(path, file.read(64))
    except OSError as error:
        raise WeightsError(f"{path}: cannot read these weights ({error.strerror})") from error
    loader = _spandrel().ModelLoader(device="cpu")
    try:
        descriptor = loader.load_from_file(path)
    except Exception as error:  # whatever a damaged archive makes torch or spandrel raise
        text = f"{path}: spandrel cannot read these weights ({first_line(error)})"
        raise WeightsError(text) from error
    fits = getattr(descriptor, "scale", None) == 1 and (
        descriptor.input_channels, descriptor.output_channels
    ) == (3, 3)  # fmt: skip
    if not fits or type(descriptor).__name__ != "ImageModelDescriptor":
        raise WeightsError(
            f"{path}: a {descriptor.architecture.name} that does not turn an RGB image into one "
            "of the same size"
        )
    descriptor.model.float().eval().requires_grad_(False)
    return ForeignDeblurrer(descriptor, path.stem)


def _spandrel() -> Any:
    try:
        import spandrel
    except ImportError as error:
        raise WeightsError(
            "weights of other networks need spandrel: pip install 'blurvid[spandrel]'"
        ) from error
    except RuntimeError as error:  # a torchvision built for another torch
        text = f"spandrel cannot be imported ({first_line(error)})"
        raise WeightsError(f"{text}; install the torchvision that fits this torch") from error
    return spandrel

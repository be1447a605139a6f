"""Networks of a weight set as ONNX files, for runtimes other than torch.

A file holds one network, in float32, for images of any size that its multiple divides. What is
around the networks (tiles, the search for motion, colours, files) stays in Python.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from blurvid.errors import OptionError, OutputError
from blurvid.models import Cascade, MotionModel, Trainable
from blurvid.networks import BDIRNet, FrameNet
from blurvid.weights.sets import WeightSet
from blurvid.weights.store import load

TOLERANCE = 1e-4
"""Most that a file may differ from torch, of images in [0, 1] or motion in pixels."""
SHOWN = 48
"""Least side of what a network is tried on [px]: statistics of a few pixels tell nothing."""
SPAN = 8.0
"""Longest motion that a network is tried on [px]."""


@dataclass(frozen=True)
class Given:
    """An input of a network, (1, channels, H/step, W/step)."""

    channels: int = 3
    step: int = 1


@dataclass(frozen=True)
class Part:
    """What becomes a file."""

    name: str
    net: nn.Module
    inputs: Mapping[str, Given | None]
    """By name, in order; None is a number."""
    outputs: tuple[str, ...]
    multiple: int
    """Divides H and W."""
    call: Callable[..., Any] = nn.Module.__call__
    """Runs the network, `call(net, *inputs)`."""
    least: int = 1
    """Least H and W, in multiples."""


def onnx_parts(weight_set: WeightSet) -> list[Part]:
    """The networks of a set that become a file each; of a motion model, its middle network too.

    Args:
        weight_set: what `find` found.

    Raises:
        OptionError: the packages that this needs are missing.
        WeightsError: the set is damaged.
    """
    try:
        for name in ("onnx", "onnxscript", "onnxruntime"):
            importlib.import_module(name)
    except ImportError as error:
        raise OptionError(
            f"{error.name} is not installed; ONNX files need: pip install 'blurvid[onnx]'"
        ) from None
    return parts_of(load(weight_set))


def export_onnx(part: Part, weight_set: WeightSet) -> tuple[bytes, float]:
    """Turn a network into an ONNX file.

    Args:
        part: one of `onnx_parts`.
        weight_set: where it is from.

    Returns:
        The file, and the most that it differed from torch by, on images of three sizes.

    Raises:
        OutputError: it does not do what the network does.
    """
    about = {
        "set": weight_set.name,
        "model": weight_set.model,
        "part": part.name,
        "licence": str(weight_set.info.get("licence", "")),
        "images": "RGB, sRGB, from 0 to 1",
        "multiple": str(part.multiple),
    }
    data = _exported(part, about)
    error = _compared(part, data)
    if not error <= TOLERANCE:
        raise OutputError(f"the ONNX file of {part.name} differs from torch by {error:.1e}")
    return data, error


def parts_of(model: Trainable) -> list[Part]:
    """The networks of a model, and how each is called."""
    y = {"y": Given()}
    if isinstance(model, MotionModel):
        net, r = model.restoration, model.restoration.spec.factor
        assert isinstance(model.middle, nn.Module)
        motion, features = Given(4), Given(net.spec.carried, r)
        return [
            _middle("middle", model.middle),
            Part(
                "motion",
                model.motion,
                {"middle": Given()} | y,
                ("motion",),
                model.motion.size_multiple,
            ),
            Part(
                "solve",
                net,
                y | {"middle": Given(), "motion": motion},
                ("picture", "features"),
                net.size_multiple,
                type(net).solve,
            ),
            Part(
                "frame",
                net,
                {"picture": Given(), "features": features, "motion": motion, "time": None},
                ("frame",),
                net.size_multiple,
                type(net).frame,
            ),
        ]
    if isinstance(model, Cascade):
        near = y | {"context": Given(), "anchor": Given()}
        nets = {
            name.rpartition(".")[2]: net
            for name, net in model.stages.named_modules()
            if isinstance(net, FrameNet)
        }
        return [
            Part(name, net, y if name == "middle" else near, ("frame",), net.spec.factor)
            for name, net in nets.items()
        ]
    if model.count == 1:
        return [_middle(model.name, model)]
    return [Part(model.name, model, y, ("frames",), model.size_multiple)]


def _middle(name: str, net: Any) -> Part:
    """A network that gives the middle frame, (B, 3, H, W) -> (B, 3, H, W)."""
    least = 1
    if isinstance(net, BDIRNet):  # which code runs depends on whether the window fits in
        least += net.spec.window // net.size_multiple

    def call(net: nn.Module, y: Tensor) -> Any:
        return net(y)[:, 0]

    return Part(name, net, {"y": Given()}, ("middle",), net.size_multiple, call, least)


class _Called(nn.Module):
    """A part as the exporter wants it."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.net, self.call = part.net, part.call

    def forward(self, *inputs: Tensor) -> Any:
        return self.call(self.net, *inputs)


def _examples(part: Part, more: tuple[int, int]) -> tuple[Tensor, ...]:
    """Inputs of some size, so many multiples beyond the least one."""
    generator = torch.Generator().manual_seed(sum(more))
    base = max(part.least, math.ceil(SHOWN / part.multiple))
    h, w = ((base + n) * part.multiple for n in more)

    def example(given: Given | None) -> Tensor:
        if given is None:
            return torch.tensor(0.5)
        size = (1, given.channels, h // given.step, w // given.step)
        found = torch.rand(size, generator=generator)
        return found if given.channels == 3 else (found - 0.5) * SPAN

    return tuple(map(example, part.inputs.values()))


def _exported(part: Part, about: Mapping[str, str]) -> bytes:
    """An ONNX file of a network.

    Args:
        part: the network.
        about: what the file says of itself.
    """
    h, w = (torch.export.Dim(name, min=part.least) for name in ("h", "w"))
    dims = tuple(
        None if given is None else {axis: part.multiple // given.step * n for axis, n in axes}
        for given in part.inputs.values()
        for axes in [((2, h), (3, w))]
    )
    with _quiet():
        program = torch.onnx.export(
            _Called(part).eval(),
            _examples(part, (1, 2)),
            dynamo=True,
            input_names=list(part.inputs),
            output_names=list(part.outputs),
            dynamic_shapes=(dims,),
            verbose=False,
        )
        assert program is not None
        program.model.metadata_props.update(about)
        data: bytes = program.model_proto.SerializeToString()
    return data


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what the exporter says about its own inside."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _compared(part: Part, data: bytes) -> float:
    """Most that an ONNX file differs from the network, on images of three sizes.

    Args:
        part: the network.
        data: the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for more in ((0, 1), (3, 0), (2, 3)):
        inputs = _examples(part, more)
        with torch.no_grad():
            wanted = part.call(part.net, *inputs)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        named = {name: x.numpy() for name, x in zip(part.inputs, inputs, strict=True)}
        for found, own in zip(session.run(None, named), wanted, strict=True):
            difference = (torch.from_numpy(found) - own).abs()
            worst = max(worst, float(difference.max())) if difference.isfinite().all() else math.inf
    return worst

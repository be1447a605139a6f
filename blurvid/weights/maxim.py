"""Import of MAXIM's published parameters, which have the names and axes of flax.

Two forms are read: the `.npz` of google-research/maxim, and the graph of tf.js that was made of it
(`weights.tfjs` gives its numbers their names back).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blurvid.config import MaximSpec
from blurvid.errors import WeightsError
from blurvid.networks import axes, maxim
from blurvid.weights.sets import NAME, WeightSet, read_file, sets_dir
from blurvid.weights.store import check_free, fill, save, skeleton
from blurvid.weights.tfjs import read_tfjs

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
"""Parameters by their published names, with dots between the parts."""

MOST_STAGES = 3
OPTIMIZED = "opt.target."
"""What the names of parameters begin with where an optimizer was saved with them."""
MAX_BYTES = 2**30
MAX_ARRAYS = 20_000

LAYERS: dict[type[nn.Module], dict[str, str]] = {
    maxim.Stage: {
        "inputs": "input_conv_{}",
        "fuse": "input_fuse_sam_{}",
        "encoder": "encoder_block_{}",
        "down": "encoder_block_{}.Conv_1",
        "bottom": "global_block_{}",
        "skips": "cross_gating_block_{}",
        "up": "decoder_block_{}.ConvTranspose_0",
        "decoder": "decoder_block_{}.UNetEncoderBlock_0",
        "supervised": "supervised_attention_module_{}",
    },
    maxim.Level: {
        "enter": "Conv_0",
        "mlps": "SplitHeadMultiAxisGmlpLayer_{}",
        "convs": "channel_attention_block_1{}",
        "cross": "cross_gating_block",
    },
    maxim.Bottom: {
        "enter": "input_proj",
        "mlps": "SplitHeadMultiAxisGmlpLayer_{}",
        "channels": "channel_attention_block_1_{}",
    },
    axes.MultiAxis: {
        "norm": "LayerNorm_in",
        "expand": "in_project",
        "grid.norm": "GridGmlpLayer.LayerNorm",
        "grid.expand": "GridGmlpLayer.in_project",
        "grid.gate_norm": "GridGmlpLayer.GridGatingUnit.intermediate_layernorm",
        "grid.mix": "GridGmlpLayer.GridGatingUnit.Dense_0",
        "grid.project": "GridGmlpLayer.out_project",
        "block.norm": "BlockGmlpLayer.LayerNorm",
        "block.expand": "BlockGmlpLayer.in_project",
        "block.gate_norm": "BlockGmlpLayer.BlockGatingUnit.intermediate_layernorm",
        "block.mix": "BlockGmlpLayer.BlockGatingUnit.Dense_0",
        "block.project": "BlockGmlpLayer.out_project",
        "project": "out_project",
    },
    axes.ConvBlock: {
        "norm": "LayerNorm",
        "conv1": "conv1",
        "conv2": "conv2",
        "attention": "channel_attention",
    },
    axes.ChannelBlock: {
        "norm": "LayerNorm",
        "expand": "channel_mixing.Dense_0",
        "project": "channel_mixing.Dense_1",
        "attention": "channel_attention",
    },
    axes.ChannelAttention: {"squeeze": "Conv_0", "excite": "Conv_1"},
    axes.CrossGate: {
        "grow": "ConvTranspose_0",
        "x.enter": "Conv_0",
        "x.norm": "LayerNorm_x",
        "x.expand": "in_project_x",
        "x.gate": "SplitHeadMultiAxisGating_x",
        "x.project": "out_project_x",
        "y.enter": "Conv_1",
        "y.norm": "LayerNorm_y",
        "y.expand": "in_project_y",
        "y.gate": "SplitHeadMultiAxisGating_y",
        "y.project": "out_project_y",
    },
    axes.MultiAxisGate: {
        "norm": "LayerNorm_in",
        "expand": "in_project",
        "grid": "Dense_0",
        "block": "Dense_1",
        "project": "out_project",
    },
    maxim.Supervised: {"features": "Conv_0", "image": "Conv_1", "mask": "Conv_2"},
}
"""For each kind of module, its parts and their published names; {} is the number in a list."""


def is_maxim(path: Path) -> bool:
    """Whether a file or folder is of a form in which MAXIM's parameters come."""
    return path.is_dir() or path.suffix.lower() in (".npz", ".json")


def import_maxim(
    path: str | Path, name: str | None = None, *, stages: int = MOST_STAGES, overwrite: bool = False
) -> WeightSet:
    """Turn published parameters of MAXIM into a weight set in the cache, as fp32.

    Args:
        path: an `.npz` with flax's names (`opt/target/...` or without), or the folder of a tf.js
            graph, or its `model.json`.
        name: name of the set; `maxim-3s` for three stages.
        stages: how many of the first stages to keep, 1 to 3.
        overwrite: replace a set of that name.

    Returns:
        The set.

    Raises:
        WeightsError: the file is missing, damaged, hostile, or holds something else.
        OutputError: the set exists already or cannot be written.
    """
    path = Path(path)
    name = name or f"maxim-{stages}s"
    if not NAME.fullmatch(name):
        raise WeightsError(f"{name!r} cannot be the name of a set; use letters, digits, . _ and -")
    if not 1 <= stages <= MOST_STAGES:
        raise WeightsError(f"MAXIM has 1 to {MOST_STAGES} stages, not {stages}")
    check_free(sets_dir() / name, overwrite=overwrite)
    read = read_npz if path.suffix.lower() == ".npz" else read_tfjs
    arrays, digest = read(path)
    model = translated(path, arrays, stages)
    return save(
        model,
        sets_dir() / name,
        name=name,
        recipe={
            "source": "parameters published by Google Research (Tu et al., CVPR 2022)",
            "files": {"maxim": {"name": path.name, "sha256": digest}},
        },
        data="not told by the file; GoPro (Nah et al. 2017) where it is the published deblurring",
        scores={},
        licence="Apache-2.0, as published by Google Research",
        dtype=torch.float32,
        overwrite=overwrite,
    )


def read_npz(path: Path) -> tuple[Arrays, str]:
    """Read the arrays of an `.npz`, nothing in which is executed, and its SHA-256.

    Raises:
        WeightsError: it is missing, damaged, larger than is believed, or holds objects.
    """
    data = read_file(path, MAX_BYTES, f"{path} does not exist")
    found: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
        if len(members) > MAX_ARRAYS or sum(m.file_size for m in members) > MAX_BYTES:
            raise WeightsError(f"{path} is larger than any parameters that can be imported")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            for key in arrays.files:
                found[key.replace("/", ".")] = arrays[key]
    except WeightsError:
        raise
    except Exception as error:  # whatever a damaged archive makes zipfile, zlib or numpy raise
        raise WeightsError(f"{path} is not an .npz of plain arrays, or is damaged") from error
    if any(key.startswith(OPTIMIZED) for key in found):
        found = {
            key.removeprefix(OPTIMIZED): value
            for key, value in found.items()
            if key.startswith(OPTIMIZED)
        }
    return found, hashlib.sha256(data).hexdigest()


def translated(path: Path, arrays: Arrays, stages: int) -> maxim.Maxim:
    """Make a network of published parameters.

    Args:
        path: where they are from, for messages.
        arrays: all of them, at least those of the stages.
        stages: how many of the first stages to keep.

    Raises:
        WeightsError: one is missing, has another shape, or is not finite.
    """
    first = arrays.get("stage_0_input_conv_0.kernel")
    features = first.shape[-1] if first is not None and first.ndim == 4 else 0
    if not axes.REDUCTION <= features <= 256:
        raise WeightsError(f"{path} does not hold the parameters of MAXIM")
    model = skeleton("maxim", MaximSpec(stages, features))
    assert isinstance(model, maxim.Maxim)
    flax = _has_axes_of_flax(arrays)
    tensors: dict[str, Tensor] = {}
    for ours, theirs in published(model):
        layer = model.get_submodule(ours)
        for parameter, expected in layer.named_parameters():
            leaf = "bias" if parameter == "bias" else "kernel"
            if parameter == "weight" and isinstance(layer, nn.LayerNorm):
                leaf = "scale"
            key = f"{theirs}.{leaf}"
            if key not in arrays:
                raise WeightsError(f"{path} lacks {key!r}, which MAXIM with {stages} stages has")
            value = _our_axes(layer, arrays[key], flax)
            if value is None or value.shape != expected.shape:
                raise WeightsError(f"{path}: {key!r} has the shape {arrays[key].shape}")
            if not torch.isfinite(value).all():
                raise WeightsError(f"{path}: {key!r} holds values that are not finite")
            tensors[f"{ours}.{parameter}"] = value
    fill(model, tensors)
    return model


def published(model: maxim.Maxim) -> Iterator[tuple[str, str]]:
    """The names of a network's layers, each ours and the published one."""
    scales, last = maxim.SCALES, len(model.stages) - 1
    for number, stage in enumerate(model.stages):
        ours, theirs = f"stages.{number}.", f"stage_{number}_"
        yield from _layers(stage, ours, theirs)
        # They are numbered as they are made: from coarse to fine, the decoder's after the skips'.
        count = 2 * scales * scales * number
        for part in ("to_skips", "to_decoder"):
            for i in reversed(range(scales)):
                for j in range(scales):
                    yield f"{ours}{part}.{i}.{j}", f"UpSampleRatio_{count + j}.Conv_0"
                count += scales
    # The image after a stage that others followed is what its supervision saw.
    whole = last == MOST_STAGES - 1
    name = "output_conv_0" if whole else "supervised_attention_module_0.Conv_1"
    yield f"stages.{last}.output", f"stage_{last}_{name}"


def _layers(module: nn.Module, ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    """Names of the layers below a module; those given are prefixes."""
    for part, name in LAYERS[type(module)].items():
        if getattr(module, part, part) is None:
            continue
        child = module.get_submodule(part)
        places = [(part, name)]
        if isinstance(child, nn.ModuleList | nn.Sequential):
            places = [(f"{part}.{i}", name.format(i)) for i in range(len(child))]
        for our_name, their_name in places:
            layer = module.get_submodule(our_name)
            if type(layer) in LAYERS:
                yield from _layers(layer, f"{ours}{our_name}.", f"{theirs}{their_name}.")
            else:
                yield ours + our_name, theirs + their_name


def _has_axes_of_flax(arrays: Arrays) -> bool:
    """Whether transposed convolutions have the axes (h, w, in, out), not (h, w, out, in)."""
    kernel = arrays.get("stage_0_decoder_block_0.ConvTranspose_0.kernel")
    return kernel is not None and kernel.ndim == 4 and kernel.shape[2] > kernel.shape[3]


def _our_axes(layer: nn.Module, value: NDArray[Any], flax: bool) -> Tensor | None:
    """A parameter with the axes that torch has; None where there is no way."""
    if value.dtype.kind != "f" or value.ndim > 4:
        return None
    tensor = torch.from_numpy(value.astype(np.float32))
    if tensor.ndim < 2:
        return tensor
    if isinstance(layer, nn.Linear):
        return tensor.reshape(tensor.shape[-2:]).t().contiguous() if _is_flat(tensor) else None
    if tensor.ndim != 4:
        return None
    if isinstance(layer, nn.ConvTranspose2d) and flax:
        # flax does not turn the kernel over, torch and TensorFlow do.
        return tensor.flip(0, 1).permute(2, 3, 0, 1).contiguous()
    return tensor.permute(3, 2, 0, 1).contiguous()


def _is_flat(kernel: Tensor) -> bool:
    """Whether a kernel is a matrix, or that of a 1x1 convolution."""
    return kernel.numel() == kernel.shape[-2] * kernel.shape[-1]

"""Import of the checkpoints that the paper's authors published.

Four files, written by torch 0.3 under Python 2.7. They come without a licence and so cannot
ship with this package; users download them and turn them into a weight set of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blurvid.config import STAGES
from blurvid.errors import WeightsError
from blurvid.models import parts
from blurvid.weights.pickles import read_checkpoint
from blurvid.weights.sets import NAME, WeightSet, find, sets_dir
from blurvid.weights.store import check_free, check_shapes, fill, save, skeleton

PUBLISHED = {
    "middle": "33977601d6919f3af9f4fdf49397f3946594aabb415495af06b2f9989460d37a",
    "35": "42a390f91c4941370ab8dbe4dd6beaba4614a4f5f57437d06b2d23b63525dda6",
    "26": "6039acec6363e6a9764847d70377789a713cb216cd84dab9284943ccdd07dcff",
    "17": "6b1644d9d6025829a50e6c6bca29891b4d7f9eca46b848fff3277493581f1059",
}
"""SHA-256 of the published files, by stage."""
FILE_NAMES = {
    "middle": "center_v3.pth",
    "35": "F35_N8.pth",
    "26": "F26_N9_from_F35_N8.pth",
    "17": "F17_N9_from_F26_N9_from_F35_N8.pth",
}
"""Names of the published files, by stage."""

# Their names of the networks in a file, and ours in the stage
NETWORKS = {
    "middle": {"": ""},
    "35": {"generateFrame3.": "3.", "generateFrame5.": "5."},
    "26": {"generateFrame2_6.": ""},
    "17": {"generateFrame1_7.": ""},
}
# Statistics that their instance normalization recorded and never used
UNUSED = ("running_mean", "running_var", "num_batches_tracked")
# Their names of the layers of a network, and ours
LAYERS = {
    "conv1_B.": "extract.0.",
    "conv1_S1.": "extract.1.",
    "conv1_S2.": "extract.2.",
    **{f"LocalGrad{group + 1}.": f"refine.{group}." for group in range(4)},
    **{f"fuse{group + 1}.0.": f"fuse.{group}." for group in range(4)},
    "conv2.": "head.0.",
    "GlobalGrad.0.": "head.1.",
    "norm3.": "head.2.",
    "conv3.": "head.4.",
}


def import_authors(
    files: Sequence[str | Path],
    name: str = "jin2018",
    *,
    overwrite: bool = False,
) -> WeightSet:
    """Turn the authors' four checkpoints into a weight set of the cascade in the cache.

    The files are told apart by the names of the parameters in them, whatever they are called
    and in whatever order they come. Parameters are stored as fp32, so that nothing is lost.

    Args:
        files: the four `.pth` files.
        name: name of the set.
        overwrite: replace a set of that name.

    Returns:
        The set, whose recipe says of each file whether it is the published one.

    Raises:
        WeightsError: a file is missing, damaged, hostile, twice there, or something else.
        OutputError: the set exists already or cannot be written.
    """
    if not NAME.fullmatch(name):
        raise WeightsError(f"{name!r} cannot be the name of a set; use letters, digits, . _ and -")
    check_free(sets_dir() / name, overwrite=overwrite)
    model = skeleton("cascade")
    modules = parts(model)
    found: dict[str, dict[str, Any]] = {}
    for path in map(Path, files):
        payload, digest = read_checkpoint(path)
        state = _generator_state(path, payload)
        stage = _stage(path, state)
        if stage in found:
            raise WeightsError(
                f"{path} and {found[stage]['name']} are both the {_title(stage)}; give the four "
                f"different files {_titles(STAGES)}"
            )
        ours = _translated(path, stage, state)
        shapes = {key: tuple(t.shape) for key, t in ours.items()}
        check_shapes(modules[stage], shapes, path, f"the {_title(stage)}")
        fill(modules[stage], ours)
        known = digest == PUBLISHED[stage]
        found[stage] = {"name": path.name, "sha256": digest, "published": known}
    missing = [stage for stage in STAGES if stage not in found]
    if missing:
        raise WeightsError(f"missing among the files to import: {_titles(missing)}")
    save(
        model,
        sets_dir() / name,
        name=name,
        recipe={
            "source": "checkpoints published by the authors of Jin et al., CVPR 2018",
            "files": {stage: found[stage] for stage in STAGES},
        },
        data="GoPro (Nah et al. 2017), according to the paper",
        scores={},
        licence="none given by the authors; not for redistribution",
        dtype=torch.float32,
        overwrite=overwrite,
    )
    return find(name)


def _title(stage: str) -> str:
    what = "middle frame's network" if stage == "middle" else f"stage {stage}"
    return f"{what} ({FILE_NAMES[stage]})"


def _titles(stages: Sequence[str]) -> str:
    return ", ".join(FILE_NAMES[stage] for stage in stages)


def _generator_state(path: Path, payload: object) -> dict[str, Tensor]:
    """Take the generator's parameters out of what a file holds."""
    state = payload.get("state_dict_G", payload) if isinstance(payload, Mapping) else None
    if not isinstance(state, Mapping) or not state:
        raise WeightsError(f"{path} holds no state_dict_G; it is not one of the authors' files")
    named: dict[str, Tensor] = {}
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"{path} holds neither state_dict_G nor parameters alone; it is not one of the "
                "authors' files"
            )
        key = key.removeprefix("module.")
        if key.rpartition(".")[2] in UNUSED:
            continue
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            raise WeightsError(f"{path}: {key[:80]!r} is not a plain tensor")
        if not value.is_floating_point():
            raise WeightsError(f"{path}: {key[:80]!r} does not hold floating-point numbers")
        named[key] = value
    return named


def _stage(path: Path, state: Mapping[str, Tensor]) -> str:
    """Tell by the names of its parameters which stage a file is for."""
    prefixes = {key.partition(".")[0] + "." for key in state}
    for stage, networks in NETWORKS.items():
        if prefixes == networks.keys():
            return stage
    if "conv1_B." in prefixes and "conv1_S1." not in prefixes:
        return "middle"
    raise WeightsError(
        f"{path} holds none of the authors' networks; the four files are {_titles(STAGES)}"
    )


def _translated(path: Path, stage: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the parameters of a stage our names."""
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        for theirs, prefix in NETWORKS[stage].items():
            if key.startswith(theirs):
                name = _our_name(key.removeprefix(theirs))
                if name is None or prefix + name in ours:
                    raise WeightsError(f"{path} has the unknown parameter {key[:80]!r}")
                # a copy, so that the optimizer state in the same file can be freed
                ours[prefix + name] = value.detach().to(torch.float32, copy=True).contiguous()
    return ours


def _our_name(key: str) -> str | None:
    """Our name of a parameter of one of their networks; None when there is none."""
    for theirs, ours in LAYERS.items():
        if key.startswith(theirs):
            # the third pair of layers of a residual block is numbered 4 by them
            return ours + re.sub(r"^((?:\d\.)?(?:norm|conv))4\.", r"\g<1>3.", key[len(theirs) :])
    return None

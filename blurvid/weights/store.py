"""Models to weight sets and back."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from blurvid.atomic import LOCK_FILE, locked, remove_stale, replacing
from blurvid.errors import ExistsError, OptionError, OutputError, WeightsError
from blurvid.models import (
    MotionModel,
    SequenceModel,
    Spec,
    Trainable,
    build,
    middle_of,
    parts,
    spec_from,
)
from blurvid.weights.sets import FORMAT, SET_FILE, WeightSet, described, find, read_set

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
"""Number formats that a weight set may hold."""
LEFT = re.compile(r"\.blurvid.*|\w+-[0-9a-f]{8}\.safetensors")
"""Names of what is there of a set before its `set.json` is."""
PATIENCE = 60.0
"""Longest wait [s] for another process that puts a set in the same place."""


class _NoDraws(TorchFunctionMode):
    """Leaves out random numbers, for which meta tensors would load torch's compiler (3 s)."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if func in (Tensor.normal_, Tensor.uniform_, nn.init.normal_):
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def spec_of(weight_set: WeightSet) -> Spec:
    """Shape of the network that a set belongs to; what a `set.json` leaves out has its default.

    Raises:
        WeightsError: it is malformed, or larger than is believed.
    """
    given = weight_set.info.get("spec")
    try:
        return spec_from(weight_set.model, {} if given is None else given)
    except OptionError as error:
        raise WeightsError(f"{weight_set.path / SET_FILE}: in spec, {error}") from None


def load(weight_set: WeightSet, device: str | torch.device = "cpu") -> Trainable:
    """Load a model from a weight set.

    Every file is read once and its SHA-256 compared before anything looks inside; names,
    shapes and number formats are compared with the model before a tensor is made.

    Args:
        weight_set: what `find` found.
        device: where the parameters go.

    Returns:
        The model in evaluation mode, fp32, without gradients.

    Raises:
        WeightsError: a file is missing, damaged, or does not belong to the model.
    """
    model = skeleton(weight_set.model, spec_of(weight_set))
    for part, module in parts(model).items():
        fill(module, _tensors(weight_set, part, module))
    if isinstance(model, MotionModel):
        model.middle = _middle(weight_set)
    return model.eval().requires_grad_(False).to(device)


def _middle(weight_set: WeightSet) -> SequenceModel:
    """What gives the motion model its middle frame."""
    if weight_set.middle is None:
        raise WeightsError(f"{weight_set.path}: middle must be the name of a weight set")
    found = find(weight_set.middle)
    if found.model == weight_set.model:
        raise WeightsError(f"{weight_set.path}: the middle frame cannot be by {found.name}")
    return middle_of(load(found))


def save(
    model: Trainable,
    directory: str | Path,
    *,
    name: str,
    recipe: Mapping[str, Any],
    data: str,
    scores: Mapping[str, Any],
    licence: str,
    dtype: torch.dtype = torch.float16,
    overwrite: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> WeightSet:
    """Save a model as a weight set.

    No half set is ever found, see `_install`.

    Args:
        model: the model; its device and number format do not matter.
        directory: the directory to make.
        name: name of the set.
        recipe: how it was trained.
        data: what it was trained on.
        scores: its scores; `seven_frame_psnr` [dB] is what `auto` compares.
        licence: licence of the weights.
        dtype: fp16, bf16 or fp32.
        overwrite: replace a weight set that is there already.
        extra: more keys for `set.json`.

    Returns:
        The set, of origin `path`.

    Raises:
        WeightsError: a parameter is not finite, or does not fit in `dtype`.
        OutputError: the directory exists or cannot be written.
    """
    if dtype not in DTYPES:
        raise WeightsError(f"weights are stored as fp16, bf16 or fp32, not as {dtype}")
    contents = {}
    for part, module in parts(model).items():
        metadata = {"format": str(FORMAT), "model": model.name, "part": part, "set": name}
        tensors = _storable(part, module, dtype)
        contents[part] = _settled(safetensors.torch.save(tensors, metadata))
    info = {
        **(extra or {}),
        "name": name,
        "model": model.name,
        "spec": asdict(model.spec),
        "recipe": dict(recipe),
        "data": data,
        "scores": dict(scores),
        "licence": licence,
    }
    return _install(Path(directory), info, contents, overwrite=overwrite)


def _install(
    target: Path, info: Mapping[str, Any], contents: Mapping[str, bytes], *, overwrite: bool
) -> WeightSet:
    """Put the files of each part in their place, then the `set.json` that names them.

    What is in a file is told by its name, so that a set which is replaced is whole until then. One
    process at a time does so; what killed ones have left is removed.
    """
    files: dict[str, dict[str, Any]] = {}
    for part, data in contents.items():
        digest = hashlib.sha256(data).hexdigest()
        file = f"{part}-{digest[:8]}.safetensors"
        files[part] = {"file": file, "sha256": digest, "bytes": len(data)}
    whole = {**info, "format": FORMAT, "files": files}
    try:
        text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise WeightsError(f"the description of the weights is not plain JSON: {error}") from None
    described(target / SET_FILE, text.encode())
    names = [*(entry["file"] for entry in files.values()), SET_FILE]
    with locked(target / LOCK_FILE, target, PATIENCE):
        remove_stale(target)
        check_free(target, overwrite=overwrite)
        before: set[str] = set()
        with contextlib.suppress(WeightsError):  # there is none, or it is damaged
            before = {entry["file"] for entry in read_set(target, "path").info["files"].values()}
        with replacing([target / name for name in names]) as paths:
            for path, data in zip(paths, [*contents.values(), text.encode()], strict=True):
                path.write_bytes(data)
        for old in target.glob("*.safetensors"):  # whatever else is there is the user's
            if old.name not in names and (old.name in before or LEFT.fullmatch(old.name)):
                with contextlib.suppress(OSError):
                    old.unlink()
    return read_set(target, "path")


def skeleton(name: str, spec: Spec | None = None) -> Trainable:
    """A model without storage, to be filled; nothing is initialised or allocated."""
    with torch.device("meta"), _NoDraws():
        return build(name, spec)


def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put tensors in the place of a skeleton's parameters."""
    module.load_state_dict(dict(tensors), strict=True, assign=True)


def check_shapes(
    module: nn.Module, shapes: Mapping[str, tuple[int, ...]], path: Path, what: str
) -> None:
    """Raise WeightsError when names or shapes in a file differ from those of a module."""
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    missing, unknown = expected.keys() - shapes.keys(), shapes.keys() - expected.keys()
    problems = [
        *([f"it lacks {_some(missing)}"] if missing else ()),
        *([f"it has the unknown {_some(unknown)}"] if unknown else ()),
        *(
            f"{name} has the shape {shapes[name]} instead of {shape}"
            for name, shape in expected.items()
            if shapes.get(name, shape) != shape
        ),
    ]
    if problems:
        raise WeightsError(f"{path} does not fit {what}: {problems[0]}")


def _some(names: set[str]) -> str:
    first = repr(min(names)[:80])
    return first if len(names) == 1 else f"{first} and {len(names) - 1} more"


def check_free(target: Path, *, overwrite: bool) -> None:
    """Raise OutputError when a set cannot be put in this place."""
    try:
        if not target.exists() or (
            target.is_dir() and all(LEFT.fullmatch(path.name) for path in target.iterdir())
        ):
            return
        is_set = (target / SET_FILE).is_file()
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from None
    if not is_set:
        raise OutputError(f"{target} exists and is not a weight set; choose another place")
    if not overwrite:
        raise ExistsError(f"{target}: exists already")


def _settled(content: bytes) -> bytes:
    """Sort a safetensors header, whose metadata come in random order: same weights, same file."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # the numbers stay aligned
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _storable(part: str, module: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors of a part as they are stored."""
    stored = {}
    for name, tensor in module.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{part}: {name} holds values that are not finite; not saved")
        converted = tensor.detach().to("cpu", dtype).contiguous().clone()
        if not torch.isfinite(converted).all():
            raise WeightsError(f"{part}: {name} does not fit in {dtype}; save it as fp32")
        stored[name] = converted
    return stored


def _tensors(weight_set: WeightSet, part: str, module: nn.Module) -> dict[str, Tensor]:
    """What the file of a part holds for its module, fp32."""
    path, model, data = weight_set.file(part), weight_set.model, weight_set.read(part)
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except Exception as error:  # of its checks, or of those of the formats it knows
        raise WeightsError(f"{path} is not a valid safetensors file: {error}") from None
    said = header.get("__metadata__", {})
    owner = (said.get("model", model), said.get("part", part))
    if owner != (model, part):
        raise WeightsError(
            f"{path} holds {owner[1]:.40} of the {owner[0]:.40} model instead of {part} of "
            f"{model}; get the weight set again"
        )
    shapes = {name: tuple(t.shape) for name, t in tensors.items()}
    check_shapes(module, shapes, path, f"the {model} model")
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise WeightsError(f"{path}: {name} holds numbers of type {tensor.dtype}")
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path}: {name} holds values that are not finite")
    return {name: tensor.float() for name, tensor in tensors.items()}

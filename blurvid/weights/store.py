"""Models to weight sets and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from blurvid.errors import ExistsError, OutputError, WeightsError
from blurvid.models import MotionModel, SequenceModel, Spec, Trainable, build, middle_of, parts
from blurvid.weights.describe import FORMAT, SET_FILE, WeightSet, check_digest, check_size, read_set
from blurvid.weights.sets import clear, find, held, places_beside
from blurvid.weights.specs import spec_of

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
"""Number formats that a weight set may hold."""


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
        entry = weight_set.info["files"][part]
        path = weight_set.file(part)
        data = _checked_bytes(path, entry["bytes"], entry["sha256"])
        fill(module, _tensors(path, data, weight_set.model, part, module))
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

    The set is written beside its place and renamed, so that no half set is ever found.

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
    stored = {part: _storable(part, module, dtype) for part, module in parts(model).items()}

    def write(staging: Path) -> None:
        files = {}
        for part, tensors in stored.items():
            path = staging / f"{part}.safetensors"
            metadata = {"format": str(FORMAT), "model": model.name, "part": part, "set": name}
            content = _settled(safetensors.torch.save(tensors, metadata))
            path.write_bytes(content)
            files[part] = {
                "file": path.name,
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
            }
        info = {
            **(extra or {}),
            "format": FORMAT,
            "name": name,
            "model": model.name,
            "spec": asdict(model.spec),
            "files": files,
            "recipe": dict(recipe),
            "data": data,
            "scores": dict(scores),
            "licence": licence,
        }
        write_info(staging, info)

    return install(Path(directory), write, overwrite=overwrite)


def write_info(directory: Path, info: Mapping[str, Any]) -> None:
    """Write a `set.json`."""
    try:
        text = json.dumps(info, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"the description of the weights is not plain JSON: {error}") from None
    (directory / SET_FILE).write_text(text + "\n", encoding="utf-8")


def install(target: Path, write: Callable[[Path], None], *, overwrite: bool) -> WeightSet:
    """Make a weight set in a directory beside its place, then move it there.

    One process at a time does so; what killed ones have left is removed.

    Args:
        target: where the set goes.
        write: called with the temporary directory, to fill it.
        overwrite: replace a weight set that is there already.

    Raises:
        OutputError: the target exists, cannot be written, or another process takes long over it.
        WeightsError: what was written is not a weight set.
    """
    staging, retired = places_beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with held(target):
            clear(target)
            _check_free(target, overwrite=overwrite)
            try:
                staging.mkdir()
                write(staging)
                read_set(staging, "path")
                if target.exists():
                    target.rename(retired)
                staging.rename(target)
            finally:
                try:
                    clear(target)
                finally:
                    clear(target)  # an interrupt may have broken off the first
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from None
    return read_set(target, "path")


def skeleton(name: str, spec: Spec | None = None) -> Trainable:
    """A model without storage, to be filled; nothing is initialised or allocated."""
    with torch.device("meta"), _NoDraws():
        return build(name, spec)


def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put tensors in the place of a skeleton's parameters."""
    module.load_state_dict(dict(tensors), strict=True, assign=True)


def shapes_problem(
    module: nn.Module, shapes: Mapping[str, tuple[int, ...]], source: str = "it"
) -> str | None:
    """Say how names or shapes differ from those of a module; None when they agree."""
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    missing, unknown = expected.keys() - shapes.keys(), shapes.keys() - expected.keys()
    if missing:
        return f"{source} lacks {_some(missing)}"
    if unknown:
        return f"{source} has the unknown {_some(unknown)}"
    for name, shape in expected.items():
        if shapes[name] != shape:
            return f"{name} has the shape {shapes[name]} instead of {shape}"
    return None


def _some(names: set[str]) -> str:
    first = repr(min(names)[:80])
    return first if len(names) == 1 else f"{first} and {len(names) - 1} more"


def check_place(target: Path, *, overwrite: bool) -> None:
    """Find out early whether a set can be put in a place, and remove what killed processes left.

    Raises:
        OutputError: as `install`.
    """
    if target.parent.exists():
        with held(target):
            clear(target)
            _check_free(target, overwrite=overwrite)


def _check_free(target: Path, *, overwrite: bool) -> None:
    """Raise OutputError when a set cannot be put in this place."""
    try:
        if not target.exists() or (target.is_dir() and not any(target.iterdir())):
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


def _checked_bytes(path: Path, size: int, digest: str) -> bytes:
    """Contents of a file whose size and digest are right."""
    check_size(path, size)
    try:
        with path.open("rb") as file:
            data = file.read(size + 1)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from None
    check_digest(path, hashlib.sha256(data).hexdigest(), digest)
    return data


def _tensors(
    path: Path, data: bytes, model: str, part: str, module: nn.Module
) -> dict[str, Tensor]:
    """What a safetensors file holds for a module, fp32."""
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
    problem = shapes_problem(module, {name: tuple(t.shape) for name, t in tensors.items()})
    if problem is not None:
        raise WeightsError(f"{path} does not fit the {model} model: {problem}")
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise WeightsError(f"{path}: {name} holds numbers of type {tensor.dtype}")
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path}: {name} holds values that are not finite")
    return {name: tensor.float() for name, tensor in tensors.items()}

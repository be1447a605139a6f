"""Weight sets: find, list, verify, load, save and import them.

A weight set is a directory with a `set.json` and a safetensors file for each part of a
model. Everything that can be wrong with one raises `WeightsError`; a place that cannot be
written raises `OutputError`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from blurvid.weights.describe import SET_FILE, WeightSet, verify
from blurvid.weights.sets import best_middle, cache_dir, default, find, list_sets

if TYPE_CHECKING:
    from blurvid.weights.authors import ImportedFile, ImportReport, import_authors
    from blurvid.weights.foreign import load_foreign
    from blurvid.weights.maxim import import_maxim, is_maxim
    from blurvid.weights.onnx import export_onnx, onnx_parts
    from blurvid.weights.store import load, save, spec_of

_LATER = {
    "authors": ("ImportReport", "ImportedFile", "import_authors"),
    "foreign": ("load_foreign",),
    "maxim": ("import_maxim", "is_maxim"),
    "onnx": ("export_onnx", "onnx_parts"),
    "store": ("load", "save", "spec_of"),
}
"""Modules that load torch, which finding a set does without, and the names that they hold."""

__all__ = [
    "SET_FILE",
    "ImportReport",
    "ImportedFile",
    "WeightSet",
    "best_middle",
    "cache_dir",
    "default",
    "export_onnx",
    "find",
    "import_authors",
    "import_maxim",
    "is_maxim",
    "list_sets",
    "load",
    "load_foreign",
    "onnx_parts",
    "save",
    "spec_of",
    "verify",
]


def __getattr__(name: str) -> Any:
    for module, names in _LATER.items():
        if name == module:
            return import_module(f"blurvid.weights.{module}")
        if name in names:
            return getattr(import_module(f"blurvid.weights.{module}"), name)
    raise AttributeError(f"module 'blurvid.weights' has no attribute {name!r}")

"""Weight sets: find, list, verify, load, save and import them.

A weight set is a directory with a `set.json` and a safetensors file for each part of a
model. Everything that can be wrong with one raises `WeightsError`; a place that cannot be
written raises `OutputError`. What is here loads no torch, unlike `store` and what imports sets.
"""

from blurvid.weights.sets import SET_FILE, WeightSet, best_middle, cache_dir, find, list_sets

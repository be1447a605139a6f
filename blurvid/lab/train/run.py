"""One training run, from its options to its weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from blurvid import runtime, weights
from blurvid.atomic import LOCK_FILE, locked
from blurvid.config import RunOptions
from blurvid.errors import InputError, OptionError, OutputError
from blurvid.lab.data import Source
from blurvid.lab.options import TrainOptions
from blurvid.lab.train.learner import Learner
from blurvid.lab.train.meter import TrainStep
from blurvid.lab.train.settings import adopt_spec, check_options, stored_spec
from blurvid.lab.train.state import DAMAGED, load_state
from blurvid.lab.train.trainer import STATE_FILE, Trainer
from blurvid.weights import store


def train(
    options: TrainOptions,
    source: Callable[[torch.device], Source],
    out: Path,
    *,
    run: RunOptions = RunOptions(),
    initial: weights.WeightSet | None = None,
    vgg: Path | None = None,
    resume: bool = False,
    on_step: Callable[[TrainStep], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> weights.WeightSet:
    """Train a model.

    Args:
        options: the run.
        source: makes the source of training windows on a device.
        out: folder for the checkpoint (`state.pt`), the log (`log.jsonl`) and the averaged
            weights (`weights/`, a weight set).
        run: device, precision, threads.
        initial: weights to start from.
        vgg: VGG16 weights for the perceptual loss (safetensors, `conv1_1.weight` and so on).
        resume: go on with the run in `out`, where there is one. It keeps its shape of the network,
            as weights to start from keep theirs; options that ask for another one are refused. Its
            samples are drawn anew.
        on_step: called with each line of the log.
        stop: asked before each step; where it says so, the run is saved and ends early, to be
            resumed.

    Returns:
        The averaged weights.

    Raises:
        OutputError: another run is in `out`, or it cannot be written.
        TrainingError: a loss or weight that is not finite; `out` holds the last good state.
        InputError, OptionError, DeviceError: as their names say.
    """
    check_options(options)
    with locked(out / LOCK_FILE, out):
        path = out / STATE_FILE
        state = load_state(path) if path.exists() else None
        if state is not None and not resume:
            raise OutputError(f"{out}: a run is already there; resume it or name another folder")
        if state is not None:
            options, initial = _resumed(options, state, path), None
        elif initial is not None:
            options = _continued(options, initial)
        with runtime.running(run) as (device, dtype):
            if dtype == torch.float16:
                raise OptionError("fp16 loses small gradients; train in bf16 or fp32")
            trainer = Trainer(Learner(options, device, dtype, initial, vgg), source(device), out)
            if state is not None:
                trainer.load(state)
            torch.backends.cudnn.benchmark = True  # all crops have one size
            return trainer.fit(on_step, stop)


def _continued(options: TrainOptions, initial: weights.WeightSet) -> TrainOptions:
    """Options of a run that starts from weights, whose shape it takes over."""
    if initial.model != options.model:
        raise OptionError(
            f"weights {initial.name!r} are for the {initial.model} model, not for {options.model}"
        )
    try:
        return adopt_spec(options, store.spec_of(initial))
    except OptionError as error:
        raise OptionError(f"weights {initial.name!r} do not fit: {error}") from None


def _resumed(options: TrainOptions, state: dict[str, Any], path: Path) -> TrainOptions:
    """Options of a run that goes on, with the shape that it began with."""
    try:
        options = adopt_spec(options, stored_spec(json.loads(state["options"]), options.model))
        check_options(options)  # a shape that no network can have, too
    except (OptionError, *DAMAGED) as error:
        raise InputError(f"{path}: not a checkpoint of this run ({error})") from error
    return options

"""`blurvid train`: one training run."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blurvid.cli import options as cli_options
from blurvid.cli import values
from blurvid.cli.boundary import say
from blurvid.cli.sections import SectionedCommand, below
from blurvid.config import STAGES, RunOptions
from blurvid.lab.options import CROPS, RECIPES, STAGES_OF, TrainOptions, recipe_of

if TYPE_CHECKING:
    import torch

    from blurvid.lab.data import Source
    from blurvid.lab.train import TrainStep

DEFAULT = TrainOptions()
FIRST = "data out model minutes max_steps batch crop init resume device"
whole = below("Run")
network = below("Model", TrainOptions)
steps = below("Steps")
losses = below("Losses", TrainOptions)


def _usual(field: str) -> str:
    """Defaults of an option, for models that differ."""
    own = [f"{model} {getattr(recipe, field):g}" for model, recipe in RECIPES.items()]
    return f"  [default: {', '.join([f'{getattr(DEFAULT, field):g}', *own])}]"


MORE = """
blurvid train --model cascade --data windows/ --out runs/paper --order invariant \\
    --adversarial 0.001 --set context_blend=0
blurvid train --model motion --data clips/ --data photos.tar --init motion --out runs/motion

Ctrl-C ends it after the step at hand, which is saved; a second one at once. The log is
OUT/log.jsonl, the averaged weights are the weight set OUT/weights.
"""


@click.command(
    cls=SectionedCommand,
    first=FIRST,
    more=MORE,
    short_help="Train a model.",
)
@whole(
    "--data",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="Photos, windows or videos. Sharp photos (a folder or a .tar), or windows made by "
    "`blurvid synth`; for the motion model also a folder of videos of seven frames; repeatable.",
)
@whole(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for checkpoint, log and weights.",
)
@network(
    "--model",
    type=click.Choice(list(CROPS)),
    help="What is trained; of motion, all but what gives its middle frame.",
)
@network(
    "--stage",
    "stages",
    type=click.Choice([*STAGES, *STAGES_OF["motion"], "all"]),
    multiple=True,
    default=["all"],
    show_default=True,
    help="Stage of the cascade (teacher forcing makes them independent), or network of the motion "
    "model; repeatable.",
)
@whole("--minutes", type=float, help=f"Time budget.{_usual('minutes')}")
@whole("--steps", "max_steps", type=int, help="Budget in steps instead of time.")
@steps("--batch", type=int, help=f"Samples of a step.{_usual('batch')}")
@steps(
    "--crop",
    type=int,
    help=f"Training crop [px].  [default: {', '.join(f'{n} {c}' for n, c in CROPS.items())}]",
)
@steps("--lr", type=float, help=f"Highest learning rate.{_usual('lr')}")
@losses(
    "--order",
    help="Regression in one order of time or in the one that is nearer (direct), or the paper's "
    "order-invariant losses.",
)
@losses(
    "--loss",
    help="auto: pair (eq. 5) for invariant order, else charbonnier.",
)
@losses("--adversarial", help="Weight of that loss.")
@losses("--perceptual", help="Weight of that loss on the middle frame; needs --vgg.")
@losses("--vgg", type=click.Path(path_type=Path), help="VGG16 weights (safetensors).")
@steps(
    "--seed",
    default=DEFAULT.seed,
    show_default=True,
    help="Of samples and first weights; on a CPU the same one gives the same bytes.",
)
@whole(
    "--init",
    metavar="NAME|DIR",
    help="Start from the weights of this set.",
)
@whole("--resume", is_flag=True, help="Go on with the run in --out, if there is one.")
@steps(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any other setting, such as ema=0.99 or motion.max_path=16; repeatable.",
)
@cli_options.run_options
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
@values.takes(run=RunOptions)
def train(
    data: tuple[Path, ...],
    out: Path,
    model: str,
    stages: tuple[str, ...],
    minutes: float | None,
    max_steps: int | None,
    batch: int | None,
    crop: int | None,
    lr: float | None,
    order: str,
    loss: str,
    adversarial: float,
    perceptual: float,
    vgg: Path | None,
    seed: int,
    init: str | None,
    resume: bool,
    settings: tuple[str, ...],
    run: RunOptions,
    quiet: bool,
) -> None:
    """Train a model until the budget is spent; --resume goes on with a run.

    \b
    Examples:
      blurvid train --model direct --data photos/ --out run/ --minutes 60
      blurvid train --model motion --data clips/ --init motion --out runs/motion
    """
    values.refuse_missing(data)
    from blurvid import weights
    from blurvid.lab.data import open_source
    from blurvid.lab.train import change_settings, train

    given: dict[str, Any] = {
        "minutes": minutes,
        "max_steps": max_steps,
        "batch": batch,
        "crop": crop,
        "lr": lr,
        "stages": None if "all" in stages else tuple(dict.fromkeys(stages)),
    }
    given = {name: value for name, value in given.items() if value is not None}
    given |= {"order": order, "loss": loss, "adversarial": adversarial, "perceptual": perceptual}
    options = dataclasses.replace(recipe_of(model), **given, seed=seed)
    options = change_settings(options, settings)

    def source(device: torch.device) -> Source:
        return open_source(data, options, device)

    with _Ending() as ending:
        weight_set = train(
            options,
            source,
            out,
            run=run,
            initial=weights.find(init, model) if init else None,
            vgg=vgg,
            resume=resume,
            on_step=None if quiet else _show,
            stop=lambda: ending.signal is not None,
        )
    if ending.signal is not None:
        say(f"Saved in {out}; the same command with --resume goes on.")
        if ending.signal == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + ending.signal)
    click.echo(weight_set.path)


class _Ending:
    """Lets the first Ctrl-C or polite kill end a run after the step at hand, a second at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        """What asked for the end; None as long as nothing has."""
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Ending:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)
                if number is not None and callable(signal.getsignal(number)):  # not ignored
                    self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.__exit__()
        self.signal = signal.Signals(number)
        with contextlib.suppress(RuntimeError):  # a line may just be being written
            say("Ending after this step; again to end at once, with the last checkpoint.")


def _show(step: TrainStep) -> None:
    """One line a report on stderr: for people on a terminal, otherwise as in the log file."""
    if not sys.stderr.isatty():
        click.echo(json.dumps(dataclasses.asdict(step)), err=True)
        return
    losses = "  ".join(f"{name} {value:.4f}" for name, value in step.losses.items())
    click.echo(
        f"{step.progress:6.1%}  step {step.step}  {losses}  lr {step.lr:.1e}  "
        f"{step.samples_per_second:.1f} samples/s, {step.data_share:.0%} waiting for data",
        err=True,
    )

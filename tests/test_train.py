"""Training: losses, schedule, checkpoints and resuming."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from helpers import invoke
from PIL import Image
from torch.optim.swa_utils import AveragedModel
from torch.testing import assert_close

from blurvid import runtime, weights
from blurvid.cli import main
from blurvid.config import STAGES, DirectSpec, MaximSpec, RunOptions
from blurvid.errors import (
    InputError,
    OptionError,
    OutputError,
    TrainingError,
    WeightsError,
)
from blurvid.exposure import average_frames
from blurvid.lab import losses
from blurvid.lab.camera import IDEAL
from blurvid.lab.data.source import StillPool, TrainingSource
from blurvid.lab.losses import VGGFeatures
from blurvid.lab.options import MotionOptions, TrainOptions, recipe_of
from blurvid.lab.train import LOG_FILE, STATE_FILE, WEIGHTS_FOLDER, change_settings, train
from blurvid.lab.train.objective import (
    AdversarialObjective,
    Objective,
    blend_contexts,
    outer_frames,
)
from blurvid.lab.train.settings import check_options
from blurvid.lab.train.state import RampedAverage, learning_rate, load_state, save_state
from blurvid.models import Cascade, build
from blurvid.networks import DirectNet
from blurvid.weights import store

pytestmark = pytest.mark.usefixtures("surroundings")
REPOSITORY = Path(__file__).parents[1]
CPU = RunOptions(device="cpu", precision="fp32", threads=1)
TINY = DirectSpec(channels=(8, 12), blocks=(1, 1))
SHORT = MotionOptions(max_path=4, covered=0.0, source_scale=(1.0, 1.2))
DIRECT = TrainOptions(
    direct=TINY, motion=SHORT, batch=2, crop=16, max_steps=6, log_every=1, warmup=0.2
)
CASCADE = replace(DIRECT, model="cascade", crop=20)


def photo(seed=0, size=64):
    coarse = torch.rand(1, 3, size // 4, size // 4, generator=torch.Generator().manual_seed(seed))
    image = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")[0]
    return (image * 255).to(torch.uint8)


def moving(photos, device):
    return TrainingSource(None, None, StillPool(photos, device), None, DIRECT)


def simulated(device):
    """Windows that depend on the generator of the run alone."""
    return moving([photo()], device)


class Fixed:
    """The same batch each time."""

    def __init__(self, device):
        self.batch = None

    def draw(self, batch, size, generator):
        if self.batch is None:
            own = torch.Generator().manual_seed(0)
            photos = [photo(size=max(64, 2 * size))]
            self.batch = moving(photos, torch.device("cpu")).draw(batch, size, own)
        return self.batch

    def describe(self):
        return "one batch"


class Poisoned(Fixed):
    """A batch that is not finite from the n-th draw on."""

    def __init__(self, after):
        super().__init__(None)
        self.left = after

    def draw(self, batch, size, generator):
        y, x = super().draw(batch, size, generator)
        self.left -= 1
        return (y, x) if self.left >= 0 else (y, x * torch.nan)


def log_of(out):
    return [json.loads(line) for line in (out / LOG_FILE).read_text().splitlines()]


def state_of(out):
    return load_state(out / STATE_FILE)


def same(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def interrupted(at):
    def on_step(step):
        if step.step == at:
            raise KeyboardInterrupt

    return on_step


# a run


def test_a_run_leaves_log_checkpoint_and_weights(tmp_path):
    out, seen = tmp_path / "runs/first", []
    options = replace(DIRECT, log_every=2, max_steps=5)

    found = train(options, simulated, out, run=CPU, on_step=seen.append)

    assert sorted(p.name for p in out.iterdir()) == [LOG_FILE, STATE_FILE, WEIGHTS_FOLDER]
    log = log_of(out)
    assert [line["step"] for line in log] == [2, 4, 5]
    assert [line["step"] for line in log] == [step.step for step in seen]
    assert [line["progress"] for line in log] == [0.2, 0.6, 1.0]
    for line in log:
        assert line["losses"].keys() == {"direct"}
        assert line["losses"]["direct"] > 0
        assert line["grad_norm"] > 0
        assert line["samples_per_second"] > 0
        assert 0 <= line["data_share"] <= 1
    assert found.path == out / WEIGHTS_FOLDER
    assert found.info["name"] == "first"
    assert found.info["data"] == "1 still photos under simulated motion"
    assert found.info["recipe"]["steps"] == 5
    assert found.info["recipe"]["crop"] == 16
    assert found.info["recipe"]["precision"] == "float32"
    found.verify()
    averaged = {k.removeprefix("module."): v for k, v in state_of(out)["average"].items()}
    for name, value in store.load(found).state_dict().items():
        assert_close(value, averaged[name], atol=1e-3, rtol=1e-3)  # stored in half precision


def test_the_loss_goes_down_on_a_fixed_batch(tmp_path):
    options = replace(DIRECT, max_steps=60, log_every=10, lr=4e-3, camera=IDEAL)
    train(options, Fixed, tmp_path / "run", run=CPU)
    first, *_, last = [line["losses"]["direct"] for line in log_of(tmp_path / "run")]
    assert last < 0.8 * first


def test_the_loss_of_a_cascade_goes_down(tmp_path, tiny_cascade):
    options = replace(CASCADE, max_steps=24, log_every=4, lr=4e-3, camera=IDEAL, context_blend=0.0)
    train(options, Fixed, tmp_path / "run", run=CPU)
    first, *_, last = [line["losses"] for line in log_of(tmp_path / "run")]
    assert list(first) == list(STAGES)
    assert all(last[stage] < first[stage] for stage in STAGES)


def test_a_middle_network_learns_the_middle_frame(tmp_path):
    options = replace(
        recipe_of("maxim"), maxim=MaximSpec(1, 4), motion=SHORT, camera=IDEAL,
        crop=64, max_steps=24, log_every=4, lr=4e-3,
    )  # fmt: skip
    y, x = Fixed(None).draw(2, 64, None)
    net = build("maxim", options.maxim)  # which returns y
    found, estimates = Objective(net, options)(y, x)
    wanted = losses.charbonnier(y, x[:, 3]) + 0.5 * losses.frequency(y, x[:, 3])
    assert_close(found, {"maxim": wanted})
    assert estimates.keys() == {4}
    train(options, Fixed, tmp_path / "run", run=CPU)
    first, *_, last = [line["losses"] for line in log_of(tmp_path / "run")]
    assert first.keys() == {"maxim"}
    assert last["maxim"] < 0.95 * first["maxim"]


def test_a_middle_network_has_no_losses_of_sequences(tmp_path):
    for wrong in ({"loss": "pair"}, {"order": "invariant"}, {"adversarial": 0.1}):
        with pytest.raises(OptionError, match="gives one frame"):
            train(replace(recipe_of("maxim"), **wrong), Fixed, tmp_path / "run", run=CPU)


def test_the_same_seed_gives_the_same_run(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(replace(DIRECT, seed=seed, max_steps=3), simulated, tmp_path / name, run=CPU)
    a, b, c = (state_of(tmp_path / name)["model"] for name in "abc")
    assert same(a, b)
    assert not same(a, c)


def test_bfloat16(tmp_path):
    run = replace(CPU, precision="bf16")
    found = train(replace(DIRECT, max_steps=2), simulated, tmp_path / "run", run=run)
    assert found.info["recipe"]["precision"] == "bfloat16"
    assert all(v.dtype == torch.float32 for v in state_of(tmp_path / "run")["model"].values())


def test_a_budget_of_time(tmp_path):
    options = replace(DIRECT, max_steps=None, minutes=0.5 / 60, warmup=0.0, log_every=1)
    train(options, simulated, tmp_path / "run", run=CPU)
    log = log_of(tmp_path / "run")
    progress = [line["progress"] for line in log]
    assert progress == sorted(progress)
    assert log[-1]["seconds"] >= 0.5
    assert all(line["seconds"] <= 0.5 for line in log[:-1])  # rounded to 10 ms
    assert log[0]["lr"] == pytest.approx(options.lr)


def test_only_the_stages_asked_for_change(tmp_path, tiny_cascade):
    options = replace(CASCADE, stages=("26",), max_steps=2, warmup=0.0)
    train(options, simulated, tmp_path / "run", run=CPU)
    (line, *_) = log_of(tmp_path / "run")
    assert list(line["losses"]) == ["26"]
    after = state_of(tmp_path / "run")["model"]
    runtime.seed_everything(options.seed)
    before = Cascade().state_dict()
    changed = {name.split(".")[1] for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"26"}


def test_the_default_crop_suits_the_cascade(tmp_path, tiny_cascade):
    options = TrainOptions(model="cascade", batch=1, max_steps=1, motion=SHORT)
    photos = [photo(size=160)]
    train(options, lambda d: moving(photos, d), tmp_path / "r", run=CPU)


@pytest.mark.parametrize(
    ("options", "multiple"), [(replace(DIRECT, crop=18), 8), (replace(CASCADE, crop=24), 20)]
)
def test_a_crop_that_does_not_fit_the_model_is_refused(tmp_path, tiny_cascade, options, multiple):
    with pytest.raises(OptionError, match=f"crop must be a multiple of {multiple} px"):
        train(replace(options, max_steps=1), simulated, tmp_path / "run", run=CPU)


def test_an_existing_run_is_not_replaced(tmp_path):
    train(replace(DIRECT, max_steps=1), simulated, tmp_path / "run", run=CPU)
    before = (tmp_path / "run" / STATE_FILE).read_bytes()
    with pytest.raises(OutputError, match="already there; resume it or name another"):
        train(DIRECT, simulated, tmp_path / "run", run=CPU)
    assert (tmp_path / "run" / STATE_FILE).read_bytes() == before


def test_outputs_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        train(DIRECT, simulated, tmp_path / "file/run", run=CPU)
    (tmp_path / "run" / LOG_FILE).mkdir(parents=True)
    with pytest.raises(OutputError, match=LOG_FILE):
        train(DIRECT, simulated, tmp_path / "run", run=CPU)


# resuming


@pytest.mark.parametrize(
    "options",
    [
        DIRECT,
        replace(DIRECT, order="invariant", adversarial=0.01),
        replace(CASCADE, context_blend=0.0),
    ],
    ids=["direct", "adversarial", "cascade"],
)
def test_a_resumed_run_equals_an_uninterrupted_one_on_the_same_samples(
    tmp_path, tiny_cascade, options
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = replace(options, save_minutes=0.0, max_steps=5)
    train(options, Fixed, whole, run=CPU)
    with pytest.raises(KeyboardInterrupt):
        train(options, Fixed, parts, run=CPU, on_step=interrupted(4))
    assert state_of(parts)["step"] == 3

    torch.manual_seed(99)
    steps = []
    train(options, Fixed, parts, run=CPU, resume=True, on_step=steps.append)

    assert [step.step for step in steps] == [4, 5]
    wanted = {line["step"]: line for line in log_of(whole)}
    for step in steps:
        assert step.lr == wanted[step.step]["lr"]
        assert step.losses == wanted[step.step]["losses"]
    for part in ("model", "average"):
        assert same(state_of(parts)[part], state_of(whole)[part])
    files = [
        safetensors.torch.load_file(path)
        for out in (whole, parts)
        for path in sorted((out / WEIGHTS_FOLDER).glob("*.safetensors"))
    ]
    half = len(files) // 2
    assert all(same(a, b) for a, b in zip(files[:half], files[half:], strict=True))


def test_a_run_that_is_to_stop_is_saved_and_goes_on(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = replace(DIRECT, save_minutes=1000.0)
    train(options, Fixed, whole, run=CPU)
    answers = iter([False, False, True])
    found = train(options, Fixed, parts, run=CPU, stop=lambda: next(answers))
    assert state_of(parts)["step"] == 2
    assert found.path == parts / WEIGHTS_FOLDER
    found.verify()
    train(options, Fixed, parts, run=CPU, resume=True)
    for part in ("model", "average"):
        assert same(state_of(parts)[part], state_of(whole)[part])


def test_a_resumed_run_sees_samples_that_it_did_not_see_before(tmp_path):
    seen = []

    class Noted:
        def draw(self, batch, size, generator):
            y, x = simulated(torch.device("cpu")).draw(batch, size, generator)
            seen.append(y)
            return y, x

        def describe(self):
            return "noted"

    for steps in (2, 4):
        options = replace(DIRECT, max_steps=steps)
        train(options, lambda device: Noted(), tmp_path / "run", run=CPU, resume=True)
    assert len(seen) == 4
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


def test_the_log_of_a_resumed_run_has_every_step_once(tmp_path):
    options = replace(DIRECT, save_minutes=0.0)
    with pytest.raises(KeyboardInterrupt):
        train(options, simulated, tmp_path / "run", run=CPU, on_step=interrupted(4))
    train(options, simulated, tmp_path / "run", run=CPU, resume=True)
    assert [line["step"] for line in log_of(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]


def test_time_of_earlier_sessions_counts(tmp_path):
    out = tmp_path / "run"
    train(replace(DIRECT, max_steps=2), simulated, out, run=CPU)
    spent = state_of(out)["seconds"]
    train(replace(DIRECT, max_steps=3), simulated, out, run=CPU, resume=True)
    assert state_of(out)["seconds"] > spent
    assert state_of(out)["step"] == 3


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    train(DIRECT, simulated, tmp_path / "run", run=CPU)
    before = state_of(tmp_path / "run")
    log = log_of(tmp_path / "run")
    train(DIRECT, simulated, tmp_path / "run", run=CPU, resume=True)
    assert same(state_of(tmp_path / "run")["model"], before["model"])
    assert log_of(tmp_path / "run") == log


@pytest.mark.parametrize("content", [{}, {"model": {}}, [1, 2], torch.zeros(2), b"no checkpoint"])
def test_checkpoints_of_something_else_are_refused(tmp_path, content):
    out = tmp_path / "run"
    out.mkdir()
    if isinstance(content, bytes):
        (out / STATE_FILE).write_bytes(content)
    else:
        torch.save(content, out / STATE_FILE)
    with pytest.raises(InputError, match=STATE_FILE):
        train(DIRECT, simulated, out, run=CPU, resume=True)


def test_checkpoints_of_another_model_are_refused(tmp_path, tiny_cascade):
    train(replace(DIRECT, max_steps=1), simulated, tmp_path / "run", run=CPU)
    other = replace(DIRECT, direct=DirectSpec(channels=(4, 4), blocks=(1, 1)))
    for options in (CASCADE, other):
        with pytest.raises(InputError, match="not a checkpoint of this run"):
            train(options, simulated, tmp_path / "run", run=CPU, resume=True)


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path("trapped"),))


def test_a_hostile_checkpoint_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"step": Trap()}, tmp_path / STATE_FILE)
    with pytest.raises(InputError, match="cannot read this checkpoint"):
        load_state(tmp_path / STATE_FILE)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("error", [OSError(28, "full"), RuntimeError("torch"), KeyboardInterrupt()])
def test_a_checkpoint_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch, error):
    path = tmp_path / STATE_FILE
    save_state({"step": 1}, path)

    def fails(state, file):
        file.write(b"half")
        raise error

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(KeyboardInterrupt if error.args == () else OutputError):
        save_state({"step": 2}, path)
    assert load_state(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == [STATE_FILE]


# arithmetic


def test_compiling_is_asked_for(tmp_path, monkeypatch):
    asked = []

    def compile_(module):
        asked.append(type(module))
        return module

    monkeypatch.setattr(torch, "compile", compile_)
    for name, wanted in (("plain", False), ("fast", True)):
        options = replace(DIRECT, max_steps=2, compile=wanted)
        train(options, simulated, tmp_path / name, run=CPU)
    assert asked == [Objective]
    assert same(*(state_of(tmp_path / name)["model"] for name in ("plain", "fast")))


# what is not finite


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, log_every):
    options = replace(DIRECT, save_minutes=0.0, log_every=log_every)
    with pytest.raises(TrainingError, match=r"not finite .*last good state") as caught:
        train(options, lambda d: Poisoned(3), tmp_path / "run", run=CPU)
    assert str(tmp_path / "run") in str(caught.value)
    state = state_of(tmp_path / "run")
    assert state["step"] == 3
    assert all(value.isfinite().all() for value in state["model"].values())
    assert all(value.isfinite().all() for value in state["average"].values())
    store.load(weights.find(tmp_path / "run" / WEIGHTS_FOLDER))

    train(options, Fixed, tmp_path / "run", run=CPU, resume=True)
    assert state_of(tmp_path / "run")["step"] == options.max_steps


@pytest.mark.parametrize("lr", [1e5, 1e30])
def test_a_learning_rate_far_too_large(tmp_path, lr):
    with pytest.raises(TrainingError, match=r"finite"):
        train(replace(DIRECT, lr=lr, log_every=2), simulated, tmp_path / "run", run=CPU)


def test_a_critic_that_is_not_finite_is_not_a_good_state(tmp_path, monkeypatch):
    original, calls = losses.critic, []

    def poisoned(real, fake):
        calls.append(1)
        return original(real, fake) * (torch.nan if len(calls) == 3 else 1)

    monkeypatch.setattr(losses, "critic", poisoned)
    options = replace(DIRECT, order="invariant", adversarial=0.1, save_minutes=0.0, log_every=100)
    with pytest.raises(TrainingError):
        train(options, Fixed, tmp_path / "run", run=CPU)
    state = state_of(tmp_path / "run")
    assert all(value.isfinite().all() for value in state["critic"].values())


# starting from weights


def saved(net, folder):
    return store.save(
        net, folder, name="start", recipe={}, data="", scores={}, licence="", dtype=torch.float32
    )


def test_a_run_can_start_from_weights(tmp_path):
    net = DirectNet(DirectSpec(channels=(4, 8), blocks=(1, 2)))
    torch.nn.init.normal_(net.head.weight, 0, 0.01)
    initial = saved(net, tmp_path / "start")
    options = replace(DIRECT, max_steps=1, lr=1e-12, lr_end=1e-12)
    with pytest.raises(OptionError, match=r"'start' do not fit: .*direct.channels is \(4, 8\)"):
        train(options, simulated, tmp_path / "run", run=CPU, initial=initial)
    options = replace(options, direct=DirectSpec())  # nothing asked for
    found = train(options, simulated, tmp_path / "run", run=CPU, initial=initial)
    model = store.load(found)
    assert model.spec == net.spec
    for name, value in net.state_dict().items():
        assert_close(model.state_dict()[name], value, atol=1e-3, rtol=1e-3)
    # the recipe tells what was trained, not what the options would have made
    assert tuple(found.info["recipe"]["direct"]["channels"]) == net.spec.channels


def test_a_resumed_run_keeps_its_shape(tmp_path):
    wide = replace(DIRECT, direct=replace(TINY, channels=(8, 8)), max_steps=1)
    train(wide, simulated, tmp_path / "run", run=CPU)
    options = replace(wide, direct=DirectSpec(), max_steps=2)
    found = train(options, simulated, tmp_path / "run", run=CPU, resume=True)
    assert store.load(found).spec == wide.direct
    assert found.info["recipe"]["history"] == [{"until_step": 1, "options": {"max_steps": 1}}]


def test_a_checkpoint_of_before_an_option_was_known(tmp_path):
    out = tmp_path / "run"
    train(replace(DIRECT, max_steps=1), simulated, out, run=CPU)
    state = state_of(out)
    old = json.loads(state["options"])
    for field in (old["direct"], old):
        for key in ("block", "kernel", "cascade", "teacher_forcing", "compile"):
            field.pop(key, None)
    save_state(state | {"options": json.dumps(old)}, out / STATE_FILE)
    found = train(replace(DIRECT, max_steps=2), simulated, out, run=CPU, resume=True)
    assert found.info["recipe"]["history"] == [{"until_step": 1, "options": {"max_steps": 1}}]


def test_weights_of_another_model_are_refused(tmp_path, tiny_cascade):
    initial = saved(DirectNet(TINY), tmp_path / "start")
    with pytest.raises(OptionError, match="'start' are for the direct model, not for cascade"):
        train(CASCADE, simulated, tmp_path / "run", run=CPU, initial=initial)


# objectives


def windows(batch=2, size=20):
    x = torch.rand(batch, 7, 3, size, size)
    return average_frames(x, 1.0), x


def test_stages_are_independent_under_teacher_forcing(tiny_cascade):
    model = Cascade()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.1)
    found, estimates = Objective(model, replace(CASCADE, context_blend=0.0))(*windows())
    assert sorted(estimates) == [1, 2, 3, 4, 5, 6, 7]
    found["17"].backward()
    learned = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None}
    assert learned == {"17"}


def test_an_untrained_model_pays_what_its_anchors_cost(tiny_cascade):
    y, x = windows()
    options = replace(CASCADE, order="invariant", context_blend=0.0)
    found, _ = Objective(Cascade(), options)(y, x)
    third, fifth, fourth = x[:, 2], x[:, 4], x[:, 3]
    assert_close(found["middle"], (y - fourth).square().mean())
    assert_close(found["35"], losses.pair(fourth, fourth, third, fifth))
    y, x = windows(size=16)
    plain, estimates = Objective(DirectNet(TINY), DIRECT)(y, x)
    assert_close(estimates[1], y)
    assert_close(plain["direct"], ((y.unsqueeze(1) - x).square() + 1e-6).sqrt().mean())


@pytest.mark.parametrize("loss", ["charbonnier", "pair", "global"])
def test_every_loss_of_either_model_is_finite_and_learns(tiny_cascade, loss):
    for model, options in ((DirectNet(TINY), DIRECT), (Cascade(), CASCADE)):
        found, _ = Objective(model, replace(options, loss=loss))(*windows(size=40))
        total = torch.stack(list(found.values())).sum()
        total.backward()
        assert total.isfinite()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_invariant_losses_do_not_see_the_order_of_time():
    torch.manual_seed(1)
    net = DirectNet(TINY)
    torch.nn.init.normal_(net.head.weight, 0, 0.05)
    y, x = windows(size=16)
    for loss, blind in [("pair", True), ("global", True)]:
        objective = Objective(net, replace(DIRECT, order="invariant", loss=loss))
        forth, _ = objective(y, x)
        back, _ = objective(y, x.flip(1))
        assert torch.isclose(forth["others"], back["others"]).item() is blind, loss


def test_the_nearest_order_is_each_samples_own():
    torch.manual_seed(1)
    net = DirectNet(TINY)
    torch.nn.init.normal_(net.head.weight, 0, 0.05)
    y, x = windows(batch=2, size=16)
    objective = Objective(net, replace(DIRECT, order="nearest"))
    forth, _ = objective(y, x)
    mixed = torch.stack([x[0], x[1].flip(0)])
    assert torch.equal(objective(y, mixed)[0]["direct"], forth["direct"])
    # As if each sample had been learned in its better order
    fixed = Objective(net, DIRECT)
    better = [min(fixed(y[i, None], o)[0]["direct"] for o in (x[i, None], x[i, None].flip(1)))
              for i in range(2)]  # fmt: skip
    torch.testing.assert_close(forth["direct"], torch.stack(better).mean())


@pytest.mark.parametrize("wrong", [{"model": "cascade"}, {"loss": "pair"}])
def test_only_regression_of_all_frames_has_a_nearest_order(wrong):
    check_options(replace(DIRECT, order="nearest"))
    with pytest.raises(OptionError, match="the nearest order is the direct model's"):
        check_options(replace(DIRECT, order="nearest", **wrong))


def test_unknown_stages_are_refused(tiny_cascade):
    for stages in (("middle", "44"), ()):
        with pytest.raises(OptionError, match="no stage named"):
            Objective(Cascade(), replace(CASCADE, stages=stages))


def test_blending_draws_some_frames_towards_y():
    y, x = windows(batch=64, size=2)
    truths = dict(enumerate(x.unbind(1), 1))
    assert blend_contexts(y, truths, 0.0) is truths
    blended = blend_contexts(y, truths, 0.5)
    kept = [(blended[1][i] == truths[1][i]).all().item() for i in range(64)]
    assert 16 < sum(kept) < 48
    for i in range(64):  # all frames of a sample by one amount
        share = ((blended[1][i] - truths[1][i]) / (y[i] - truths[1][i])).mean()
        assert 0 <= share <= 1
        assert_close(blended[6][i], torch.lerp(truths[6][i], y[i], share), atol=1e-4, rtol=1e-4)


def test_the_critic_sees_every_frame_but_the_middle_one():
    y, x = windows(batch=3, size=4)
    estimates = {i: x[:, i - 1] + i for i in (2, 4, 6)}
    seen = outer_frames(y, x, estimates)
    assert seen is not None
    assert torch.equal(seen[0], torch.cat([y, y]))
    assert torch.equal(seen[1], torch.cat([x[:, 1], x[:, 5]]))
    assert torch.equal(seen[2], torch.cat([estimates[2], estimates[6]]))
    assert outer_frames(y, x, {4: x[:, 3]}) is None


def test_deceiving_teaches_the_critic_nothing():
    critic = AdversarialObjective()
    y, estimates = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16, requires_grad=True)
    critic.deceive(y, estimates).backward()
    assert estimates.grad is not None
    assert all(p.grad is None and p.requires_grad for p in critic.parameters())
    estimates.grad = None
    critic(y, torch.rand_like(y), estimates).backward()
    assert estimates.grad is None
    assert all(p.grad is not None for p in critic.parameters())


def test_the_papers_losses_in_a_run(tmp_path, tiny_cascade):
    options = replace(CASCADE, order="invariant", adversarial=1e-3, context_blend=0.0, max_steps=3)
    train(options, simulated, tmp_path / "run", run=CPU)
    for line in log_of(tmp_path / "run"):
        assert list(line["losses"]) == [*STAGES, "adversarial", "critic"]
        assert all(np.isfinite(value) for value in line["losses"].values())
    assert state_of(tmp_path / "run")["critic"]


def test_the_middle_stage_alone_needs_no_critic(tmp_path, tiny_cascade):
    options = replace(CASCADE, order="invariant", adversarial=1e-3, stages=("middle",), max_steps=2)
    train(options, simulated, tmp_path / "run", run=CPU)
    assert list(log_of(tmp_path / "run")[0]["losses"]) == ["middle"]


# the perceptual loss


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg16.safetensors"
    torch.manual_seed(0)
    safetensors.torch.save_file(VGGFeatures().state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("model", "order"),
    [("direct", "canonical"), ("direct", "invariant"), ("cascade", "canonical"),
     ("cascade", "invariant")],
)  # fmt: skip
def test_the_perceptual_loss_counts(tmp_path, tiny_cascade, vgg, model, order):
    options = replace(DIRECT if model == "direct" else CASCADE, order=order)
    options = replace(options, max_steps=1, camera=IDEAL, context_blend=0.0)
    found = {}
    for weight in (0.0, 1e7):
        out = tmp_path / f"{weight}"
        train(replace(options, perceptual=weight), simulated, out, run=CPU, vgg=vgg)
        found[weight] = sum(log_of(out)[0]["losses"].values())
    assert found[1e7] > 1.01 * found[0.0]


def test_vgg_weights_are_needed_and_checked(tmp_path, vgg):
    options = replace(DIRECT, perceptual=0.1)
    with pytest.raises(OptionError, match="needs VGG16 weights"):
        train(options, simulated, tmp_path / "run", run=CPU)
    with pytest.raises(WeightsError, match="nowhere"):
        train(options, simulated, tmp_path / "run", run=CPU, vgg=tmp_path / "nowhere")
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(WeightsError, match="text"):
        train(options, simulated, tmp_path / "run", run=CPU, vgg=tmp_path / "text")


# schedule and average


def test_the_learning_rate_rises_falls_and_ends_low():
    options = TrainOptions(lr=1e-3, lr_end=1e-5, warmup=0.1)
    assert learning_rate(0.0, options) == 0
    assert learning_rate(0.05, options) == pytest.approx(5e-4)
    assert learning_rate(0.1, options) == pytest.approx(1e-3)
    assert learning_rate(0.55, options) == pytest.approx((1e-3 + 1e-5) / 2)
    assert learning_rate(1.0, options) == learning_rate(1.5, options) == pytest.approx(1e-5)
    falling = [learning_rate(0.1 + 0.09 * i, options) for i in range(11)]
    assert falling == sorted(falling, reverse=True)
    assert learning_rate(0.0, replace(options, warmup=0.0)) == pytest.approx(1e-3)
    assert learning_rate(0.5, replace(options, warmup=1.0)) == pytest.approx(5e-4)


def test_the_average_forgets_the_start_of_a_short_run():
    net = torch.nn.Linear(1, 1, bias=False)
    average = AveragedModel(net, multi_avg_fn=RampedAverage(0.999))
    for value in (100.0, *[1.0] * 60):
        torch.nn.init.constant_(net.weight, value)
        average.update_parameters(net)
    assert average.module.weight.item() == pytest.approx(1.0, abs=1e-3)


def test_the_average_reaches_its_decay():
    for count, decay in [(0, 0.1), (1, 2 / 11), (90, 0.91), (10**6, 0.99)]:
        averaged = [torch.zeros(1)]
        RampedAverage(0.99)(averaged, [torch.ones(1)], torch.tensor(count))
        assert averaged[0].item() == pytest.approx(1 - decay, abs=1e-6)


# settings


def test_settings_are_changed_by_name():
    changed = change_settings(
        TrainOptions(),
        ["ema=0.99", "minutes=5", "motion.max_path=16", "direct.channels=[8, 12]", "loss=pair",
         "max_steps=10", "motion.gammas=[1.8, 2.6]"],
    )  # fmt: skip
    assert changed == TrainOptions(
        ema=0.99,
        minutes=5.0,
        max_steps=10,
        loss="pair",
        motion=MotionOptions(max_path=16.0, gammas=(1.8, 2.6)),
        direct=DirectSpec(channels=(8, 12)),
    )
    assert isinstance(changed.minutes, float)
    assert hash(changed)  # lists have become tuples


@pytest.mark.parametrize(
    "setting",
    ["ema", "=1", "nothing=1", "motion.nothing=1", "ema.deep=1", "ema=fast", "batch=2.5",
     "batch=true", "batch=null", "motion=1", "direct.channels=8", "max_steps=ten",
     "max_steps=2.5", 'direct.channels=["a"]', "stages=middle", "model=3"],
)  # fmt: skip
def test_settings_that_make_no_sense(setting):
    with pytest.raises(OptionError):
        change_settings(TrainOptions(), [setting])


# the command


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(2):
        Image.fromarray(photo(seed).permute(1, 2, 0).numpy()).save(folder / f"{seed}.png")
    return folder


def words(photos, out, *more):
    """Arguments of a quick `blurvid train`."""
    settings = {
        "direct.channels": [8, 12], "direct.blocks": [1, 1], "motion.max_path": 4,
        "motion.source_scale": [1.0, 1.2],
        "log_every": 1,
    }  # fmt: skip
    command = ["train", "--data", str(photos), "--out", str(out), "--batch", "2", "--crop", "16"]
    command += ["--device", "cpu", "--precision", "fp32", "--threads", "1"]
    command += [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    return [*command, *map(str, more)]


def run(*arguments):
    return invoke(*words(*arguments))


def test_train_command(photos, tmp_path):
    out = tmp_path / "run"
    result = run(photos, out, "--steps", 3)
    assert result.exit_code == 0
    assert result.stdout == f"{out / WEIGHTS_FOLDER}\n"
    # where there is no terminal, progress is the log
    assert [json.loads(line) for line in result.stderr.splitlines()] == log_of(out)
    assert len(log_of(out)) == 3
    assert state_of(out)["step"] == 3

    refused = run(photos, out, "--steps", 3)
    assert refused.exit_code == 6
    assert refused.stdout == ""
    assert refused.stderr.startswith("Error: ")

    resumed = run(photos, out, "--steps", 4, "--resume", "-q")  # begins, where nothing is there
    assert resumed.exit_code == 0
    assert resumed.stderr == ""
    assert state_of(out)["step"] == 4

    further = run(photos, tmp_path / "next", "--steps", 1, "-q", "--init", out / WEIGHTS_FOLDER)
    assert further.exit_code == 0


def test_a_run_in_the_current_folder(photos, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = run(photos, ".", "--steps", 1)
    assert result.exit_code == 0
    assert weights.find(Path("weights")).name == "here"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("--init", "no-such-set"), 4),
        (("--perceptual", "0.1"), 2),
        (("--perceptual", "0.1", "--vgg", "nowhere"), 4),
        (("--set", "nothing=1"), 2),
        (("--stage", "44"), 2),
        (("--model", "other"), 2),
        (("--crop", "400"), 3),
        (("--lr", "1e30", "--steps", "9"), 1),
    ],
)
def test_train_errors(photos, tmp_path, more, code):
    result = run(photos, tmp_path / "run", "--steps", 1, *more)
    assert result.exit_code == code
    assert result.stdout == ""
    assert [line for line in result.stderr.splitlines() if line.startswith("Error: ")]


@pytest.mark.parametrize(
    "more",
    [("--batch", 0), ("--crop", 0), ("--crop", -16), ("--steps", -1), ("--minutes", -1),
     ("--lr", -1), ("--set", "log_every=0"), ("--set", "loss=other"), ("--set", "order=other"),
     ("--set", "direct.factor=0"), ("--set", "motion.covered=2")],
)  # fmt: skip
def test_train_options_out_of_range(photos, tmp_path, more):
    steps = () if more[0] == "--minutes" else ("--steps", 1)
    result = run(photos, tmp_path / "run", *steps, *more)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_missing_data(tmp_path):
    result = run(tmp_path / "nowhere", tmp_path / "run", "--steps", 1)
    assert result.exit_code == 3
    assert "nowhere: no such file or folder" in result.stderr


def test_the_options_of_the_command_are_those_of_the_library():
    named = {p.name for p in main.commands["train"].params}
    known = {field.name for field in fields(TrainOptions)} | {f.name for f in fields(RunOptions)}
    other = {"data", "out", "vgg", "init", "resume", "settings", "quiet", "help_all"}
    assert named <= known | other


# real processes


def environment(tmp_path):
    return os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "BLURVID_HOME": str(tmp_path / "home"),
    }


def wait_for(condition, process, seconds=180):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def test_a_killed_run_resumes(photos, tmp_path):
    out = tmp_path / "run"
    more = ("--steps", 100_000, "--set", "save_minutes=0")
    process = subprocess.Popen(
        [sys.executable, "-m", "blurvid", *words(photos, out, *more)],
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        log = out / LOG_FILE
        wait_for(lambda: log.exists() and log.read_text().count("\n") > 3, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()

    step = state_of(out)["step"]
    assert step >= 1
    result = run(photos, out, "--steps", step + 2, "--resume", "-q")
    assert result.exit_code == 0
    assert state_of(out)["step"] == step + 2
    weights.find(out / WEIGHTS_FOLDER).verify()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("signals", [["SIGTERM"], ["SIGTERM", "SIGINT"]])
def test_a_polite_end_saves_the_step_at_hand_and_a_second_one_does_not_wait(
    photos, tmp_path, signals
):
    def defaults():  # pytest may itself run where these are ignored
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    out = tmp_path / "run"
    more = ["--steps", 100_000, "--set", "save_minutes=1000"]
    if len(signals) > 1:  # the step at hand takes very long
        more += ["--batch", 400]
    process = subprocess.Popen(
        [sys.executable, "-m", "blurvid", *words(photos, out, *more)],
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=defaults,
    )
    try:
        done = out / (LOG_FILE if len(signals) == 1 else STATE_FILE)
        wait_for(done.exists, process)
        for name in signals:
            process.send_signal(getattr(signal, name))
            if name != signals[-1]:
                assert any("Ending after this step" in line for line in process.stderr)
        err = process.communicate(timeout=180)[1]
    finally:
        process.kill()
    assert "Traceback" not in err
    assert not [path for path in out.rglob(".blurvid-*")]
    if len(signals) > 1:
        assert process.returncode == 130
        assert state_of(out)["step"] <= 1
        return
    assert process.returncode == 143
    assert f"Saved in {out}; the same command with --resume goes on." in err
    step = state_of(out)["step"]
    assert step >= 1
    assert run(photos, out, "--steps", step + 1, "--resume", "-q").exit_code == 0
    assert state_of(out)["step"] == step + 1


def test_a_run_needs_a_folder(photos):
    result = CliRunner().invoke(main, ["train", "--data", str(photos)])
    assert result.exit_code == 2
    assert "--out" in result.stderr


@pytest.mark.parametrize("loss", ["charbonnier", "squared"])
def test_regressions_take_the_fourier_loss_beside_them(tmp_path, loss):
    options = replace(DIRECT, loss=loss, max_steps=30, log_every=10, lr=4e-3, camera=IDEAL)
    runs = []
    for weight in (0.0, 0.5):
        out = tmp_path / str(weight)
        train(replace(options, frequency=weight), Fixed, out, run=CPU)
        first, *_, last = [line["losses"]["direct"] for line in log_of(out)]
        assert last < first
        runs.append(state_of(out)["model"])
    assert not same(*runs)


def test_a_folder_of_nothing_is_an_error(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run(photos, tmp_path / "run", "--steps", 1, "--data", tmp_path / "empty")
    assert result.exit_code == 3
    assert "empty: no photos in this folder" in result.stderr

"""How the cascade can be trained: teacher forcing, its losses, and the commands."""

from __future__ import annotations

import json

import pytest
import torch
from helpers import invoke
from torch import nn
from torch.testing import assert_close

from blurvid import media
from blurvid.config import STAGES, CascadeSpec
from blurvid.errors import OptionError
from blurvid.lab import losses
from blurvid.lab.data import write_windows
from blurvid.lab.options import SynthOptions, TrainOptions
from blurvid.lab.train import check_options
from blurvid.lab.train.objective import Objective
from blurvid.models import Cascade
from blurvid.networks import FrameNet

pytestmark = pytest.mark.usefixtures("surroundings", "tiny_cascade")
TINY = CascadeSpec(width=0.0625)
QUICK = ("--device", "cpu", "--precision", "fp32", "--threads", 1)
ROWS = {
    "global": ("--order", "invariant", "--loss", "global"),
    "sequential": ("--order", "invariant", "--loss", "pair", "--set", "teacher_forcing=false"),
    "teacher forcing": ("--order", "invariant", "--loss", "pair", "--set", "context_blend=0"),
    "canonical": ("--order", "canonical", "--loss", "charbonnier", "--set", "context_blend=0"),
}
"""Ways to train: what `blurvid train --model cascade` is told besides the budget."""


def build():
    """A small cascade whose heads do something, as after some training."""
    torch.manual_seed(1)
    model = Cascade(TINY)
    for net in model.modules():
        if isinstance(net, FrameNet):
            nn.init.orthogonal_(net.head[-1].weight)
    return model


def objective(model, **options):
    plain = {"order": "invariant", "context_blend": 0.0} | options
    return Objective(model, TrainOptions(model="cascade", cascade=model.spec, **plain))


def windows(batch=2, size=20):
    x = torch.rand(batch, 7, 3, size, size)
    return x.mean(dim=1), x


# teacher forcing


def contexts_seen(monkeypatch, model, **options):
    """Contexts that each stage is shown in a training step, and what it made of them."""
    seen, made = {}, {}
    predict = model.predict

    def watched(stage, y, frames):
        seen[stage] = dict(frames)
        made[stage] = predict(stage, y, frames)
        return made[stage]

    monkeypatch.setattr(model, "predict", watched)
    y, x = windows()
    found, estimates = objective(model, **options)(y, x)
    return seen, {i: e for each in made.values() for i, e in each.items()}, found, estimates, x


def test_teacher_forcing_shows_the_true_frames(monkeypatch):
    seen, _, _, _, x = contexts_seen(monkeypatch, build())
    assert torch.equal(seen["26"][3], x[:, 2])
    assert torch.equal(seen["17"][2], x[:, 1])


def test_without_teacher_forcing_a_stage_sees_what_those_before_it_made(monkeypatch):
    model = build()
    options = {"teacher_forcing": False, "context_blend": 1.0}  # which then counts for nothing
    seen, made, found, estimates, _ = contexts_seen(monkeypatch, model, **options)
    assert [sorted(seen[stage]) for stage in STAGES] == [[], [4], [3, 4, 5], [2, 3, 4, 5, 6]]
    for contexts in seen.values():
        for i, frame in contexts.items():
            assert torch.equal(frame, made[i])
            assert not frame.requires_grad
    assert sorted(estimates) == [1, 2, 3, 4, 5, 6, 7]
    found["17"].backward()  # and teaches nobody but itself
    learned = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None}
    assert learned == {"17"}


def test_without_teacher_forcing_a_single_stage_leans_on_untrained_ones(monkeypatch):
    options = {"teacher_forcing": False, "stages": ("26",)}
    seen, _, found, estimates, _ = contexts_seen(monkeypatch, build(), **options)
    assert list(seen) == ["middle", "35", "26"]  # and not the one after it
    assert list(found) == ["26"]
    assert sorted(estimates) == [2, 6]  # so that the critic judges no others


# losses


def test_the_global_loss_takes_all_pairs_together():
    y, x = windows()
    model = build()
    found, estimates = objective(model, loss="global")(y, x)
    assert list(found) == ["middle", "others"]
    total = sum(estimates[i] - x[:, i - 1] for i in (1, 2, 3, 5, 6, 7))
    assert_close(found["others"], total.abs().mean())
    truths = {i: x[:, i - 1] for i in range(1, 8)}
    apart = [
        losses.globally_invariant({i: estimates[i], 8 - i: estimates[8 - i]}, truths)
        for i in (1, 2, 3)
    ]
    assert found["others"] < torch.stack(apart).sum()  # errors of pairs make up for each other
    found["others"].backward()
    learned = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None}
    assert learned == {"35", "26", "17"}


def test_the_global_loss_needs_all_pairs():
    for stages in (("35",), ("middle", "26", "17")):
        with pytest.raises(OptionError, match="global loss takes all pairs together"):
            objective(build(), loss="global", stages=stages)
    objective(build(), loss="global", stages=("35", "26", "17"))


# options


@pytest.mark.parametrize(
    "spec",
    [CascadeSpec(width=0.0), CascadeSpec(width=-1.0), CascadeSpec(width=float("nan")),
     CascadeSpec(width=100.0)],
)  # fmt: skip
def test_cascades_that_cannot_be_are_refused(spec):
    with pytest.raises(OptionError, match=r"cascade\.width"):
        check_options(TrainOptions(model="cascade", cascade=spec))


# the commands


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A folder of photos to train on, and one of a single window to score with."""
    root = tmp_path_factory.mktemp("material")
    generator = torch.Generator().manual_seed(0)
    for name in ("photos/0.png", "photos/1.png"):
        image = torch.rand(3, 64, 64, generator=generator)
        (root / name).parent.mkdir(exist_ok=True)
        media.write_still(image, root / name)
    (root / "clip").mkdir()
    wide = torch.rand(3, 20, 40, generator=generator)
    for index in range(7):
        media.write_still(wide[..., 7 - index : 27 - index], root / f"clip/{index}.png")
    write_windows([root / "clip"], root / "windows", SynthOptions())
    return root


def train(material, out, *more, steps=2, spec=TINY):
    settings = {"motion.max_path": 4, "motion.source_scale": [1.0, 1.2]}
    if spec:
        settings["cascade.width"] = spec.width
    return invoke(
        *("train", "--model", "cascade", "--data", material / "photos", "--out", out),
        *("--steps", steps, "--batch", 1, "--crop", 20, "-q", *QUICK),
        *(f"--set={key}={json.dumps(value)}" for key, value in settings.items()),
        *more,
    )


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_trained_and_scored(material, tmp_path, row):
    out = tmp_path / "run"
    trained = train(material, out, *ROWS[row], "--set", "log_every=1", "--lr", 0.01)
    assert trained.exit_code == 0, trained.stderr
    assert trained.stdout == f"{out / 'weights'}\n"
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    stages = ["middle", "others"] if row == "global" else list(STAGES)
    assert [list(line["losses"]) for line in log] == [stages] * 2

    scored = invoke(
        "eval", material / "windows", "--weights", out / "weights", "--json", "-q", *QUICK
    )
    assert scored.exit_code == 0, scored.stderr
    found = json.loads(scored.stdout)
    assert (found["model"], found["windows"]) == ("cascade", 1)
    assert found["mean"]["score"]["ppsnr"] != found["mean"]["blurry"]["ppsnr"]

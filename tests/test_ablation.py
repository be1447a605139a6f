"""The ablation of the paper's Fig. 4, row by row: its schemes, its losses, and its commands."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from helpers import Recorder
from torch import nn
from torch.testing import assert_close

from blurvid import media, weights
from blurvid.cli import main
from blurvid.config import STAGES, CascadeSpec
from blurvid.errors import OptionError
from blurvid.lab import losses
from blurvid.lab.data import source
from blurvid.lab.data.windows import write_windows
from blurvid.lab.options import SynthOptions, TrainOptions
from blurvid.lab.train import check_options
from blurvid.lab.train.objective import Objective
from blurvid.models import Cascade
from blurvid.models.cascade import align_pairs
from blurvid.networks import FrameNet

pytestmark = pytest.mark.usefixtures("surroundings", "tiny_cascade")
TINY = CascadeSpec(width=0.0625)
QUICK = ("--device", "cpu", "--precision", "fp32", "--threads", 1)
ROWS = {
    "independent": (
        *("--order", "invariant", "--loss", "independent"),
        *("--set", "cascade.contexts=none"),
    ),
    "global": ("--order", "invariant", "--loss", "global", "--set", "cascade.contexts=none"),
    "pairwise": ("--order", "invariant", "--loss", "pair", "--set", "cascade.contexts=none"),
    "pairwise with middle": (
        *("--order", "invariant", "--loss", "pair", "--set", "cascade.contexts=middle"),
        *("--set", "teacher_forcing=false"),
    ),
    "sequential": ("--order", "invariant", "--loss", "pair", "--set", "teacher_forcing=false"),
    "teacher forcing": ("--order", "invariant", "--loss", "pair", "--set", "context_blend=0"),
    "canonical": ("--order", "canonical", "--loss", "charbonnier", "--set", "context_blend=0"),
}
"""Rows of the ablation: what `blurvid train --model cascade` is told besides the budget."""


def build(contexts="sequential"):
    """A small cascade whose heads do something, as after some training."""
    torch.manual_seed(1)
    model = Cascade(replace(TINY, contexts=contexts))
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


# what the networks of a scheme see


@pytest.mark.parametrize(("contexts", "anchor"), [("none", -1), ("middle", 4)])
def test_pairwise_schemes_see_no_other_pair(contexts, anchor):
    cascade = Cascade(replace(TINY, contexts=contexts))
    core = {"3": Recorder(300), "5": Recorder(500)}
    shared = {"26": Recorder(2000), "17": Recorder(1000)}
    cascade.stages = nn.ModuleDict({"middle": Recorder(400), "35": nn.ModuleDict(core), **shared})
    y, frames = torch.tensor(-1.0), {i: torch.tensor(float(i)) for i in range(1, 8)}

    found = {}
    for stage in STAGES:
        found |= {i: x.item() for i, x in cascade.predict(stage, y, frames).items()}

    assert list(found) == [4, 3, 5, 2, 6, 1, 7]
    assert core["3"].seen == [(-1, anchor, anchor)]
    assert core["5"].seen == [(-1, found[3], anchor)]  # the second sees what the first chose
    assert shared["26"].seen == [(-1, anchor, anchor), (-1, found[2], anchor)]
    assert shared["17"].seen == [(-1, anchor, anchor), (-1, found[1], anchor)]


def test_all_schemes_have_the_same_parameters():
    shapes = [
        {name: value.shape for name, value in build(contexts).state_dict().items()}
        for contexts in ("sequential", "middle", "none")
    ]
    assert shapes[0] == shapes[1] == shapes[2]


@torch.no_grad()
def test_pairs_are_turned_until_time_runs_smoothly():
    base, drift = torch.rand(2, 3, 3, 4, 4)  # three images that drift from frame to frame
    frames = {i: base + (i - 4) * drift for i in range(1, 8)}
    mixed = {i: frame.clone() for i, frame in frames.items()}
    for image, i in ((0, 2), (1, 1), (1, 2)):  # each image has pairs of its own turned around
        mixed[i][image], mixed[8 - i][image] = frames[8 - i][image], frames[i][image]
    aligned = align_pairs(mixed)
    assert all(torch.equal(aligned[i], frames[i]) for i in frames)
    # the pair (3, 5), whichever way it runs, sets the direction
    back = align_pairs({**mixed, 3: frames[5], 5: frames[3]})
    assert all(torch.equal(back[i], frames[8 - i]) for i in frames)


@pytest.mark.parametrize("contexts", ["middle", "none"])
@torch.no_grad()
def test_a_pairwise_cascade_gives_its_frames_in_a_smooth_order(contexts):
    y = torch.rand(2, 3, 20, 20)
    model = build(contexts)
    frames = {}
    for stage in STAGES:
        frames |= model.predict(stage, y, frames)
    found = model(y)
    expected = align_pairs(frames)
    assert torch.equal(found, torch.stack([expected[i] for i in range(1, 8)], dim=1))
    assert torch.equal(found[:, 3], frames[4])


# teacher forcing


def contexts_seen(monkeypatch, model, **options):
    """Contexts that each stage is shown in a training step, and what it made of them."""
    seen, made = {}, {}
    predict = model.predict

    def watched(stage, y, frames, **how):
        seen[stage] = dict(frames)
        made[stage] = predict(stage, y, frames, **how)
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
    model = build("none")
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
            objective(build("none"), loss="global", stages=stages)
    objective(build("none"), loss="global", stages=("35", "26", "17"))


@pytest.mark.parametrize(("loss", "alone"), [("independent", True), ("pair", False)])
def test_independent_frames_are_not_bent_for_the_sake_of_others(loss, alone):
    y, x = windows()
    model = build("none")
    third, fifth = model.stages["35"]["3"], model.stages["35"]["5"]
    found, estimates = objective(model, loss=loss, stages=("35",))(y, x)
    if alone:
        assert_close(found["35"], sum((estimates[i] - x[:, i - 1]).square().mean() for i in (3, 5)))
    reached = torch.autograd.grad(
        estimates[5].sum(), [*third.parameters(), *fifth.parameters()], allow_unused=True
    )
    assert all(g is None for g in reached[: len(list(third.parameters()))]) is alone


# options


@pytest.mark.parametrize(
    "spec",
    [CascadeSpec(width=0.0), CascadeSpec(width=-1.0), CascadeSpec(width=float("nan")),
     CascadeSpec(width=100.0), CascadeSpec(contexts="all")],
)  # fmt: skip
def test_cascades_that_cannot_be_are_refused(spec):
    with pytest.raises(OptionError, match="cascade: "):
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
        media.write_png(image, root / name)
    (root / "clip").mkdir()
    wide = torch.rand(3, 20, 40, generator=generator)
    for index in range(7):
        media.write_png(wide[..., 7 - index : 27 - index], root / f"clip/{index}.png")
    write_windows([root / "clip"], root / "windows", SynthOptions())
    return root


def run(*words):
    result = CliRunner().invoke(main, list(map(str, words)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def train(material, out, *more, steps=2, spec=TINY):
    settings = {"motion.max_path": 4, "motion.source_scale": [1.0, 1.2]}
    if spec:
        settings["cascade.width"] = spec.width
    return run(
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

    scored = run("eval", material / "windows", "--weights", out / "weights", "--json", "-q", *QUICK)
    assert scored.exit_code == 0, scored.stderr
    found = json.loads(scored.stdout)
    assert (found["model"], found["windows"]) == ("cascade", 1)
    assert found["mean"]["score"]["ppsnr"] != found["mean"]["blurry"]["ppsnr"]


def test_a_scheme_stays_with_its_weights(material, tmp_path):
    first = tmp_path / "first"
    middle = ("--set", "cascade.contexts=middle")
    assert train(material, first, *middle).exit_code == 0
    saved = weights.find(first / "weights")
    weights.verify(saved)
    assert saved.info["spec"] == {"width": 0.0625, "contexts": "middle"}
    assert saved.info["recipe"]["cascade"] == saved.info["spec"]
    assert weights.load(saved).spec == CascadeSpec(0.0625, "middle")

    # nothing asked for: the shape is taken over
    for out, steps, more in (
        (tmp_path / "next", 1, ("--init", saved.path)),
        (first, 3, ("--resume",)),
    ):
        result = train(material, out, *more, steps=steps, spec=None)
        assert result.exit_code == 0, result.stderr
        assert weights.load(weights.find(out / "weights")).spec == CascadeSpec(0.0625, "middle")
    history = weights.find(first / "weights").info["recipe"]["history"]
    assert history == [{"until_step": 2, "options": {"max_steps": 2}}]
    # another one asked for: refused in one line
    for out, more, code in (
        (tmp_path / "other", ("--init", saved.path), 2),
        (first, ("--resume",), 3),
    ):
        result = train(material, out, *more, "--set", "cascade.contexts=none", spec=None)
        assert result.exit_code == code
        (line,) = result.stderr.splitlines()
        assert "cascade.contexts is 'middle' there, not 'none'" in line


@pytest.mark.parametrize("order", ["canonical", "invariant"])
def test_without_a_canonical_order_directions_are_random(material, monkeypatch, order):
    seen = []

    def simulated(pool, motion, *rest):
        seen.append(motion.order)

    def stored(windows, device, order, *rest, **more):
        seen.append(order)

    monkeypatch.setattr(source, "SimulatedSource", simulated)
    monkeypatch.setattr(source, "WindowSource", stored)
    options = TrainOptions(model="cascade", order=order, loss="independent")
    for kind in ("photos", "windows"):
        source.open_source([material / kind], options, torch.device("cpu"))
    assert seen == ["canonical" if order == "canonical" else "random"] * 2

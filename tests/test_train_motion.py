"""Training of the motion model: data with known paths, losses, validation, whole runs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from helpers import invoke
from test_train import CPU, interrupted, log_of, state_of
from torch.testing import assert_close

from blurvid import weights
from blurvid.config import FRAMES, MIDDLE, MaximSpec, MotionModelSpec, MotionSpec, RestoreSpec
from blurvid.errors import InputError, OptionError
from blurvid.exposure import TIMES, displacement, sample
from blurvid.lab.data import Window, measured
from blurvid.lab.data.measured import MeasuredWindows, held_out, paths_of
from blurvid.lab.data.source import StillPool, TrainingSource, direction
from blurvid.lab.options import PathOptions, recipe_of
from blurvid.lab.train import SCORES_FILE, STATE_FILE, WEIGHTS_FOLDER, train
from blurvid.lab.train.objective import MovingObjective, validate
from blurvid.lab.train.settings import check_options
from blurvid.lab.train.state import load_state
from blurvid.media import write_still
from blurvid.models import GivenPicture, MotionModel, build
from blurvid.networks.motion import MotionNet
from blurvid.networks.one_frame import OneFrame
from blurvid.networks.restore import RestoreNet
from blurvid.weights import store

pytestmark = pytest.mark.usefixtures("surroundings")
DEVICE = torch.device("cpu")
SMALL = MotionModelSpec(
    MotionSpec(channels=(4, 8, 8, 8, 8), blocks=(1, 1, 1, 1), reach=2.0),
    RestoreSpec(channels=(8, 8, 8), blocks=(1, 1, 1), carried=4, kernel=3),
)
PATHS = PathOptions(middle="tiny", validated=1)
RECIPE = recipe_of("motion")
OPTIONS = replace(
    RECIPE,
    motion=replace(RECIPE.motion, max_path=6.0),
    networks=SMALL,
    paths=PATHS,
    batch=4,
    crop=32,
    max_steps=5,
    log_every=1,
)


class Copied(OneFrame):
    """A deblurrer that changes nothing."""

    def forward(self, y):
        return y.unsqueeze(1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def textured(*shape, seed=0):
    *_, height, width = shape
    coarse = torch.rand(shape[0], 3, height // 4, width // 4, generator=generator(seed))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def panned(speed, seed=0, size=(64, 96)):
    """Seven frames whose content moves to the right by `speed` px a frame, (7, 3, H, W)."""
    height, width = size
    wide = textured(1, 3, height, width + 40, seed=seed)
    shift = torch.zeros(1, 2, height, width + 40)
    rows = []
    for t in range(FRAMES):
        shift[:, 0] = -speed * (t - MIDDLE + 1)
        rows.append(sample(wide, shift, "bicubic")[0, :, :, 20:-20].clamp(0, 1))
    return torch.stack(rows)


def clips(count=4, speed=1.0):
    frames = [panned(speed, seed) for seed in range(count)]
    return [
        Window(
            {"window": f"clip{i}_0", "clip": f"clip{i}", "frames": [0] * FRAMES},
            lambda: None,
            lambda x=x: x,
        )
        for i, x in enumerate(frames)
    ]


@pytest.fixture
def tiny():
    """A deblurrer of few channels, which changes nothing yet."""
    made = build("maxim", MaximSpec(stages=1, features=4))
    place = weights.cache_dir() / "weights/tiny"
    store.save(made, place, name="tiny", recipe={}, data="", scores={}, licence="")


def source(device=DEVICE, options=OPTIONS, kept=0):
    windows = clips()
    return TrainingSource(
        MeasuredWindows(windows[kept:], device),
        MeasuredWindows(windows[:kept], device) if kept else None,
        StillPool([(textured(1, 3, 80, 80)[0] * 255).to(torch.uint8)], device),
        Copied(),
        options,
    )


# windows


@pytest.mark.parametrize("speed", [1.0, -1.5])
def test_paths_of_a_pan_are_how_far_it_goes(speed):
    frames = (panned(speed) * 255).round().to(torch.uint8)
    path = paths_of([frames])[0][..., 6:-6, 8:-8]
    assert_close(path.mean((1, 2)), torch.tensor([-3 * speed, 0, 0, 0]), atol=0.15, rtol=0)


def test_measured_paths_are_kept(monkeypatch):
    windows = clips(2)
    first = MeasuredWindows(windows, DEVICE)
    monkeypatch.setattr("blurvid.lab.data.measured.paths_of", None)
    second = MeasuredWindows(windows, DEVICE)
    assert all(map(torch.equal, first.paths, second.paths))


def test_windows_beyond_what_memory_holds_lie_in_files(monkeypatch):
    held = MeasuredWindows(clips(3), DEVICE)
    monkeypatch.setattr(measured, "MEMORY", held.frames[0].nbytes)
    filing, filed_away = measured._on_disk, []
    monkeypatch.setattr(measured, "_on_disk", lambda x: filed_away.append(x) or filing(x))
    filed = MeasuredWindows(clips(3), DEVICE)
    assert len(filed_away) == 2
    for one, other in zip(
        held.draw(4, 32, generator()), filed.draw(4, 32, generator()), strict=True
    ):
        assert torch.equal(one, other)


def test_crops_from_afar_move_less(monkeypatch):
    windows = MeasuredWindows(clips(1), DEVICE)
    monkeypatch.setattr(measured, "FAR", 0.0)
    near = windows.draw(6, 32, generator())[1]
    monkeypatch.setattr(measured, "FAR", 1.0)
    monkeypatch.setattr(measured, "SCALE", (0.5, 0.5))
    far = windows.draw(6, 32, generator())[1]
    assert_close(2 * far.abs().mean(), near.abs().mean(), atol=0.3, rtol=0)
    with pytest.raises(InputError, match="96x64 px is smaller than the crop of 80 px"):
        windows.draw(1, 80, generator())


def test_whole_clips_are_held_out():
    windows = [
        replace(w, record=w.record | {"window": f"{w.clip}_{i}"})
        for w in clips(9, 0.0)
        for i in range(8)
    ]
    training, kept = held_out(windows, replace(PATHS, validated=2))
    assert not {w.clip for w in training} & {w.clip for w in kept}
    assert [w.name for w in kept] == ["clip7_0", "clip7_6"]
    training, kept = held_out(windows, replace(PATHS, held_out=("clip1", "clip3")))
    assert {w.clip for w in kept} == {"clip1", "clip3"} and len(training) == 56
    with pytest.raises(InputError, match="no clip named 'x'"):
        held_out(windows, replace(PATHS, held_out=("x",)))


# batches


def test_batches_hold_both_and_go_to_the_right():
    y, x, m, path, looks = source().draw(10, 32, generator())
    assert y.shape == m.shape == (10, 3, 32, 32) and x.shape == (10, 7, 3, 32, 32)
    assert path.shape == (10, 4, 32, 32)
    assert looks.tolist() == [7] * 7 + [21] * 3
    assert (direction(path) == 1).all()
    assert_close((y * 255).round() / 255, y)
    # where the path leads, the frames are: also after mirroring and turning time around
    errors = [
        (sample(x[:, 3], displacement(path, s * TIMES[6])) - x[:, 6])[:7, ..., 8:-8, 8:-8]
        for s in (1, -1)
    ]
    right, wrong = (error.square().mean() for error in errors)
    assert right < 0.2 * wrong


# losses


def model():
    torch.manual_seed(0)
    return MotionModel(
        GivenPicture(torch.empty(3, 1, 1)), MotionNet(SMALL.motion), RestoreNet(SMALL.restore)
    )


@pytest.mark.parametrize("stages", [("motion",), ("restore",), ("motion", "restore")])
def test_each_network_learns_from_its_losses(stages):
    net = model()
    objective = MovingObjective(net, replace(OPTIONS, stages=stages))
    objective.at(0.2)
    found, _ = objective(*source().draw(4, 32, generator()))
    torch.stack(list(found.values())).sum().backward()
    assert all(loss.isfinite() for loss in found.values())
    for name, part in (("motion", net.motion), ("restore", net.restoration)):
        assert any(p.grad is not None for p in part.parameters()) == (name in stages)


def test_restoration_teaches_the_motion_network_late():
    net = model()
    for layer in (net.restoration.picture, net.restoration.leave):
        torch.nn.init.normal_(layer.weight, std=0.01)
    options = replace(OPTIONS, paths=replace(PATHS, true_motion=0.0))
    objective, batch = MovingObjective(net, options), source().draw(4, 32, generator())
    for progress, expected in ((0.2, False), (0.8, True)):
        objective.at(progress)
        found = objective(*batch)[0]
        taught = torch.autograd.grad(found["restored"], net.motion.head.weight, allow_unused=True)[
            0
        ]
        assert (taught is not None) == expected


def test_an_untrained_model_is_worth_its_middle_frames():
    batches = list(source(kept=2).validation())
    scores = validate(model(), batches, torch.float32)
    assert scores["picture"] == pytest.approx(scores["middle"], abs=1e-4)
    assert scores["frames_true"] == pytest.approx(scores["warped_true"], abs=1e-4)
    assert scores["warped_true"] > scores["blurry"]
    assert validate(model(), [], torch.float32) == {}


# runs


def test_the_losses_of_a_run_go_down(tmp_path):
    batch = source().draw(4, 32, generator())

    class Fixed:
        def draw(self, count, size, generator):
            return batch

        def validation(self):
            return iter(())

        def describe(self):
            return "one batch"

    options = replace(OPTIONS, max_steps=30, lr=4e-3, weight_decay=0.0)
    options = replace(options, paths=replace(options.paths, true_motion=1.0))
    train(options, lambda device: Fixed(), tmp_path / "run", run=CPU)
    first, *_, last = [line["losses"] for line in log_of(tmp_path / "run")]
    assert sum(last.values()) < 0.9 * sum(first.values())
    assert last["restored"] < first["restored"]


def test_a_run_goes_on_and_scores_what_it_never_saw(tmp_path, tiny):
    parts = tmp_path / "parts"
    options = replace(OPTIONS, save_minutes=0.0, max_steps=4)

    def make(device):
        return source(device, options, kept=1)

    with pytest.raises(KeyboardInterrupt):
        train(options, make, parts, run=CPU, on_step=interrupted(3))
    assert state_of(parts)["step"] == 2
    train(options, make, parts, run=CPU, resume=True)
    assert [line["step"] for line in log_of(parts)] == [1, 2, 3, 4]
    scores = [json.loads(line) for line in (parts / SCORES_FILE).read_text().splitlines()]
    assert scores[-1]["step"] == 4 and scores[-1]["frames"] > 10

    found = weights.find(parts / WEIGHTS_FOLDER)
    assert found.middle == "tiny" and set(found.info["files"]) == {"motion", "restore"}
    assert found.info["scores"]["validation"]["frames"] > 10
    loaded = store.load(found)
    assert isinstance(loaded, MotionModel) and loaded.middle.name == "maxim"
    assert not any(name.startswith("middle") for name in load_state(parts / STATE_FILE)["model"])

    further = replace(options, stages=("restore",), max_steps=1, networks=MotionModelSpec())
    train(further, make, tmp_path / "next", run=CPU, initial=found)
    after = state_of(tmp_path / "next")["model"]
    stored = loaded.state_dict()
    assert all(torch.equal(after[n], stored[n]) for n in after if n.startswith("motion."))


def test_the_command(tmp_path, tiny):
    (tmp_path / "photos").mkdir()
    for i in range(2):
        write_still(textured(1, 3, 90, 90, seed=i)[0], tmp_path / f"photos/{i}.png")
    for clip in range(2):
        for i, frame in enumerate(panned(1.0, clip)):
            (tmp_path / f"clips/c{clip}/frames").mkdir(parents=True, exist_ok=True)
            write_still(frame, tmp_path / f"clips/c{clip}/frames/{i}.png")
    made = invoke("synth", str(tmp_path / "clips"), "--output", str(tmp_path / "windows"))
    assert made.exit_code == 0, made.stderr
    settings = {
        "networks.motion.channels": [4, 8, 8, 8, 8], "networks.motion.blocks": [1, 1, 1, 1],
        "networks.motion.reach": 2.0, "networks.restore.channels": [8, 8, 8],
        "networks.restore.blocks": [1, 1, 1], "networks.restore.carried": 4,
        "paths.middle": "tiny", "motion.max_path": 6.0, "log_every": 1,
        "paths.held_out": ["c1"],
    }  # fmt: skip
    words = ["train", "--model", "motion", "--data", str(tmp_path / "windows"), "--data"]
    words += [str(tmp_path / "photos"), "--out", str(tmp_path / "run"), "--steps", "2"]
    words += ["--batch", "4", "--crop", "32", "--device", "cpu", "--precision", "fp32"]
    words += [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    result = invoke(*words)
    assert result.exit_code == 0, result.stderr
    assert len(log_of(tmp_path / "run")) == 2
    found = weights.find(tmp_path / "run" / WEIGHTS_FOLDER)
    assert found.info["data"] == (
        "1 windows of 1 clips and 2 still photos under simulated motion; 1 windows of 1 other "
        "clips for validation"
    )
    assert found.info["recipe"]["camera"]["quality"] == [30.0, 97.0]
    words[words.index(str(tmp_path / "run"))] = str(tmp_path / "next")
    only = invoke(*words, "--init", str(found.path), "--stage", "restore")
    assert only.exit_code == 0, only.stderr
    assert log_of(tmp_path / "next")[0]["losses"].keys() == {"restored", "frequency", "picture"}


@pytest.mark.parametrize(
    "change",
    [
        {"stages": ("middle",)}, {"adversarial": 0.1}, {"loss": "pair"}, {"order": "invariant"},
        {"windows": 2.0}, {"paths": replace(PATHS, joined=2.0)},
        {"paths": replace(PATHS, warped=-1.0)},
    ],
)  # fmt: skip
def test_impossible_runs_are_refused(change):
    check_options(OPTIONS)
    with pytest.raises(OptionError):
        check_options(replace(OPTIONS, **change))

"""What is done besides one plain pass: mirrored passes."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from helpers import Whole, extractor_of, invoke
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

import blurvid
from blurvid import media, models, pipeline
from blurvid.cli import main, values
from blurvid.config import QUALITIES, DirectSpec, RunOptions
from blurvid.errors import OptionError
from blurvid.exposure import average_frames
from blurvid.models.ensemble import SelfEnsemble, order_agreement
from blurvid.networks import DirectNet, FrameNet
from blurvid.recipe import Choices, Recipe
from blurvid.weights import store

CPU = RunOptions(device="cpu", precision="fp32", threads=1)
GAMMAS = [1.0, 2.2, "srgb"]
LEVEL = 1 / 255


# mirrored passes


class Moving(Whole):
    """A model that moves y a pixel a frame; `dx` and `dy` say where."""

    name, size_multiple = "moving", 1

    def __init__(self, dx=0, dy=0, turned=()):
        self.shift, self.turned, self.calls = (dy, dx), turned, 0

    def __call__(self, y):
        steps = range(-3, 4)
        frames = [y.roll([k * s for s in self.shift], dims=(-2, -1)) for k in steps]
        found = torch.stack(frames, dim=1)
        self.calls += 1
        return found.flip(1) if self.calls in self.turned else found


@pytest.mark.parametrize("passes", [1, 2, 4])
@pytest.mark.parametrize("motion", [{"dx": 1}, {"dy": 1}, {"dx": 1, "turned": (2, 4)}])
def test_answers_are_turned_to_one_order_of_time(passes, motion):
    y = torch.rand(1, 3, 12, 16)
    model = Moving(**motion)
    frames = SelfEnsemble(model, passes)(y)
    assert model.calls == passes
    assert_close(frames, Moving(**motion)(y))


def test_a_batch_is_turned_one_by_one():
    class Fickle(Moving):
        def __call__(self, y):
            frames = super().__call__(y)
            return frames if y[0, 0, 0, 0] + y[0, 0, 0, -1] < 1 else frames.flip(1)

    y = torch.rand(2, 3, 12, 16)
    y[0, 0, 0, [0, -1]], y[1, 0, 0, [0, -1]] = 0.1, 0.9
    frames = SelfEnsemble(Fickle(dx=1), 2)(y)
    expected = Moving(dx=1)(y)
    assert_close(frames[0], expected[0])
    assert_close(frames[1], expected[1].flip(0))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_the_nearer_order_is_the_one_taken(seed):
    g = torch.Generator().manual_seed(seed)
    frames, reference = torch.rand(2, 7, 1, 3, 3, generator=g)
    ahead = (frames - reference).square().sum().item()
    behind = (frames.flip(0) - reference).square().sum().item()
    assert order_agreement(frames, reference) == pytest.approx((behind - ahead) / 2, abs=1e-5)


def test_errors_that_are_not_mirrored_average_out():
    ramp = torch.linspace(-0.1, 0.1, 16)

    class Slanted(Moving):
        def __call__(self, y):
            return super().__call__(y) + ramp + ramp[:12, None]

    y = torch.rand(1, 3, 12, 16)
    truth = Moving(dx=1)(y)
    errors = [
        (SelfEnsemble(Slanted(dx=1), passes)(y) - truth).square().mean() for passes in (1, 2, 4)
    ]
    assert errors[1] < 0.7 * errors[0]
    assert errors[2] < 0.7 * errors[1]


def test_other_numbers_of_passes_are_refused():
    with pytest.raises(OptionError, match="1, 2, 4, not 3"):
        SelfEnsemble(Moving(), 3)


# the pipeline


def save(net, folder, recipe):
    return store.save(
        net, folder, name=folder.name, recipe=recipe, data="", scores={}, licence="MIT"
    )


@pytest.fixture(scope="module")
def direct(tmp_path_factory):
    torch.manual_seed(0)
    net = DirectNet(DirectSpec(channels=(8, 12), blocks=(1, 1)))
    nn.init.normal_(net.head.weight, 0, 0.02)
    return save(net, tmp_path_factory.mktemp("sets") / "tiny", {"crop": 96})


@pytest.fixture
def cascade(tiny_cascade, tmp_path):
    net = models.Cascade()
    for module in net.modules():
        if isinstance(module, FrameNet):
            nn.init.normal_(module.head[-1].weight, 0, 0.05)
    return save(net, tmp_path / "slim", {"phases": [{}, {"crop": 20}]})


def run(weight_set, y, **quality):
    with pipeline.extractor(weight_set, CPU, **quality) as ready:
        return ready.frames(y).frames


def test_passes_of_a_real_network(direct):
    y = torch.rand(3, 24, 32)
    network = store.load(direct)
    with torch.no_grad():
        plain = network(y[None])[0]
        mirrored = network(y[None].flip(-1))[0].flip(-1)
    near = min(mirrored, mirrored.flip(0), key=lambda x: (x - plain).square().sum())
    assert_close(run(direct, y, passes=2), ((plain + near) / 2).clamp(0, 1))
    assert not torch.equal(run(direct, y, passes=4), run(direct, y, passes=2))


def test_a_clip_tells_what_was_done(direct):
    photo = torch.rand(3, 16, 24)
    clip = blurvid.extract(photo, weights_name=direct, run=CPU, passes=2)
    assert clip.recipe.passes == 2
    assert clip.trust().reasons == ("still",)  # the weights are untrained
    assert clip.warnings == ()
    assert clip.verdict is not None and clip.verdict.level == "none"
    reblur = average_frames(clip.tensor, 2.2)
    expected = -10 * (reblur - photo).square().mean().log10()
    assert clip.reblur_psnr == pytest.approx(float(expected), abs=1e-3)


@pytest.mark.parametrize("wrong", [{"passes": 3}, {"passes": 0}])
def test_options_out_of_range_are_refused(direct, wrong):
    name, value = next(iter(wrong.items()))
    with pytest.raises(OptionError, match=name) as error:
        run(direct, torch.rand(3, 8, 8), **wrong)
    assert str(value) in str(error.value)


def test_half_precision_that_overflows_in_a_later_pass_is_redone_whole():
    class Overflowing(Moving):
        def __call__(self, y):
            found = super().__call__(y)
            half = torch.is_autocast_enabled("cpu")
            return found * torch.inf if half and self.calls == 2 else found

    model = Overflowing(dx=1)
    ready = extractor_of(model, "m", torch.device("cpu"), torch.bfloat16, passes=2)
    y = torch.rand(3, 12, 16)
    found = ready.frames(y)
    assert (found.dtype, model.calls) == (torch.float32, 4)
    assert_close(found.frames, Moving(dx=1)(y[None])[0])


# the command line


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    media.write_still(torch.rand(3, 24, 32), path)
    return path


def test_extract_does_what_it_is_told_and_says_so(direct, photo, tmp_path):
    command = ("extract", photo, "-o", tmp_path / "frames", "--weights", direct.path)
    command += ("--format", "png")
    flags = ("--threads=1", "--precision=fp32", "--device=cpu", "--json", "-v")
    result = invoke(*command, *flags, "--quality", "best")
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    assert record["quality"] == {"passes": 4, "scale": "auto"}
    assert "4 passes, re-blur" in result.stderr

    y = media.read_photo(photo).pixels
    expected = media.to_uint8(run(direct, y, passes=4))
    for path, frame in zip(record["outputs"], expected, strict=True):
        assert_close(media.read_photo(path).pixels * 255, _tensor(frame), rtol=0, atol=0.01)

    plain = invoke(*command, *flags, "--overwrite")
    assert json.loads(plain.stdout)["quality"] == {"passes": 1, "scale": "auto"}


def _tensor(frame):
    return torch.from_numpy(frame).permute(2, 0, 1).float()


def test_eval_takes_the_same_options(cascade, tmp_path):
    clip = tmp_path / "street_1"
    clip.mkdir()
    image = torch.rand(3, 20, 40)
    for index in range(7):
        media.write_still(image.roll(index, dims=2), clip / f"{index}.png")
    command = ("eval", clip, "--weights", cascade.path, "-q", "--threads=1", "--device=cpu")
    quality = ("--quality", "good")

    record = json.loads(invoke(*command, *quality, "--json").stdout)
    assert record["quality"] == {"passes": 2, "scale": "auto"}
    assert "2 passes" in invoke(*command, *quality).stdout


@pytest.mark.parametrize("command", ["extract", "eval"])
def test_the_defaults_are_those_of_the_library(command):
    found = main.commands[command].make_context(command, ["photo"]).params
    usual = {field.name: field.default for field in dataclasses.fields(Recipe)}
    chosen = values.picked(Choices, found, set())
    assert chosen.keys() >= {"passes", "scale"}
    assert chosen == {name: usual[name] for name in chosen}


def test_every_quality_has_passes_that_exist():
    for passes in QUALITIES.values():
        SelfEnsemble(Moving(), passes)

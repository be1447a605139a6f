"""BDIRNet: its modules, its losses, what it is trained on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from blurvid import weights
from blurvid.config import BDIRSpec, DirectSpec, RunOptions
from blurvid.errors import OptionError, WeightsError
from blurvid.lab import losses
from blurvid.lab.data import SimulatedSource, StillPool
from blurvid.lab.data.kinds import KindSource
from blurvid.lab.options import KindOptions, MotionOptions, TrainOptions
from blurvid.lab.synth import KINDS, blur, reach
from blurvid.lab.synth.kinds import convolve, rotations, turn, walk_kernels
from blurvid.lab.train import train
from blurvid.lab.train.settings import check_options
from blurvid.lab.train.state import load_state
from blurvid.lab.train.views import ViewObjective
from blurvid.models import build
from blurvid.networks import SAID, SAIR, BDIRNet, DirectNet, DistillNet, RecNet
from blurvid.networks.bdirnet import local_statistics
from blurvid.runtime import autocast

pytestmark = pytest.mark.usefixtures("surroundings")
CPU = RunOptions(device="cpu", precision="fp32", threads=1)
TINY = BDIRSpec(factor=2, channels=(8, 12), blocks=(1, 1), rec_blocks=1)
SHORT = MotionOptions(max_path=4, layers=1, max_turn=0.5, max_zoom=0.01, source_scale=(1.0, 1.2))
WEAK = KindOptions(walk=(2.0, 6.0), turn=(2.0, 6.0), sigma=(0.5, 1.0))
MIXED = replace(WEAK, average=1.0, kernel=1.0, rotation=1.0, gaussian=1.0, sharp=1.0)
RUN = TrainOptions(
    model="bdirnet", bdirnet=TINY, motion=SHORT, kinds=MIXED, batch=3, crop=16, max_steps=6,
    reuse=1, log_every=1, warmup=0.2,
)  # fmt: skip


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def photo(size=64):
    """Something with edges: random squares."""
    cells = torch.rand(3, 8, 8, generator=generator())
    return cells.repeat_interleave(size // 8, 1).repeat_interleave(size // 8, 2)


def simulated(device="cpu"):
    pool = StillPool([(photo(96) * 255).to(torch.uint8)], torch.device(device))
    return SimulatedSource(pool, SHORT)


def kinds(device):
    return KindSource(simulated(device), MIXED, SHORT.gammas, views=True)


def awake(net):
    """Give what is zero at the start values, so that all parts matter."""
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return net.eval()


# Modules


@pytest.mark.parametrize("side", [1, 3, 4, 9, 100])
def test_local_statistics_are_those_of_the_square_around(side):
    x = torch.rand(2, 3, 9, 7) * 5 + 100
    mean, deviation = (s.expand_as(x) for s in local_statistics(x, side))
    tall, wide = min(side, 9), min(side, 7)
    if side >= 9:
        tall, wide = 9, 7
    for row, column in ((0, 0), (4, 3), (8, 6), (1, 5)):
        top = min(max(row - tall // 2, 0), 9 - tall)
        left = min(max(column - wide // 2, 0), 7 - wide)
        seen = x[..., top : top + tall, left : left + wide].double()
        assert_close(mean[..., row, column].double(), seen.mean((-2, -1)), rtol=1e-5, atol=1e-4)
        if tall * wide > 1:
            expected = seen.var((-2, -1), correction=0).sqrt()
            assert_close(deviation[..., row, column].double(), expected, rtol=1e-3, atol=1e-3)


def test_said_with_open_gates_changes_nothing():
    said = SAID(6, 100)
    torch.nn.init.constant_(said.excite.bias, 30.0)
    x = torch.randn(2, 6, 8, 8) * 3 + 1
    assert_close(said(x), x, rtol=1e-4, atol=1e-4)


def test_said_with_closed_gates_forgets_the_statistics():
    said = SAID(6, 100)
    torch.nn.init.constant_(said.excite.bias, -30.0)
    with torch.no_grad():
        said.mean.fill_(2.0)
        said.log_deviation.fill_(torch.tensor(0.5).log())
    x = torch.randn(2, 6, 8, 8)
    found = said(x * 7 - 3)
    assert_close(found, said(x), rtol=1e-3, atol=1e-3)
    deviation, mean = torch.std_mean(found, dim=(-2, -1), correction=0)
    assert_close(mean, torch.full_like(mean, 2.0), rtol=0, atol=1e-3)
    assert_close(deviation, torch.full_like(deviation, 0.5), rtol=0, atol=1e-2)


def test_sair_mixes_in_what_is_normalized_and_modulated():
    sair = SAIR(4, 5, 100)
    x, content = torch.randn(1, 4, 8, 8) * 3 + 1, torch.randn(1, 5, 2, 2)
    normal = F.instance_norm(x, eps=0)
    share = torch.sigmoid(torch.tensor(-2.0))
    assert_close(sair(x, content), torch.lerp(x, normal, share), rtol=1e-3, atol=1e-3)
    torch.nn.init.zeros_(sair.mix.weight)
    torch.nn.init.ones_(sair.mix.bias)
    torch.nn.init.zeros_(sair.modulate.weight)
    with torch.no_grad():
        sair.share.fill_(30.0)
        sair.modulate.bias[:4] = 1.0  # scales
        sair.modulate.bias[4:] = 0.25  # shifts
    assert_close(sair(x, content), 2 * normal + 0.25, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("spec", [TINY, replace(TINY, distill=False, reconstruct=False, skip=1)])
def test_an_untrained_network_returns_what_it_skips(spec):
    net = BDIRNet(spec)
    y = torch.rand(2, 3, 24, 20)
    assert_close(net(y)[:, 0], net.skipped(y))
    if spec.skip == 1:
        assert net.skipped(y) is y


@given(height=st.integers(1, 9), width=st.integers(1, 9), batch=st.integers(1, 2))
@settings(max_examples=10, deadline=None)
def test_any_size_that_is_a_multiple(height, width, batch):
    net = awake(BDIRNet(replace(TINY, window=12)))
    m = net.size_multiple
    y = torch.rand(batch, 3, height * m, width * m)
    with torch.no_grad():
        out = net(y)
    assert out.shape == (batch, 1, *y.shape[1:])
    assert out.isfinite().all()


def test_flat_images_and_bfloat16_are_finite():
    net = awake(BDIRNet(TINY))
    with torch.no_grad():
        assert net(torch.zeros(1, 3, 32, 32)).isfinite().all()
        y = torch.rand(1, 3, 32, 32)
        plain = net(y)
        with autocast(torch.device("cpu"), torch.bfloat16):
            half = net(y)
    assert half.dtype == torch.float32
    assert (half - plain).abs().max() < 0.05


def test_photos_larger_than_the_window_are_treated_as_crops_are():
    """A large photo that repeats a crop gives, far from its border, what the crop's size gives."""
    net = awake(BDIRNet(replace(TINY, window=16)))
    tile = photo(16)[None]
    with torch.no_grad():
        wide = net(tile.repeat(1, 1, 6, 6))[0, 0]
        wider = net(tile.repeat(1, 1, 8, 8))[0, 0]
    inner = wide[:, 32:48, 32:48]
    assert_close(wider[:, 48:64, 48:64], inner, rtol=1e-4, atol=1e-4)


def test_the_two_nets_work_apart():
    distill, rec = DistillNet(TINY), RecNet(TINY)
    x = torch.rand(2, 3, 16, 24)
    features, content = distill(x)
    assert features.shape == (2, 8, 8, 12)
    assert content.shape == (2, 12, 4, 6)
    assert rec(features, content).shape == x.shape


def test_it_can_begin_as_the_middle_frame_of_a_direct_network():
    direct = DirectNet(DirectSpec(factor=2, channels=(8, 12), blocks=(1, 1)))
    torch.nn.init.normal_(direct.head.weight, std=0.05)
    torch.nn.init.normal_(direct.head.bias, std=0.05)
    y = torch.rand(1, 3, 32, 32)
    expected = direct(y)[:, 3]
    assert_close(direct.middle(y), expected)
    plain = BDIRNet(replace(TINY, distill=False, reconstruct=False, skip=1))
    plain.begin_with(direct)
    assert_close(plain(y)[:, 0], expected, rtol=1e-5, atol=1e-6)
    full = BDIRNet(replace(TINY, skip=1))
    full.begin_with(direct)
    assert (full(y)[:, 0] - expected).abs().max() < 0.05 * (expected - y).abs().max()


def test_predicted_memory_covers_what_is_taken():
    from torch.profiler import ProfilerActivity, profile

    net = awake(BDIRNet(replace(TINY, window=64)))
    y = torch.rand(1, 3, 256, 256)
    out = torch.empty(1, 3, 256, 256)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        net.fill(out, y, None)
    taken = peak = 0
    for event in sorted(seen.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            taken += event.nbytes()
            peak = max(peak, taken)
    assert peak < net.memory(256, 256, 4, None) < 3 * peak


def test_weights_come_back(tmp_path):
    net = awake(BDIRNet(replace(TINY, skip=2)))
    saved = weights.save(
        net,
        tmp_path / "w",
        name="w",
        recipe={},
        data="",
        scores={},
        licence="",
        dtype=torch.float32,
    )
    again = weights.load(weights.find(saved.path, "bdirnet"))
    assert again.spec == net.spec
    y = torch.rand(1, 3, 16, 16)
    assert_close(again(y), net(y))
    with pytest.raises(WeightsError, match="belongs to the bdirnet model"):
        weights.find(saved.path, "direct")


def test_shapes_of_others_are_refused():
    with pytest.raises(OptionError, match="not the shape of the bdirnet model"):
        build("bdirnet", DirectSpec())
    with pytest.raises(OptionError, match="skip"):
        BDIRNet(replace(TINY, skip=0))


# Kinds of blur


@given(length=st.floats(0, 45), seed=st.integers(0, 99))
@example(length=12.0, seed=16)  # more than half of the path lies on one side of its middle
@settings(max_examples=20, deadline=None)
def test_walks_keep_the_light_and_are_in_the_middle_half_way(length, seed):
    lengths = torch.tensor([length, length / 2])
    kernels = walk_kernels(lengths, generator(seed))
    assert kernels.shape[-1] % 2 == 1
    assert_close(kernels.sum((-2, -1)), torch.ones(2), rtol=1e-4, atol=1e-4)
    assert (kernels >= 0).all()
    centre = kernels.shape[-1] // 2
    assert (kernels[:, centre, centre] > 0).all()
    inside = reach(KindOptions(walk=(0, max(length, 1e-6)), turn=(0, 0), sigma=(0, 0))) + 1
    assert kernels.shape[-1] // 2 <= inside + 1


def test_a_kernel_of_one_point_moves_the_image():
    kernel = torch.zeros(1, 5, 5)
    kernel[0, 2, 4] = 1  # the content goes two to the right
    x = photo()[None]
    assert_close(convolve(x, kernel)[..., 4:], x[..., 2:-2])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_seeded_and_keeps_what_is_flat(kind):
    x = torch.stack([photo(), photo().flip(-1)])
    first, again = (blur(x, kind, WEAK, 2.2, generator(1)) for _ in range(2))
    assert_close(first, again, rtol=0, atol=0)
    assert first.shape == x.shape
    assert 0 <= first.min() and first.max() <= 1
    flat = torch.full((1, 3, 40, 40), 0.3)
    assert_close(blur(flat, kind, WEAK, 2.2, generator(2)), flat, rtol=1e-3, atol=1e-3)
    changed = (first - x).abs().mean(dim=(1, 2, 3))
    assert (changed == 0).all() if kind == "sharp" else (changed > 1e-3).all()


def test_a_camera_at_rest_blurs_nothing():
    paths = rotations(torch.tensor([12.0]), generator())
    assert paths.shape[1] % 2 == 1
    assert not paths[:, paths.shape[1] // 2].any()
    travelled = paths.diff(dim=1).norm(dim=-1).sum(dim=1)
    assert_close(travelled, torch.tensor([12.0]), rtol=1e-4, atol=1e-4)
    x = photo()[None]
    assert_close(turn(x, torch.zeros_like(paths), 2.2), x, rtol=1e-3, atol=2e-3)


def test_yaw_moves_the_image_by_as_many_pixels():
    paths = torch.zeros(1, 1, 3)
    paths[..., 0] = 3.0
    x = photo()[None]
    moved = turn(x, paths, 1.0)[..., 28:36, 28:36]
    errors = {s: (moved - x.roll(s, -1)[..., 28:36, 28:36]).abs().mean().item() for s in (-3, 0, 3)}
    assert min(errors, key=errors.get) == -3  # the camera turns right, what it sees goes left


@pytest.mark.parametrize("views", [True, False])
def test_a_source_of_kinds(views):
    source = KindSource(simulated(), MIXED, SHORT.gammas, views)
    y, x = source.draw(40, 16, generator(3))
    assert y.shape == (40, 3, 16, 16)
    assert x.shape == (40, 2 if views else 7, 3, 16, 16)
    still = [torch.equal(y[i], x[i, 0 if views else 3]) for i in range(40)]
    assert 0 < sum(still) < 20  # those that stay sharp, and the others
    if views:  # two blurs of one moment
        assert not any(torch.equal(x[i, 1], y[i]) for i in range(40))
    assert "20% kernel" in source.describe()


def test_averages_alone_are_the_windows_as_they_are():
    source = KindSource(simulated(), KindOptions(), SHORT.gammas, views=False)
    y, x = source.draw(4, 16, generator(5))
    g = generator(5)
    torch.multinomial(torch.ones(1), 4, replacement=True, generator=g)  # the kinds
    expected = simulated().draw(4, 16, g)
    assert torch.equal(y, expected[0])
    assert torch.equal(x, expected[1])


# Losses


def test_losses_of_equal_views_are_nothing():
    a = losses.channel_norm(torch.randn(2, 6, 5, 5))
    assert losses.invariance(a, a) == 0
    assert losses.statistics_gap(a, a) == 0
    assert_close(losses.channel_norm(7 * a), a, rtol=1e-3, atol=1e-3)


def test_invariance_teaches_the_blurry_view_more_than_the_sharp_one():
    a = torch.randn(1, 4, 3, 3, requires_grad=True)
    b = torch.randn(1, 4, 3, 3, requires_grad=True)
    losses.invariance(a, b).backward()
    assert_close(a.grad.abs().sum(), 10 * b.grad.abs().sum())


def test_statistics_do_not_see_where_things_are():
    a = torch.randn(1, 4, 3, 3)
    assert losses.statistics_gap(a, a.flip(-1, -2)) < 1e-6
    assert losses.statistics_gap(a, 2 * a) > 0.1


def test_contrast_is_least_where_each_place_finds_itself():
    keys = F.normalize(torch.randn(2, 9, 16), dim=-1)
    right = losses.contrast(keys, keys, 0.07)
    wrong = losses.contrast(keys.roll(1, 1), keys, 0.07)
    assert right < 0.1 < 1 < wrong


@pytest.mark.parametrize("loss", ["auto", "charbonnier", "log", "independent"])
def test_losses_set_in_when_their_time_has_come(loss):
    options = replace(RUN, loss=loss)
    objective = ViewObjective(awake(BDIRNet(TINY)), options)
    y, x = torch.rand(2, 3, 16, 16), torch.rand(2, 2, 3, 16, 16)
    found, estimates = objective(y, x)
    assert set(found) == {
        "blurry", "frequency", "sharp", "invariance", "statistics", "contrast"
    }  # fmt: skip
    late = ("invariance", "statistics", "contrast")
    assert all(found[name] == 0 for name in late)
    objective.at(1.0)
    found, _ = objective(y, x)
    assert all(found[name] > 0 for name in late)
    assert all(loss.isfinite() for loss in found.values())
    assert estimates[4].shape == y.shape


def test_weights_of_zero_leave_losses_and_views_out():
    none = replace(
        RUN.views, sharp=0, frequency=0, invariance=0, statistics=0, contrast=0, mixing=0
    )
    net = awake(BDIRNet(TINY))
    objective = ViewObjective(net, replace(RUN, views=none))
    y, x = torch.rand(2, 3, 16, 16), torch.rand(2, 2, 3, 16, 16)
    found, estimates = objective(y, x)
    assert set(found) == {"blurry"}
    assert_close(estimates[4], net(y)[:, 0])


# Runs


def test_a_run_of_all_kinds_learns_and_can_be_used(tmp_path):
    steps = []
    options = replace(RUN, max_steps=60, lr=2e-3, kinds=replace(MIXED, kernel=0, rotation=0))
    found = train(options, kinds, tmp_path / "run", run=CPU, on_step=steps.append)
    early, late = (
        sum(step.losses["blurry"] + step.losses["sharp"] for step in some)
        for some in (steps[:15], steps[-15:])
    )
    assert late < 0.9 * early
    net = weights.load(found)
    assert isinstance(net, BDIRNet)
    assert net(torch.rand(1, 3, 16, 16)).isfinite().all()
    assert found.info["recipe"]["kinds"]["gaussian"] == 1.0
    assert not any("projector" in name for name in net.state_dict())


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    def stop(step):
        if step.step == 4:
            raise KeyboardInterrupt

    ramp = replace(RUN.views, ramp=(0.0, 0.1))
    options = replace(RUN, views=ramp, save_minutes=0.0, max_steps=5)
    train(options, kinds, tmp_path / "whole", run=CPU)
    with pytest.raises(KeyboardInterrupt):
        train(options, kinds, tmp_path / "parts", run=CPU, on_step=stop)
    torch.manual_seed(99)
    train(options, kinds, tmp_path / "parts", run=CPU, resume=True)

    whole, parts = (load_state(tmp_path / name / "state.pt") for name in ("whole", "parts"))
    assert whole["step"] == parts["step"] == 5
    for part in ("model", "average", "heads"):
        assert whole[part].keys() == parts[part].keys()
        assert all(torch.equal(value, parts[part][name]) for name, value in whole[part].items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "direct", "kinds": MIXED}, "train bdirnet"),
        ({"loss": "pair"}, "bdirnet learns by the losses"),
        ({"adversarial": 0.1}, "bdirnet learns by the losses"),
        ({"stages": ("middle",)}, "the bdirnet model has no stages"),
        ({"views": replace(RUN.views, mixing=2.0)}, "views"),
        ({"views": replace(RUN.views, ramp=(0.5, 0.2))}, "views"),
        ({"kinds": replace(MIXED, walk=(9.0, 3.0))}, "walk"),
        ({"kinds": KindOptions(average=0)}, "shares of kinds"),
        ({"bdirnet": replace(TINY, skip=0)}, "bdirnet: skip"),
    ],
)
def test_options_that_make_no_run(tmp_path, changes, message):
    with pytest.raises(OptionError, match=message):
        train(replace(RUN, **changes), simulated, tmp_path / "run", run=CPU)


def test_the_stage_middle_may_learn_other_kinds_too():
    check_options(replace(RUN, model="cascade", stages=("middle",)))

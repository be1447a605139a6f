"""BDIRNet and its modules."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from blurvid import weights
from blurvid.config import BDIRSpec, DirectSpec
from blurvid.errors import OptionError, WeightsError
from blurvid.models import build
from blurvid.networks import SAID, SAIR, BDIRNet, DistillNet, RecNet
from blurvid.networks.bdirnet import local_statistics
from blurvid.runtime import autocast
from blurvid.weights import store

pytestmark = pytest.mark.usefixtures("surroundings")
TINY = BDIRSpec(factor=2, channels=(8, 12), blocks=(1, 1), rec_blocks=1)


def photo(size=64):
    """Something with edges: random squares."""
    cells = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    return cells.repeat_interleave(size // 8, 1).repeat_interleave(size // 8, 2)


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
    torch.nn.init.zeros_(said.excite.weight)
    torch.nn.init.constant_(said.excite.bias, 30.0)
    x = torch.randn(2, 6, 8, 8) * 3 + 1
    assert_close(said(x), x, rtol=1e-4, atol=1e-4)


def test_said_with_closed_gates_forgets_the_statistics():
    said = SAID(6, 100)
    torch.nn.init.zeros_(said.excite.weight)
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
    torch.nn.init.zeros_(sair.modulate.weight)
    torch.nn.init.zeros_(sair.modulate.bias)
    with torch.no_grad():
        sair.share.fill_(-2.0)
    assert_close(sair(x, content), torch.lerp(x, normal, share), rtol=1e-3, atol=1e-3)
    torch.nn.init.zeros_(sair.mix.weight)
    torch.nn.init.ones_(sair.mix.bias)
    with torch.no_grad():
        sair.share.fill_(30.0)
        sair.modulate.bias[:4] = 1.0  # scales
        sair.modulate.bias[4:] = 0.25  # shifts
    assert_close(sair(x, content), 2 * normal + 0.25, rtol=1e-3, atol=1e-3)


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


def test_predicted_memory_covers_what_is_taken():
    from torch.profiler import ProfilerActivity, profile

    net = awake(BDIRNet(replace(TINY, window=64)))
    y = torch.rand(1, 3, 256, 256)
    out = torch.empty(1, 3, 256, 256)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        net.fill(out, y)
    taken = peak = 0
    for event in sorted(seen.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            taken += event.nbytes()
            peak = max(peak, taken)
    assert peak < net.memory(256, 256, 4) < 3 * peak


def test_weights_come_back(tmp_path):
    net = awake(BDIRNet(TINY))
    saved = store.save(
        net,
        tmp_path / "w",
        name="w",
        recipe={},
        data="",
        scores={},
        licence="",
        dtype=torch.float32,
    )
    again = store.load(weights.find(saved.path, "bdirnet"))
    assert again.spec == net.spec
    y = torch.rand(1, 3, 16, 16)
    assert_close(again(y), net(y))
    with pytest.raises(WeightsError, match="belongs to the bdirnet model"):
        weights.find(saved.path, "direct")


def test_shapes_of_others_are_refused():
    with pytest.raises(OptionError, match="not the shape of the bdirnet model"):
        build("bdirnet", DirectSpec())

"""MAXIM: its layers and its shipped weights."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from blurvid import weights
from blurvid.config import MaximSpec
from blurvid.errors import OptionError
from blurvid.models import build, middle_of
from blurvid.networks import Maxim, axes
from blurvid.networks.maxim import spans
from blurvid.weights import store

pytestmark = pytest.mark.usefixtures("surroundings")
RELEASED = weights.sets.released_dir()
TINY = MaximSpec(features=4)
EDGE = [
    0.1977,
    0.2009,
    0.2085,
    0.2134,
    0.181,
    0.2311,
    0.7966,
    0.8105,
    0.8057,
    0.7995,
    0.7945,
    0.7971,
]
"""What the shipped weights make of a step from 0.2 to 0.8, blurred over 7 px."""


def awake(spec=TINY, scale=0.3):
    """A network all of whose parameters are seeded and matter, whatever torch starts with."""
    net = Maxim(spec)
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in net.named_parameters():
            noise = torch.randn(value.shape, generator=numbers)
            is_norm = "norm" in name and name.endswith("weight")
            value.copy_(1 + 0.1 * noise if is_norm else noise * scale / value[0].numel() ** 0.5)
    return net.eval().requires_grad_(False)


def picture(height=64, width=128):
    """Smooth waves and squares in [0, 1], (1, 3, H, W)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = 0.5 + 0.3 * torch.sin(x / 5 + y / 9)
    squares = ((x // 12 + y // 8) % 2).float()
    return torch.stack([waves, 0.8 * squares + 0.1, 1 - waves])[None]


# The network


def test_an_untrained_network_returns_its_input():
    y = picture()
    assert_close(build("maxim", TINY)(y)[:, 0], y)


@pytest.mark.parametrize(
    ("stages", "golden"), [(1, [0.51503, 0.10736, -0.26721]), (3, [-0.04682, 0.02538, 0.48628])]
)
def test_golden_output(stages, golden):
    out = awake(MaximSpec(stages, 4))(picture())
    assert out.shape == (1, 1, 3, 64, 128)
    assert_close(out[0, 0, :, 17, 100], torch.tensor(golden), rtol=0, atol=2e-4)


def test_far_and_near_mixing_are_those_of_the_paper():
    """A grid of 2 x 2 cells mixes places 4 rows or 6 columns apart, blocks of 2 their four."""
    x = torch.arange(8 * 12.0).view(1, 8, 12, 1)
    for far, others in ((True, (4, 6)), (False, (1, 1))):
        mix = axes.Mix(2, far)
        with torch.no_grad():
            mix.weight.zero_()
            mix.weight[0] = torch.tensor([0.0, 1.0, 10.0, 100.0])
            mix.bias.zero_()
        down, across = others
        expected = x[0, 0, across] + 10 * x[0, down, 0] + 100 * x[0, down, across]
        mixed = mix.places(mix(mix.cells(x)), x.shape)
        assert mixed[0, 0, 0] == expected
        assert mixed[0, 0, across] == 0


def test_batches_and_gradients():
    net = awake().requires_grad_(True)
    y = torch.cat([picture(64, 64), picture(64, 64).flip(-1)]).requires_grad_(True)
    both = net(y)
    assert_close(both[1:], net(y[1:]), rtol=1e-4, atol=1e-5)
    both.sum().backward()
    for name, value in [*net.named_parameters(), ("y", y)]:
        assert value.grad is not None and value.grad.isfinite().all(), name


def test_bf16_is_near():
    net, y = awake(), picture()
    with torch.autocast("cpu", torch.bfloat16):
        out = net(y)
    assert out.dtype == torch.float32
    assert (out - net(y)).abs().max() < 0.05


@pytest.mark.parametrize("spec", [MaximSpec(0), MaximSpec(4), MaximSpec(features=2)])
def test_shapes_that_there_are_not(spec):
    with pytest.raises(OptionError, match="1 to 3 stages"):
        Maxim(spec)


def test_the_middle_part_is_the_model_itself():
    net = awake()
    assert middle_of(net) is net
    out = torch.empty(1, 3, 64, 128)
    net.fill(out, picture())
    assert_close(out, net(picture())[0])


@pytest.mark.parametrize("length", [64, 384, 448, 704, 768, 1280, 4032])
def test_weights_of_tiles_add_up_to_one(length):
    total = torch.zeros(length)
    for begin, weight in spans(length):
        total[begin : begin + len(weight)] += weight
    assert_close(total, torch.ones(length))


def test_a_large_image_is_seen_in_tiles(monkeypatch):
    net, y = awake(), picture(64, 192)
    monkeypatch.setattr("blurvid.networks.maxim.TILES", (128,))
    monkeypatch.setattr("blurvid.networks.maxim.OVERLAP", 64)
    out = torch.empty(1, 3, 64, 192)
    net.fill(out, y)
    left, right = net(y[..., :128])[0], net(y[..., 64:])[0]
    assert_close(out[..., :64], left[..., :64])
    assert_close(out[..., 128:], right[..., 64:])
    share = (torch.arange(64) + 0.5) / 64
    blended = left[..., 64:] * (1 - share) + right[..., :64] * share
    assert_close(out[..., 64:128], blended)


# The shipped weights


@pytest.mark.weights
def test_the_shipped_weights_sharpen_an_edge():
    net = store.load(weights.find(RELEASED / "maxim"))
    assert isinstance(net, Maxim) and net.spec == MaximSpec()
    sharp = torch.full((1, 3, 64, 64), 0.2)
    sharp[..., 32:] = 0.8
    blurry = sum(sharp.roll(i - 3, -1) for i in range(7)) / 7
    out = net(blurry)[0, 0, 0, 32, 26:38]
    assert_close(out, torch.tensor(EDGE), rtol=0, atol=2e-3)

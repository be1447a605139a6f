import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from blurvid.config import DirectSpec
from blurvid.lab import losses
from blurvid.lab.losses import VGGFeatures
from blurvid.lab.options import TrainOptions
from blurvid.lab.train.objective import Objective
from blurvid.networks import DirectNet

SHAPE = (2, 3, 6, 8)
PAIRS = ((1, 7), (2, 6), (3, 5))  # (i, 8 - i)


def draw():
    """Seven frames by number."""
    return {i: torch.rand(SHAPE) for i in range(1, 8)}


@pytest.fixture
def estimates():
    return draw()


@pytest.fixture
def truths():
    return draw()


def arrays(frames):
    return {i: x.double().numpy() for i, x in frames.items()}


def shuffled(frames, order):
    """The same frames under other numbers; the middle one keeps its own."""
    return {**frames, **{i: frames[j] for i, j in zip((1, 2, 3, 5, 6, 7), order, strict=True)}}


def test_equation_3_perceptual_term(estimates, truths):
    vgg = VGGFeatures()
    e, t = estimates[4], truths[4]
    squares = [
        ((a - b).double().numpy() ** 2).mean() / losses.SQUARED_PERCEPTUAL_RANGE
        for a, b in zip(vgg(e), vgg(t), strict=True)
    ]
    found = losses.perceptual(e, t, vgg)
    assert_close(found.item(), float(np.sum(squares)), rtol=1e-3, atol=1e-6)
    assert losses.perceptual(e, e, vgg) == 0


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_equation_3(weight):
    y, x = torch.rand(2, 3, 16, 16), torch.rand(2, 7, 3, 16, 16)
    options = TrainOptions(model="direct", order="invariant", perceptual=weight)
    vgg, net = VGGFeatures(), DirectNet(DirectSpec(channels=(8, 12), blocks=(1, 1)))
    found, estimates = Objective(net, options, vgg)(y, x)
    error = float(((estimates[4] - x[:, 3]).detach().double().numpy() ** 2).mean())
    seen = weight * losses.perceptual(estimates[4], x[:, 3], vgg).item()
    assert_close(found["middle"].item(), error + seen, rtol=1e-3, atol=1e-6)


def test_equation_4(estimates, truths):
    e, t = arrays(estimates), arrays(truths)
    others = (1, 2, 3, 5, 6, 7)
    expected = np.abs(sum(e[i] for i in others) - sum(t[i] for i in others)).mean()
    assert_close(losses.globally_invariant(estimates, truths).item(), float(expected))


def test_equation_4_leaves_the_middle_frame_out(estimates, truths):
    changed = {**estimates, 4: estimates[4] + 1}
    without = {i: x for i, x in estimates.items() if i != 4}
    expected = losses.globally_invariant(estimates, truths)
    assert_close(losses.globally_invariant(changed, truths), expected)
    assert_close(losses.globally_invariant(without, truths), expected)


def test_equation_5_over_the_pairs_i_and_8_minus_i(estimates, truths):
    e, t = arrays(estimates), arrays(truths)
    expected = 0.0
    for i, j in PAIRS:
        expected += np.abs(np.abs(e[i] + e[j]) - np.abs(t[i] + t[j])).mean()
        expected += np.abs(np.abs(e[i] - e[j]) - np.abs(t[i] - t[j])).mean()
    assert_close(losses.pairwise_invariant(estimates, truths).item(), float(expected))


def test_equation_5_of_some_pairs(estimates, truths):
    each = [losses.pairwise_invariant({i: estimates[i], j: estimates[j]}, truths) for i, j in PAIRS]
    assert_close(sum(each), losses.pairwise_invariant(estimates, truths))


@pytest.mark.parametrize(("i", "j"), PAIRS)
def test_pair_loss_cannot_see_temporal_order(estimates, truths, i, j):
    swapped = {**estimates, i: estimates[j], j: estimates[i]}
    expected = losses.pairwise_invariant(estimates, truths)
    assert expected > 0
    assert_close(losses.pairwise_invariant(swapped, truths), expected)
    assert losses.pairwise_invariant({**truths, i: truths[j], j: truths[i]}, truths) == 0


def test_pair_loss_sees_frames_of_other_pairs(truths):
    # Table 1 of the paper pairs (1, 6) and (2, 7), a misprint.
    wrong = {**truths, 1: truths[6], 6: truths[1]}
    assert losses.pairwise_invariant(wrong, truths) > 0.1


@pytest.mark.parametrize("order", [(7, 6, 5, 3, 2, 1), (2, 3, 1, 7, 5, 6)])
def test_global_loss_is_blind_to_any_order(estimates, truths, order):
    expected = losses.globally_invariant(estimates, truths)
    assert_close(losses.globally_invariant(shuffled(estimates, order), truths), expected)


def test_charbonnier(estimates, truths):
    e, t = estimates[1].double().numpy(), truths[1].double().numpy()
    expected = np.sqrt((e - t) ** 2 + 1e-6).mean()
    assert_close(losses.charbonnier(estimates[1], truths[1]).item(), float(expected))
    assert_close(losses.charbonnier(truths[1], truths[1]).item(), 1e-3)


def test_adversarial_losses_of_an_undecided_critic():
    zeros = torch.zeros(2, 1, 3, 3)
    assert_close(losses.adversarial(zeros).item(), math.log(2))
    assert_close(losses.critic(zeros, zeros).item(), 2 * math.log(2))


def test_adversarial_losses_point_the_right_way():
    sure = torch.full((2, 1, 3, 3), 9.0)
    assert losses.critic(sure, -sure) < 1e-3 < 10 < losses.critic(-sure, sure)
    assert losses.adversarial(sure) < 1e-3 < 5 < losses.adversarial(-sure)


@pytest.mark.parametrize("loss", [losses.pairwise_invariant, losses.globally_invariant])
def test_gradients_are_finite_at_equality(loss, truths):
    estimates = {i: x.clone().requires_grad_() for i, x in truths.items()}
    loss(estimates, truths).backward()
    gradients = [e.grad for e in estimates.values() if e.grad is not None]
    assert gradients
    assert all(g.isfinite().all() for g in gradients)


def test_charbonnier_gradient_is_finite_at_equality(truths):
    estimate = truths[1].clone().requires_grad_()
    losses.charbonnier(estimate, truths[1]).backward()
    assert estimate.grad.abs().max() == 0


def test_perceptual_gradient_is_finite_at_equality(truths):
    estimate = truths[4].clone().requires_grad_()
    losses.perceptual(estimate, truths[4], VGGFeatures()).backward()
    assert estimate.grad.abs().max() == 0


def test_frequency_loss_is_the_l1_distance_of_spectra(estimates, truths):
    e, t = estimates[1], truths[1]
    spectrum = np.fft.rfft2((e - t).double().numpy(), norm="ortho")
    expected = np.abs(np.stack([spectrum.real, spectrum.imag])).mean()
    assert_close(losses.frequency(e, t).item(), float(expected), rtol=1e-4, atol=1e-6)
    assert losses.frequency(e, e) == 0


def test_frequency_loss_sees_what_a_blur_takes(truths):
    """Of two estimates of equal squared error it prefers the one that is off in few places."""
    x = truths[1]
    flat, noisy = x + 0.1, x + 0.1 * torch.where(torch.rand(SHAPE) < 0.5, -1.0, 1.0)
    assert losses.frequency(flat, x) < losses.frequency(noisy, x)

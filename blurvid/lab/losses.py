"""Training losses. Images are (B, 3, H, W), RGB, nominally in [0, 1]; each returns a scalar.

The paper writes norms without saying how they are scaled; here every norm is a mean over
samples, colours and pixels, so that weights mean the same at any crop and batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.config import FRAMES, MIDDLE

Features = Callable[[Tensor], list[Tensor]]

SQUARED_PERCEPTUAL_RANGE = 100.0
"""Typical squared VGG feature; divides the perceptual loss so that it is of the order of 1."""


def charbonnier(estimate: Tensor, truth: Tensor, eps: float = 1e-3) -> Tensor:
    """Smooth L1 regression, sqrt(d² + eps²), of images of any shape."""
    return ((estimate - truth).square() + eps**2).sqrt().mean()


def frequency(estimate: Tensor, truth: Tensor) -> Tensor:
    """L1 distance of the Fourier transforms (after Cho et al. 2021, MIMO-UNet, eq. 8).

    The transform is orthonormal, so that the loss is of the order of the images' L1 distance at
    any size. Images (..., H, W), in float32 whatever they come in.
    """
    difference = torch.fft.rfft2((estimate - truth).float(), norm="ortho")
    return torch.view_as_real(difference).abs().mean()


def perceptual(estimate: Tensor, truth: Tensor, features: Features) -> Tensor:
    """Squared distance of VGG16 features relu2_2 and relu3_3 (eq. 3, after Johnson et al.).

    Args:
        estimate: (B, 3, H, W), RGB in [0, 1].
        truth: the same.
        features: maps images to the two feature maps (`train.vgg.VGGFeatures`).
    """
    pairs = zip(features(estimate), features(truth), strict=True)
    distances = [F.mse_loss(a, b) / SQUARED_PERCEPTUAL_RANGE for a, b in pairs]
    return torch.stack(distances).sum()


def middle(
    estimate: Tensor, truth: Tensor, features: Features | None = None, weight: float = 1.0
) -> Tensor:
    """Loss of the middle frame: squared error, plus the perceptual loss (eq. 3).

    Args:
        estimate: the estimate of x[4].
        truth: x[4].
        features: for the perceptual loss; without them it is left out.
        weight: of the perceptual loss.
    """
    loss = F.mse_loss(estimate, truth)
    if features is not None and weight:
        loss = loss + weight * perceptual(estimate, truth, features)
    return loss


def globally_invariant(estimates: Mapping[int, Tensor], truths: Mapping[int, Tensor]) -> Tensor:
    """L1 distance of the sums over all frames but the middle one (eq. 4).

    Args:
        estimates: frames by number; without the middle frame or with it.
        truths: the same frames.
    """
    numbers = [i for i in estimates if i != MIDDLE]
    total = torch.stack([estimates[i] - truths[i] for i in numbers]).sum(dim=0)
    return total.abs().mean()


def pair(first: Tensor, second: Tensor, first_truth: Tensor, second_truth: Tensor) -> Tensor:
    """Pairwise order-invariant loss of one symmetric pair (eq. 5).

    Swapping the estimates, or the truths, changes nothing. The pairs are (i, 8 - i), as in
    eq. 5; the pairs (1, 6) and (2, 7) of the paper's Table 1 are a misprint.
    """
    total = ((first + second).abs() - (first_truth + second_truth).abs()).abs().mean()
    spread = ((first - second).abs() - (first_truth - second_truth).abs()).abs().mean()
    return total + spread


def pairwise_invariant(estimates: Mapping[int, Tensor], truths: Mapping[int, Tensor]) -> Tensor:
    """Sum of `pair` over the symmetric pairs that are among the estimates (eq. 5)."""
    losses = [
        pair(estimates[i], estimates[FRAMES + 1 - i], truths[i], truths[FRAMES + 1 - i])
        for i in range(1, MIDDLE)
        if i in estimates
    ]
    return torch.stack(losses).sum()


def adversarial(fake_logits: Tensor) -> Tensor:
    """What the frame network pays for frames that the critic tells from true ones (Table 1)."""
    return F.binary_cross_entropy_with_logits(fake_logits, torch.ones_like(fake_logits))


def critic(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """What the critic pays for taking one kind of frame for the other."""
    real = F.binary_cross_entropy_with_logits(real_logits, torch.ones_like(real_logits))
    fake = F.binary_cross_entropy_with_logits(fake_logits, torch.zeros_like(fake_logits))
    return real + fake


REGRESSIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "charbonnier": charbonnier,
    "squared": F.mse_loss,
}
"""Those that know one right answer for each frame, the middle one not set apart."""
SEQUENCES = {
    "pair": pairwise_invariant,
    "global": globally_invariant,
}
"""Those of frames by number, the middle one set apart."""

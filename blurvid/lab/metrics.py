"""Scores of frames against the truth: PSNR, SSIM and both orders of time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from blurvid.errors import InputError
from blurvid.exposure import psnr_of

SSIM_SIGMA = 1.5
"""Standard deviation of the Gaussian window [px] (Wang et al. 2004, section III-B)."""
SSIM_RADIUS = 5
"""Taps to each side: 11 in all, as in Wang et al. 2004 and scikit-image."""
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2
PSNR_CEILING = 1000.0
"""Stands for infinity [dB] when two orders of time are compared."""


def _check_images(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise InputError(f"images of different shapes: {tuple(a.shape)} and {tuple(b.shape)}")
    if a.dim() < 3:
        raise InputError(f"not an image (..., C, H, W): {tuple(a.shape)}")


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, data range 1.

    Args:
        a: images (..., C, H, W), RGB, in [0, 1]; not clamped here.
        b: images of the same shape, range and colour order.

    Returns:
        One value an image [dB], (...,), float64 (float32 on MPS); infinite where both are equal.

    Raises:
        InputError: the shapes differ, or there is no (C, H, W) to average over.
    """
    _check_images(a, b)
    wide = torch.float32 if a.device.type == "mps" else torch.float64  # MPS has no float64
    return psnr_of((a.to(wide) - b.to(wide)).square().mean(dim=(-3, -2, -1)))


def _gaussian(x: Tensor) -> Tensor:
    """Gaussian window of each plane, where it fits: (C, H, W) -> (C, H-10, W-10)."""
    offsets = range(-SSIM_RADIUS, SSIM_RADIUS + 1)
    taps = [math.exp(-0.5 * (offset / SSIM_SIGMA) ** 2) for offset in offsets]
    taps = [tap / sum(taps) for tap in taps]
    height, width = x.shape[-2] - 2 * SSIM_RADIUS, x.shape[-1] - 2 * SSIM_RADIUS
    rows = taps[0] * x[..., :height, :]
    for k, tap in enumerate(taps[1:], start=1):
        rows.add_(x[..., k : k + height, :], alpha=tap)
    columns = taps[0] * rows[..., :width]
    for k, tap in enumerate(taps[1:], start=1):
        columns.add_(rows[..., k : k + width], alpha=tap)
    return columns


def _ssim_image(a: Tensor, b: Tensor) -> Tensor:
    """SSIM of one image (C, H, W) in [-0.5, 0.5]; the shift spares float32 its last digits."""
    mean_a, mean_b = _gaussian(a), _gaussian(b)
    # One window over the sum of squares: only the sum of both variances is needed.
    variances = _gaussian(a.square() + b.square()) - mean_a.square() - mean_b.square()
    covariance = _gaussian(a * b) - mean_a * mean_b
    mean_a, mean_b = mean_a + 0.5, mean_b + 0.5
    score = (2 * mean_a * mean_b + SSIM_C1) * (2 * covariance + SSIM_C2)
    score /= (mean_a.square() + mean_b.square() + SSIM_C1) * (variances + SSIM_C2)
    return score.mean()


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of each image (Wang et al. 2004), data range 1.

    A Gaussian window of 11 taps and sigma 1.5 with population covariance, averaged over channels
    and over the positions where the whole window lies inside the image, as scikit-image's
    `structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)`.

    Args:
        a: images (..., C, H, W), RGB, in [0, 1]; H and W at least 11.
        b: images of the same shape, range and colour order.

    Returns:
        One value an image, (...,), at most 1, float32.

    Raises:
        InputError: the shapes differ, or the images are smaller than the window.
    """
    _check_images(a, b)
    lead, (height, width) = a.shape[:-3], a.shape[-2:]
    if min(height, width) < 2 * SSIM_RADIUS + 1:
        raise InputError(
            f"SSIM needs at least {2 * SSIM_RADIUS + 1}x{2 * SSIM_RADIUS + 1} px, "
            f"the image has {width}x{height}"
        )
    planes = (-1, a.shape[-3], height, width)
    pairs = zip(a.reshape(planes).float(), b.reshape(planes).float(), strict=True)
    # One image at a time: its planes stay in the processor's cache.
    scores = [_ssim_image(x - 0.5, y - 0.5) for x, y in pairs]
    return torch.stack(scores).reshape(lead)


@dataclass(frozen=True)
class SequenceScore:
    """How close a sequence is to the truth, in the order given and in the better one."""

    psnr: float
    """Forward: mean over the frames in the order given [dB]."""
    ppsnr: float
    """Mean in the better order of the whole sequence [dB] (HyperCUT, CVPR 2023)."""
    reversed: float
    """Whether the better order is the reverse of the one given; of means, how often."""
    per_frame: tuple[float, ...]
    """PSNR [dB] against each true frame, in the better order."""
    ssim: float
    """Forward: mean SSIM in the order given."""
    pssim: float
    """Mean SSIM in the order that PSNR chose."""
    ssim_per_frame: tuple[float, ...]
    """SSIM against each true frame, in the order that PSNR chose."""


def score_sequence(frames: Tensor, truth: Tensor) -> SequenceScore:
    """Score a sequence; from one blurry image it and its reverse are both right.

    The order is chosen once for the whole sequence, by the mean PSNR over its frames (pPSNR of
    HyperCUT, Pham et al., CVPR 2023); SSIM follows that choice.

    Args:
        frames: the extracted frames (T, C, H, W), RGB, in [0, 1], in order of time.
        truth: the true frames, same shape, range and colour order.

    Returns:
        The scores; those of a frame stand at the place of the true frame that it was held against.

    Raises:
        InputError: the shapes differ, are no sequence, or are smaller than SSIM's window.
    """
    if frames.dim() != 4:
        raise InputError(f"not a sequence (T, C, H, W): {tuple(frames.shape)}")
    forward, backward = psnr(frames, truth), psnr(frames.flip(0), truth)
    # A frame that is exactly right must not drown the others in the comparison.
    capped_forward = forward.clamp(max=PSNR_CEILING).mean()
    is_reversed = bool(backward.clamp(max=PSNR_CEILING).mean() > capped_forward)
    similarity = ssim(frames, truth)
    chosen = ssim(frames.flip(0), truth) if is_reversed else similarity
    curve = backward if is_reversed else forward
    return SequenceScore(
        psnr=float(forward.mean()),
        ppsnr=float(curve.mean()),
        reversed=is_reversed,
        per_frame=tuple(curve.tolist()),
        ssim=float(similarity.mean()),
        pssim=float(chosen.mean()),
        ssim_per_frame=tuple(chosen.tolist()),
    )

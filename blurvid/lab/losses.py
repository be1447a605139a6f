"""Training losses. Images are (B, 3, H, W), RGB, nominally in [0, 1]; each returns a scalar.

The paper writes norms without saying how they are scaled; here every norm is a mean over
samples, colours and pixels, so that weights mean the same at any crop and batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from blurvid.config import FRAMES, MIDDLE
from blurvid.errors import WeightsError
from blurvid.weights.store import check_shapes

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
        features: maps images to the two feature maps (`VGGFeatures`).
    """
    pairs = zip(features(estimate), features(truth), strict=True)
    distances = [F.mse_loss(a, b) / SQUARED_PERCEPTUAL_RANGE for a, b in pairs]
    return torch.stack(distances).sum()


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


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class VGGFeatures(nn.Module):
    """Features relu2_2 and relu3_3 of VGG16 (Simonyan and Zisserman 2015), frozen.

    `vgg(x)`, x (B, 3, H, W), RGB in [0, 1] -> [(B, 128, H/2, W/2), (B, 256, H/4, W/4)].
    Its state dict has the names `conv1_1.weight` .. `conv3_3.bias`.
    """

    def __init__(self) -> None:
        super().__init__()
        for block, widths in enumerate(((3, 64, 64), (64, 128, 128), (128, 256, 256, 256)), 1):
            for layer, (inputs, outputs) in enumerate(pairwise(widths), 1):
                self.add_module(f"conv{block}_{layer}", nn.Conv2d(inputs, outputs, 3, padding=1))
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = (x - self.mean) / self.std
        features = []
        for name, layer in self.named_children():
            if name in ("conv2_1", "conv3_1"):
                x = F.max_pool2d(x, 2)
            x = F.relu(layer(x))
            if name in ("conv2_2", "conv3_3"):
                features.append(x)
        return features


def load_vgg(path: Path) -> VGGFeatures:
    """Load the first seven layers of VGG16 from a safetensors file; none is shipped.

    Only these are read; names, shapes and places in the file are checked before.

    Args:
        path: holds `conv1_1.weight`, `conv1_1.bias` .. `conv3_3.bias` of the ImageNet network;
            other tensors are ignored.

    Raises:
        WeightsError: missing, damaged, with other layers, or with values that are not finite.
    """
    vgg = VGGFeatures()
    try:
        with safe_open(path, framework="pt") as stored:
            names = vgg.state_dict().keys() & stored.keys()
            shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in names}
            check_shapes(vgg, shapes, path, "VGG16")
            tensors = {name: stored.get_tensor(name).float() for name in names}
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file") from error
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"{path}: cannot read VGG16 weights from it ({reason})") from error
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise WeightsError(f"{path}: holds values that are not finite")
    vgg.load_state_dict(tensors)
    return vgg

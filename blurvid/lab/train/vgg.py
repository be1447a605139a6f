"""The first layers of VGG16 (Simonyan and Zisserman 2015), for the perceptual loss.

The user names the file of weights; none is shipped.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from blurvid.errors import WeightsError
from blurvid.weights.store import check_shapes

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class VGGFeatures(nn.Module):
    """Features relu2_2 and relu3_3 of VGG16, frozen.

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
    """Load the first seven layers of VGG16 from a safetensors file.

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

"""The discriminator of the adversarial losses (Jin et al. 2018, Table 1).

The paper does not describe it; this is a patch discriminator in the manner of pix2pix
(Isola et al. 2017), with instance normalization like the rest of the cascade.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from blurvid.networks.blocks import InstanceNorm


class PatchCritic(nn.Module):
    """Judge overlapping patches of a frame beside the blurry image it came from.

    `critic(y, frame)`, each (B, 3, H, W) -> logits (B, 1, H/8, W/8), rounded down.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(6, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for inputs, outputs in ((width, 2 * width), (2 * width, 4 * width)):
            layers += [
                nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False),
                InstanceNorm(outputs),
                nn.LeakyReLU(0.2),
            ]
        layers.append(nn.Conv2d(4 * width, 1, 3, 1, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, y: Tensor, frame: Tensor) -> Tensor:
        logits: Tensor = self.layers(torch.cat([y, frame], dim=1))
        return logits

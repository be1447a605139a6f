"""Fast ways give the same picture: the released weights on a real photo."""

from pathlib import Path

import pytest
import torch
from PIL import Image

import blurvid
from blurvid import media, weights
from blurvid.config import RunOptions
from blurvid.lab import metrics
from blurvid.weights import store

REPOSITORY = Path(__file__).parent.parent
EXAMPLE = REPOSITORY / "examples" / "photos" / "astronaut.jpg"
LEAST = 50
"""PSNR from which on nobody sees a difference [dB]; that of rounding to 8 bits is 59."""


@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "precision", "side", "least"),
    [
        # (`auto` is one of the two.) Where a CPU emulates bfloat16, it takes long.
        ("direct", "fp32", 160, 90),
        ("direct", "bf16", 160, LEAST),
        ("cascade", "fp32", 160, 90),
        ("cascade", "bf16", 60, LEAST),
    ],
)
def test_the_picture_does_not_change(name, precision, side, least, tmp_path):
    with Image.open(EXAMPLE) as image:
        image.crop((160, 20, 160 + side, 20 + side)).save(tmp_path / "part.png")
    photo = media.read_photo(tmp_path / "part.png")
    weight_set = weights.find(REPOSITORY / "weights" / name)
    with torch.enable_grad():  # the plain way: no strips
        plain = store.load(weight_set)(photo.pixels[None])[0].detach().clamp(0, 1)
    run = RunOptions(device="cpu", precision=precision)
    clip = blurvid.extract(photo, weights_name=weight_set, run=run, scale=1.0)
    assert metrics.psnr(clip.tensor, plain).min() >= least

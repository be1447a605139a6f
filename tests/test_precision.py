"""Fast ways give the same picture: the released weights on a real photo."""

from pathlib import Path

import pytest
import torch
from PIL import Image

import blurvid
from blurvid import media, metrics, weights
from blurvid.config import QualityOptions, RunOptions

REPOSITORY = Path(__file__).parent.parent
EXAMPLE = REPOSITORY / "examples" / "astronaut.jpg"
PLAIN_SIZE = QualityOptions(scale=1.0)
SIDE = 160
LEAST = 50
"""PSNR from which on nobody sees a difference [dB]; that of rounding to 8 bits is 59."""


@pytest.fixture(scope="module", params=["direct", "cascade"])
def released(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "part.png"
    with Image.open(EXAMPLE) as image:
        image.crop((160, 20, 160 + SIDE, 20 + SIDE)).save(path)
    photo = media.read_photo(path)
    weight_set = weights.find(REPOSITORY / "weights" / request.param)
    with torch.enable_grad():  # the plain way: no strips, no fast convolutions
        plain = weights.load(weight_set)(photo.pixels[None])[0]
    return weight_set, photo, plain.detach().clamp(0, 1)


@pytest.mark.weights
@pytest.mark.parametrize(("precision", "least"), [("fp32", 90), ("bf16", LEAST)])
def test_the_picture_does_not_change(released, precision, least):
    weight_set, photo, plain = released  # (`auto` is one of the two)
    run = RunOptions(device="cpu", precision=precision)
    clip = blurvid.extract(photo, weights_name=weight_set, run=run, quality=PLAIN_SIZE)
    assert metrics.psnr(clip.tensor, plain).min() >= least

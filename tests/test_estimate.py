from dataclasses import astuple

import pytest
import torch
import torch.nn.functional as F

from blurvid.errors import InputError
from blurvid.flow import sequence_motion


def texture(height, width, seed=0):
    """Smooth noise over several octaves, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(1, 3, height, width)
    for cell in (3, 6, 12, 24, 48):
        coarse = torch.rand(1, 3, height // cell + 3, width // cell + 3, generator=generator)
        fine = F.interpolate(coarse, scale_factor=cell, mode="bicubic", align_corners=False)
        image += fine[..., cell : cell + height, cell : cell + width]
    return ((image - image.amin()) / (image.amax() - image.amin()))[0]


def shifted(dx, dy, height=120, width=160, margin=40):
    """A texture whose content has moved by (dx, dy), cut out so that no border shows."""
    big = texture(height + 2 * margin, width + 2 * margin)
    y, x = torch.meshgrid(
        torch.arange(height) + margin - float(dy),
        torch.arange(width) + margin - float(dx),
        indexing="ij",
    )
    grid = torch.stack([2 * x / (big.shape[-1] - 1) - 1, 2 * y / (big.shape[-2] - 1) - 1], -1)
    return F.grid_sample(big[None], grid[None], mode="bicubic", align_corners=True)[0]


def between(first, last):
    return sequence_motion(torch.stack([first, last]))[0]


@pytest.mark.parametrize(
    ("dx", "dy"), [(0, 0), (0.4, -0.3), (3.7, 1.2), (-9.5, 6.25), (18.3, -11.8), (-30, 4)]
)
def test_shift_between_two_images(dx, dy):
    motion = between(shifted(0, 0), shifted(dx, dy))

    length = (dx**2 + dy**2) ** 0.5
    assert motion.dx == pytest.approx(dx, abs=0.15)
    assert motion.dy == pytest.approx(dy, abs=0.15)
    assert motion.median == pytest.approx(length, abs=0.15)
    assert motion.p95 == pytest.approx(length, abs=0.5)


def test_motion_of_a_sequence_adds_up_and_its_fastest_step_is_found():
    path = [(0, 0), (3, 1), (6, 2), (11.5, 3), (14, 4), (16, 5), (18, 6)]
    motion, fastest = sequence_motion(torch.stack([shifted(*at) for at in path]))

    assert motion.dx == pytest.approx(18, abs=0.2)
    assert motion.dy == pytest.approx(6, abs=0.2)
    assert fastest == pytest.approx((5.5**2 + 1) ** 0.5, abs=0.2)


def test_dominant_motion_is_that_of_the_larger_part():
    last = shifted(-4, 0)
    last[..., 110:] = shifted(9, 2)[..., 110:]
    motion = between(shifted(0, 0), last)

    assert motion.dx == pytest.approx(-4, abs=0.3)
    assert motion.dy == pytest.approx(0, abs=0.3)
    assert motion.p95 > 7


def test_motion_is_turned_around_with_time():
    a, b = shifted(0, 0), shifted(5, -3)
    forth, back = between(a, b), between(b, a)
    assert (back.dx, back.dy) == pytest.approx((-forth.dx, -forth.dy), abs=0.1)


def test_large_images_are_measured_smaller():
    a = F.interpolate(shifted(0, 0)[None], scale_factor=6, mode="bicubic")[0]
    b = F.interpolate(shifted(3, -1)[None], scale_factor=6, mode="bicubic")[0]
    motion = between(a, b)
    assert (motion.dx, motion.dy) == pytest.approx((18, -6), abs=0.4)


def test_flat_images_have_no_motion():
    motion = between(torch.full((3, 20, 33), 0.5), torch.full((3, 20, 33), 0.5))
    assert (motion.dx, motion.dy, motion.median, motion.p95) == (0, 0, 0, 0)


def test_noise_on_a_still_image_is_not_motion():
    generator = torch.Generator().manual_seed(0)
    still = shifted(0, 0)
    a, b = (still + 0.01 * torch.randn(still.shape, generator=generator) for _ in range(2))
    assert between(a, b).p95 < 0.2


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (2, 1, 32, 32), (3, 32, 32), (2, 3, 15, 32)])
def test_what_is_no_sequence_is_refused(shape):
    with pytest.raises(InputError, match="motion needs"):
        sequence_motion(torch.zeros(shape))


@pytest.mark.parametrize("side", [120, 800])
def test_bytes_are_measured_as_floats(side):
    frames = torch.stack([shifted(0, 0), shifted(5, -3)])
    frames = F.interpolate(frames, size=(side, side), mode="bilinear")
    levels = (frames * 255).round().to(torch.uint8)
    (motion, fastest), (expected, most) = map(sequence_motion, (levels, levels / 255))
    assert astuple(motion) == pytest.approx(astuple(expected), abs=0.05)
    assert fastest == pytest.approx(most, abs=0.05)

"""Noise of a photo: how strong it is, and the photo without it."""

import pytest
import torch
from test_trajectory import Fake, texture

from blurvid.trajectory.grain import denoised, noise_of
from blurvid.trajectory.pyramid import fit
from blurvid.trajectory.sampling import blur


def noisy(picture, strength, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (picture + strength * torch.randn(picture.shape, generator=generator)).clamp(0, 1)


def soft():
    """A picture without fine detail."""
    return blur(texture(128, 160), 3.0)


@pytest.mark.parametrize("strength", [0.025, 0.05])
def test_noise_is_measured(strength):
    found = noise_of(noisy(soft(), strength))

    # Of the mean of three channels; a little texture is left.
    assert found == pytest.approx(strength / 3**0.5, rel=0.15)


def test_weak_noise_texture_and_darkness_are_no_noise():
    assert noise_of(noisy(soft(), 0.01)) == 0
    assert noise_of(texture(128, 160)) == 0
    assert noise_of(torch.zeros(1, 3, 64, 64)) == 0
    assert noise_of(torch.rand(1, 3, 12, 64)) == 0  # too small to tell


@pytest.mark.parametrize("strength", [0.03, 0.06])
def test_noise_goes_and_the_picture_stays(strength):
    picture = soft()

    def error(image):
        return float((image - picture).square().mean())

    y = noisy(picture, strength)
    assert error(denoised(y)) < error(y) / 5


def test_motion_is_sought_in_a_photo_without_its_noise():
    picture, seen = soft(), []
    y = noisy(picture, 0.06)

    fit(y, Fake(lambda blurry: seen.append(blurry) or blurry))

    before, after = (float((image - picture).square().mean()) for image in (y, seen[0]))
    assert after < before / 5

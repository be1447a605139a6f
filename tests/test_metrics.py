import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.testing import assert_close

from blurvid.errors import InputError
from blurvid.lab.metrics import psnr, score_sequence, ssim


def noisy(shape, sigma=0.05, seed=0):
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(shape, generator=generator)
    return clean, (clean + sigma * torch.randn(shape, generator=generator)).clamp(0, 1)


def test_psnr_is_that_of_scikit_image():
    a, b = noisy((2, 4, 3, 12, 15))
    expected = [
        peak_signal_noise_ratio(x.numpy(), y.numpy(), data_range=1)
        for x, y in zip(a.flatten(0, 1), b.flatten(0, 1), strict=True)
    ]
    expected = torch.tensor(expected, dtype=torch.float64).view(2, 4)
    assert_close(psnr(a, b), expected, atol=1e-5, rtol=0)


def test_psnr_of_one_level_off_and_of_equal_images():
    a = torch.zeros(3, 4, 4)
    assert float(psnr(a, a + 1 / 255)) == pytest.approx(48.1308, abs=1e-4)
    assert float(psnr(a, a)) == math.inf


@pytest.mark.parametrize("level", [0.0, 0.5, 0.97])
@pytest.mark.parametrize("sigma", [0.002, 0.05, 0.3])
def test_ssim_is_that_of_scikit_image(level, sigma):
    a, b = noisy((2, 3, 23, 31), sigma)
    a, b = level + (1 - level) * a, level + (1 - level) * b
    expected = [
        structural_similarity(
            x.double().permute(1, 2, 0).numpy(),
            y.double().permute(1, 2, 0).numpy(),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=-1,
        )
        for x, y in zip(a, b, strict=True)
    ]
    assert_close(ssim(a, b), torch.tensor(expected, dtype=torch.float32), atol=1e-5, rtol=0)


def test_ssim_of_equal_images_is_one_and_keeps_leading_dimensions():
    a, _ = noisy((2, 1, 3, 11, 11))
    assert_close(ssim(a, a), torch.ones(2, 1))
    assert ssim(a[0, 0], a[0, 0]).shape == ()


@pytest.mark.parametrize("score", [psnr, ssim])
def test_images_that_do_not_fit_are_refused(score):
    with pytest.raises(InputError, match="different shapes"):
        score(torch.zeros(3, 12, 12), torch.zeros(3, 12, 13))
    with pytest.raises(InputError, match="not an image"):
        score(torch.zeros(12, 12), torch.zeros(12, 12))


def test_ssim_refuses_what_is_smaller_than_its_window():
    with pytest.raises(InputError, match="11x11"):
        ssim(torch.zeros(3, 10, 30), torch.zeros(3, 10, 30))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_better_order_is_never_worse_and_does_not_know_the_order_given(seed):
    frames, _ = noisy((7, 3, 12, 12), seed=seed)
    truth, _ = noisy((7, 3, 12, 12), seed=seed + 1)
    given, turned = score_sequence(frames, truth), score_sequence(frames.flip(0), truth)

    assert given.ppsnr >= given.psnr
    assert given.ppsnr == pytest.approx(max(given.psnr, turned.psnr))
    assert turned.ppsnr == pytest.approx(given.ppsnr)
    assert turned.pssim == pytest.approx(given.pssim)
    assert turned.per_frame == pytest.approx(given.per_frame)
    assert turned.reversed != given.reversed
    assert sum(given.per_frame) / 7 == pytest.approx(given.ppsnr)


def test_reversed_truth_is_recognised_although_its_middle_frame_is_right_either_way():
    truth, _ = noisy((7, 3, 12, 12))
    score = score_sequence(truth.flip(0), truth)

    assert score.reversed
    assert score.per_frame == (math.inf,) * 7
    assert score.pssim == pytest.approx(1)
    assert score.ssim < 0.5
    assert not score_sequence(truth, truth).reversed


def test_ssim_follows_the_order_that_psnr_chose():
    truth, frames = noisy((7, 3, 12, 12))
    score = score_sequence(frames.flip(0), truth)
    assert score.ssim_per_frame == pytest.approx(ssim(frames, truth).tolist())


def test_a_single_image_is_no_sequence():
    with pytest.raises(InputError, match="not a sequence"):
        score_sequence(torch.zeros(3, 12, 12), torch.zeros(3, 12, 12))

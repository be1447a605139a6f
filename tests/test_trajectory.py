import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from blurvid.exposure import TIMES, line_kernels, sample, straight_lines, to_image, to_light
from blurvid.flow.sampling import rescale
from blurvid.trajectory.camera import Exposure
from blurvid.trajectory.choose import choose
from blurvid.trajectory.deconvolution import solve
from blurvid.trajectory.descent import Descent
from blurvid.trajectory.grain import denoised, noise_of
from blurvid.trajectory.hints import Hints, Proposal
from blurvid.trajectory.paths import Motion, reblur
from blurvid.trajectory.pyramid import Restored, begin, fit, resting
from blurvid.trajectory.refine import Effort, refine
from blurvid.trajectory.sampling import blur, crisp, resize, steepness


def texture(height, width, seed=0):
    """A picture with detail at several scales, (1, 3, H, W) in [0.05, 0.95]."""
    generator = torch.Generator().manual_seed(seed)
    picture = torch.zeros(1, 3, height, width)
    for sigma in (0.8, 2.0, 5.0):
        noise = blur(torch.randn(1, 3, height, width, generator=generator), sigma)
        picture += noise / noise.std()
    return (0.5 + 0.15 * picture).clamp(0.05, 0.95)


def constant(dx, dy, height, width):
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, height, width).clone()


def affine(height, width, matrix, shift):
    """The field M (x, y) + shift around the picture's centre, (1, 2, H, W)."""
    y = torch.arange(height) - (height - 1) / 2
    x = torch.arange(width) - (width - 1) / 2
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    at = torch.stack([columns, rows])
    field = torch.einsum("ij,jhw->ihw", torch.tensor(matrix), at)
    return (field + torch.tensor(shift).view(2, 1, 1))[None]


def apart(field, truth, border=8):
    """Mean distance [px] from the truth in the better of both orders of time."""
    inner = (..., slice(border, -border), slice(border, -border))
    return min(float((field + s * truth)[inner].norm(dim=1).mean()) for s in (1, -1))


class Fake:
    """Stands for the networks: sharp pictures and motion that it is given, no solving.

    Args:
        sharpen: blurry image to middle frame.
        truth: half the way of each place [px], (1, 2, H, W), four fifths of which are seen where
            the middle frame is sharper than the photo; at rest if it is not given.
    """

    def __init__(self, sharpen, truth=None):
        self.sharpen, self.truth = sharpen, truth

    def propose(self, middle, y):
        size = y.shape[-2:]
        if self.truth is None or torch.equal(middle, y):
            a = torch.zeros(1, 2, *size)
        else:
            a = 0.8 * rescale(self.truth, tuple(size))
        return Proposal(Motion.straight(a), torch.ones_like(y[:, :1]))

    def restore(self, y, middle, motion):
        return Restored(middle, middle)


def knowing(picture, truth=None):
    """The networks that know the picture behind a photo, and nearly how it moved."""
    return Fake(lambda blurry: resize(picture, blurry.shape[-2:]), truth)


# Looking between pixels


def cubic(distance, slope=-0.75):
    d = abs(distance)
    if d <= 1:
        return (slope + 2) * d**3 - (slope + 3) * d**2 + 1
    return slope * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def hat(distance):
    return max(0.0, 1 - abs(distance))


@pytest.mark.parametrize(("mode", "kernel"), [("bilinear", hat), ("bicubic", cubic)])
def test_a_look_is_the_sum_over_pixels_around(mode, kernel):
    image, flow = torch.rand(1, 1, 5, 6), 3 * torch.randn(1, 2, 5, 6)

    seen = sample(image, flow, mode)

    for y in range(5):
        for x in range(6):
            px, py = x + float(flow[0, 0, y, x]), y + float(flow[0, 1, y, x])
            value = 0.0
            for j in range(math.floor(py) - 1, math.floor(py) + 3):
                for i in range(math.floor(px) - 1, math.floor(px) + 3):
                    pixel = float(image[0, 0, min(max(j, 0), 4), min(max(i, 0), 5)])
                    value += kernel(px - i) * kernel(py - j) * pixel
            assert float(seen[0, 0, y, x]) == pytest.approx(value, abs=2e-4)


def test_blur_keeps_the_mean_of_a_constant_and_the_variance_of_a_spike():
    spike = torch.zeros(1, 1, 41, 41)
    spike[..., 20, 20] = 1
    smooth = blur(spike, 3.0)
    offsets = torch.arange(41) - 20.0

    assert float(smooth.sum()) == pytest.approx(1, abs=1e-5)
    assert float((smooth[0, 0].sum(0) * offsets**2).sum()) == pytest.approx(9, rel=0.05)
    assert_close(blur(torch.full((1, 2, 5, 6), 0.3), 2.0), torch.full((1, 2, 5, 6), 0.3))


def test_light_and_back():
    image = torch.rand(1, 3, 4, 5) * 0.98 + 0.01

    assert_close(to_image(to_light(image)), image)
    assert float(to_light(torch.tensor(0.5))) == pytest.approx(0.5**2.2)


# Paths


def test_path_passes_through_its_pixel_in_the_middle():
    motion = Motion(*(torch.randn(1, 2, 9, 8) for _ in range(2)))

    assert not motion.displacement(0).any()
    assert_close(motion.displacement(1) + motion.displacement(-1), 2 * motion.b)
    assert_close(motion.displacement(1) - motion.displacement(-1), 2 * motion.a)
    assert TIMES == pytest.approx(np.linspace(-1, 1, 7))


def test_middle_frame_is_the_picture_whatever_the_motion():
    picture = texture(20, 24)
    motion = Motion(*(2 * torch.randn(1, 2, 20, 24) for _ in range(2)))

    assert_close(sample(picture, motion.displacement(0.0)), picture, atol=1e-4, rtol=0)


def test_reblur_of_rest_is_the_picture():
    picture = texture(20, 24)

    assert_close(reblur(picture, Motion.straight(torch.zeros(1, 2, 20, 24))), picture)


def test_reblur_is_the_mean_of_the_frames_in_light():
    picture = texture(20, 24)
    motion = Motion(*(2 * torch.randn(1, 2, 20, 24) for _ in range(2)))

    light = to_light(picture)
    looks = [sample(light, motion.displacement(t)) for t in TIMES]

    mean = to_image(torch.stack(looks).mean(dim=0))
    assert_close(reblur(picture, motion, "bilinear"), mean, atol=1e-4, rtol=0)


def test_motion_scales_with_the_picture():
    motion = Motion.straight(constant(4.0, -2.0, 20, 30))

    small = motion.resized((10, 15))

    assert_close(small.a, constant(2.0, -1.0, 10, 15))
    assert small.size == (10, 15)


def test_motion_of_a_large_picture_stays_small():
    few = Motion(*(blur(torch.randn(1, 2, 18, 25), 2.0) for _ in range(2)))
    dense = few.resized((71, 96))

    motion = dataclasses.replace(few, whole=(71, 96))

    place = (slice(10, 40), slice(50, 200))
    part = motion.part(place)
    assert motion.size == dense.size
    assert_close(part.a, dense.part(place).a)
    assert_close(part.b, dense.part(place).b)
    assert_close(motion.resized((9, 12)).a, few.resized((9, 12)).a)
    assert motion.reach == pytest.approx(dense.reach, rel=0.15)
    for side in (0, 1):
        longest = dense.a[:, side].abs().max() + dense.b[:, side].abs().max()
        assert longest <= motion.farthest(side) < 1.5 * longest


def test_what_is_still_has_sharp_edges_in_a_large_picture():
    still = torch.zeros(1, 1, 60, 80)
    still[..., :37] = 1

    field = constant(2.0, 1.0, 15, 20)
    motion = Hints(still=still).calm(Motion(field, field, (60, 80)))

    assert not motion.a[..., :37].any()
    assert_close(motion.part((slice(None), slice(37, None))).a, constant(8.0, 4.0, 60, 43))


def test_bands_do_not_show(monkeypatch):
    picture, noise = texture(90, 60), torch.randn(1, 3, 90, 60)
    noisy = (blur(picture, 4.0) + 0.05 * noise).clamp(0, 1)
    motion = Motion.straight(blur(torch.randn(1, 2, 90, 60), 4.0))
    found = []
    for rows in (8, 90):
        monkeypatch.setattr("blurvid.trajectory.sampling.BAND", rows)
        numbers = torch.tensor([noise_of(noisy), steepness(noisy)])
        found.append((numbers, denoised(noisy), crisp(noisy, 1.0), resting(motion)))

    assert found[0][0].min() > 0
    for few, whole in zip(*found, strict=True):
        assert_close(few, whole)


# The camera as a matrix


def test_matrix_is_seven_bicubic_looks():
    picture = to_light(texture(30, 40))
    motion = Motion(*(3 * torch.randn(1, 2, 30, 40) for _ in range(2)))
    looks = [sample(picture, motion.displacement(t), "bicubic") for t in TIMES]
    camera = Exposure(motion)

    exposed = camera.forward(picture[0].flatten(1).t().contiguous())

    mean = torch.stack(looks).mean(dim=0)
    assert_close(exposed, mean[0].flatten(1).t(), atol=1e-5, rtol=0)


def test_adjoint_is_the_transposed_matrix():
    motion = Motion(*(3 * torch.randn(1, 2, 150, 90) for _ in range(2)))  # two bands
    camera = Exposure(motion)
    x, y = torch.randn(150 * 90, 3), torch.randn(150 * 90, 3)

    there, back = (camera.forward(x) * y).sum(), (x * camera.adjoint(y)).sum()

    assert float(there) == pytest.approx(float(back), rel=1e-3, abs=1e-2)


# Straight lines


def test_candidates_cover_half_the_directions_up_to_the_radius():
    lines = straight_lines(6.0)
    lengths = lines.norm(dim=1)

    assert not lines[0].any()
    assert float(lengths.max()) <= 6
    assert float(lengths[1:].min()) == pytest.approx(0.35)
    assert float(lines[:, 1].min()) >= 0


def test_line_kernel_is_the_exposure_of_a_point():
    light = torch.zeros(1, 1, 15, 15)
    light[..., 7, 7] = 1
    line = torch.tensor([[2.6, -1.3]])
    looks = [sample(light, constant(*(t * line[0]).tolist(), 15, 15), "bilinear") for t in TIMES]

    kernel = line_kernels(line, TIMES, (7, 7))

    assert_close(kernel, torch.stack(looks).mean(dim=0), atol=1e-5, rtol=0)


# Refinement


def test_fit_recovers_an_affine_field():
    picture = texture(96, 128)
    truth = affine(96, 128, [[0.02, -0.03], [0.03, 0.02]], [2.0, 1.5])
    y = reblur(picture, Motion.straight(truth))

    motion = fit(y, knowing(picture, truth)).motion

    assert apart(motion.a, truth) < 0.15


def test_descent_is_adam_with_a_cosine():
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    ours, theirs = x.clone(), x.clone().requires_grad_()
    descent = Descent(ours, 7, 0.1, 1e-5)
    adam = torch.optim.Adam([theirs], lr=0.1, eps=1e-5)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 7)
    for _ in range(7):
        descent.step(4 * ours**3)
        theirs.grad = 4 * theirs.detach() ** 3
        adam.step()
        cosine.step()
    assert_close(ours, theirs.detach())
    assert (ours - x).abs().min() > 0.1


def test_refinement_finds_the_bend_of_a_path():
    picture = texture(96, 128)
    a, b = constant(3.0, 0.0, 96, 128), constant(0.0, 1.5, 96, 128)
    y = reblur(picture, Motion(a, b))

    motion = refine(picture, y, Motion.straight(a), Effort(cell=16, steps=40, smoothness=3e-3))

    assert float((motion.b - b)[..., 8:-8, 8:-8].norm(dim=1).mean()) < 0.3


def test_refinement_keeps_the_sign_of_the_first_answer():
    picture, truth = texture(64, 80), constant(0.8, 0.5, 64, 80)
    y = reblur(picture, Motion.straight(truth))

    for sign in (1, -1):
        start = Motion.straight(sign * 0.6 * truth)
        motion = refine(picture, y, start, Effort(cell=8, steps=30, smoothness=3e-3))
        assert float((motion.a * sign * truth).sum(dim=1).min()) > 0


def test_what_is_clipped_does_not_lead_refinement():
    picture, truth = texture(96, 128), constant(3.0, 0.0, 96, 128)
    y = reblur(picture, Motion.straight(truth))
    y[..., 64:] = 1.0

    motion = refine(picture, y, Motion.straight(truth), Effort(cell=8, steps=40, smoothness=3e-3))

    assert float((motion.a - truth).norm(dim=1).max()) < 0.2


def test_refinement_works_where_no_slopes_are_kept():
    with torch.inference_mode():
        picture, truth = texture(48, 64), constant(2.0, 1.0, 48, 64)
        y = reblur(picture, Motion.straight(truth))

        motion = refine(
            picture, y, Motion.straight(0.7 * truth), Effort(cell=16, steps=20, smoothness=3e-3)
        )

    assert apart(motion.a, truth) < 0.3
    assert not motion.a.requires_grad


# Solving


def test_solving_brings_the_picture_nearer_to_the_truth(monkeypatch):
    for name, value in (("STEPS", 60), ("MIDDLE", 0.02)):  # long enough, and free enough to see it
        monkeypatch.setattr(f"blurvid.trajectory.deconvolution.{name}", value)
    picture, motion = texture(64, 80), Motion.straight(constant(3.0, 1.0, 64, 80))
    y = reblur(picture, motion)

    solved = solve(y, y, motion)

    before, after = (float((reblur(x, motion) - y).square().mean()) for x in (y, solved))
    assert after < 0.05 * before
    before, after = (float((x - picture).square().mean()) for x in (y, solved))
    assert after < 0.4 * before


def test_solving_in_bands_is_solving_at_once(monkeypatch):
    picture, motion = texture(120, 64), Motion.straight(constant(1.0, 3.0, 120, 64))
    y = reblur(picture, motion)
    whole = solve(y, y, motion)
    monkeypatch.setattr("blurvid.trajectory.deconvolution.BAND_PIXELS", 64 * 64)

    bands = solve(y, y, motion)

    assert_close(bands, whole, atol=1e-3, rtol=0)


# Coarse to fine


def test_choice_takes_the_best_answer_of_each_place():
    picture = texture(48, 96)
    moved = constant(4.0, 0.0, 48, 96)
    moved[..., 48:] = 0
    y = reblur(picture, Motion.straight(moved))
    rest, all_of_it = torch.zeros_like(moved), constant(4.0, 0.0, 48, 96)

    chosen = choose(picture, y, [Motion.straight(rest), Motion.straight(all_of_it)])

    assert float((chosen.a == moved).float().mean()) > 0.9


@pytest.mark.parametrize(
    ("length", "seen_from", "halvings"), [(2.0, 400, 0), (9.0, 400, 0), (9.0, 200, 1)]
)
def test_work_begins_where_the_motion_is_seen(length, seen_from, halvings):
    picture, truth = texture(400, 400), constant(length, 0.0, 400, 400)
    y = reblur(picture, Motion.straight(truth))

    def sharpen(blurry):  # knows the answer, but, as a network does, only of short blur
        return resize(picture, blurry.shape[-2:]) if blurry.shape[-1] <= seen_from else blurry

    found, look = begin(y, Fake(sharpen, truth))
    assert found == halvings
    assert (look is not None) == (length > 7 and seen_from == 400)
    if look is not None:
        assert look.middle.shape[-1] == 400 / 2**halvings


@pytest.mark.parametrize(
    ("hint", "cleared_from", "halvings"), [(2.0, 400, 0), (20.0, 400, 0), (20.0, 200, 1)]
)
def test_known_motion_too_is_begun_at_the_largest_size_that_is_cleared(
    hint, cleared_from, halvings
):
    picture = texture(400, 400)
    y = reblur(picture, Motion.straight(constant(hint, 0.0, 400, 400)))

    def sharpen(blurry):
        return resize(picture, blurry.shape[-2:]) if blurry.shape[-1] <= cleared_from else blurry

    hints = Hints(Proposal.told([((hint, 0.0), None)], 400, 400))
    assert begin(y, Fake(sharpen), hints)[0] == halvings


def blocks(height, width, seed):
    """A picture of large overlapping rectangles, (1, 3, H, W) in [0.1, 0.9]."""
    generator = torch.Generator().manual_seed(seed)
    picture = torch.full((1, 3, height, width), 0.5)
    for _ in range(40):
        top, left = (int(torch.randint(-30, n, (), generator=generator)) for n in (height, width))
        down, across = torch.randint(25, 70, (2,), generator=generator).tolist()
        colour = torch.rand(3, 1, 1, generator=generator) * 0.8 + 0.1
        picture[..., max(0, top) : top + down, max(0, left) : left + across] = colour
    return blur(picture, 0.7)


@pytest.mark.parametrize("band", [20, 256])
def test_long_blur_is_found_through_the_pyramid(band, monkeypatch):
    monkeypatch.setattr("blurvid.trajectory.pyramid.LOOK", 48)
    monkeypatch.setattr("blurvid.trajectory.sampling.BAND", band)
    picture, truth = blocks(112, 136, seed=5), constant(9.0, 4.0, 112, 136)
    y = reblur(picture, Motion.straight(truth))
    stages = []

    def sharpen(blurry):  # knows the answer, but, as a network does, only of short blur
        return resize(picture, blurry.shape[-2:]) if blurry.shape[-1] < 100 else blurry

    class Carrying(Fake):
        def restore(self, y, middle, motion):  # the coarser picture is as good as solved for
            return Restored(resize(picture, y.shape[-2:]).clone(), middle)

    networks = Carrying(sharpen, truth)
    found = fit(y, networks, lambda stage, share: stages.append((stage, share)))

    assert found.levels == 2
    assert apart(found.motion.a, truth, border=20) < 1
    assert [share for _, share in stages] == sorted(share for _, share in stages)


def test_short_blur_needs_one_size():
    picture, truth = texture(96, 112), constant(2.0, 1.0, 96, 112)
    y = reblur(picture, Motion.straight(truth))

    found = fit(y, knowing(picture, truth))

    assert found.levels == 1
    assert apart(found.motion.a, truth) < 0.2


def test_what_nearly_rests_is_taken_from_the_photo():
    y, other = texture(48, 64), texture(48, 64, seed=1)

    class Wrong(Fake):
        def propose(self, middle, y):
            rest = torch.zeros_like(y[:, :2])
            return Proposal(Motion.straight(rest), torch.ones_like(y[:, :1]))

        def restore(self, y, middle, motion):
            return Restored(other, middle)

    found = fit(y, Wrong(lambda blurry: blurry))

    assert float(resting(found.motion).min()) == 1
    assert_close(found.restored.picture, y)


def test_what_rests_keeps_its_noise():
    """Even texture, such as grass, looks like noise."""
    y = (0.5 + 0.08 * torch.randn(1, 3, 64, 80)).clamp(0, 1)
    assert noise_of(y) > 0

    found = fit(y, Fake(lambda blurry: blurry))

    assert_close(found.restored.picture, y)


def test_a_hint_decides_where_the_search_begins():
    """Stripes along x tell nothing of the motion along them, nor of the way across."""
    picture = texture(96, 112)[..., :1, :].expand(1, 3, 96, 112).contiguous()
    truth = constant(3.0, 0.0, 96, 112)
    y = reblur(picture, Motion.straight(truth))

    for a in ((3.0, 2.0), (-3.0, -2.0)):
        hints = Hints(Proposal.told([(a, None)], 96, 112))

        found = fit(y, knowing(picture), hints=hints)

        expected = torch.tensor(a).view(1, 2, 1, 1)
        assert float((found.motion.a - expected)[..., 8:-8, 8:-8].norm(dim=1).mean()) < 0.5


def test_a_known_motion_counts_the_more_the_less_a_network_sees():
    size = (48, 64)
    told = Proposal(Motion.straight(constant(-4.0, 0.0, *size)), torch.ones(1, 1, *size))
    told.motion.a[..., 32:] = 0.3  # not even half of its expected error
    known = Proposal(Motion.straight(constant(1.0, 0.5, 24, 32)), torch.full((1, 1, 24, 32), 0.5))

    both = Hints(known).joined(told)

    # Errors of 1 px both, at this size: half of each where the network is sure, else the known;
    # in the known order of time.
    assert_close(both.motion.a[..., :30], constant(3.0, 0.5, 48, 30))
    assert_close(both.motion.a[..., 32:], constant(2.0, 1.0, 48, 32), atol=0.01, rtol=0)
    assert_close(both.error[..., 32:], torch.ones(1, 1, 48, 32), atol=0.01, rtol=0)
    assert Hints().joined(told) is told


@pytest.mark.parametrize("size", [(96, 112), (480, 270), (30, 4000)])
def test_what_the_user_tells_is_the_same_everywhere_in_photos_of_every_shape(size):
    told = Proposal.told([((8.0, 6.0), None)], *size)

    whole, part = told.resized(size), told.part((slice(10, 20), slice(30, 50)), *size)

    assert_close(whole.motion.a, constant(8.0, 6.0, *size))
    assert_close(part.motion.a, constant(8.0, 6.0, 10, 20))
    assert_close(whole.error, torch.full((1, 1, *size), 2.5))


def test_what_a_user_tells_of_a_thing_says_nothing_of_the_rest():
    mask = torch.zeros(60, 80, dtype=torch.bool)
    mask[10:40, 20:50] = True
    network = Proposal(Motion.straight(constant(0.2, -0.1, 60, 80)), torch.ones(1, 1, 60, 80))

    both = Hints(Proposal.told([((6.0, 1.0), mask)], 60, 80)).joined(network)

    thing = torch.tensor([6.0, 1.0]).view(1, 2, 1, 1)
    assert float((both.motion.a[..., mask] - thing[..., 0]).abs().max()) < 0.05
    assert_close(both.motion.a[..., ~mask], network.motion.a[..., ~mask], atol=1e-3, rtol=0)
    assert_close(both.error[..., ~mask], network.error[..., ~mask])


def test_time_runs_for_all_as_what_is_told_of_a_thing_says():
    mask = torch.zeros(60, 80, dtype=torch.bool)
    mask[10:40, 20:50] = True
    network = Proposal(Motion.straight(constant(-3.0, 0.0, 60, 80)), torch.ones(1, 1, 60, 80))
    network.motion.a[:, :, 50:] = torch.tensor([0.0, 2.0]).view(1, 2, 1, 1)

    both = Hints(Proposal.told([((6.0, 1.0), mask)], 60, 80)).joined(network)

    assert_close(both.motion.a[..., 50:, :], constant(0.0, -2.0, 10, 80), atol=0.01, rtol=0)
    assert_close(both.motion.a[..., :10, :], constant(3.0, 0.0, 10, 80), atol=0.01, rtol=0)


def test_what_is_told_of_a_thing_lies_over_what_is_known_of_the_rest():
    mask = torch.zeros(60, 80, dtype=torch.bool)
    mask[10:40, 20:50] = True
    rest = Proposal(Motion.straight(constant(1.0, 0.0, 30, 40)), torch.full((1, 1, 30, 40), 0.3))

    both = Proposal.told([((6.0, 1.0), mask)], 60, 80).over(rest)

    assert_close(both.motion.a[..., ~mask], constant(2.0, 0.0, 60, 80)[..., ~mask])
    assert_close(both.motion.a[..., mask], constant(6.0, 1.0, 60, 80)[..., mask])
    assert_close(both.error[..., ~mask], torch.full((1, 1, 60, 80), 0.6)[..., ~mask])


def test_a_known_motion_of_a_part_is_that_of_the_whole():
    whole = Proposal(Motion.straight(torch.randn(1, 2, 12, 16)), torch.rand(1, 1, 12, 16))

    part = whole.part((slice(6, 40), slice(20, 64)), 48, 64)

    full = whole.resized((48, 64))
    assert_close(part.motion.a, full.motion.a[..., 6:40, 20:64])
    assert_close(part.error, full.error[..., 6:40, 20:64])


def test_motion_that_is_seen_is_believed_where_the_middle_frame_stays_blurred():
    """Rest explains such a photo best, in all of it and in parts."""
    picture, truth = blocks(96, 112, seed=2), constant(4.0, 1.0, 96, 112)
    y = reblur(picture, Motion.straight(truth))

    class Sure(Fake):
        def propose(self, middle, y):
            return Proposal(Motion.straight(rescale(truth, tuple(y.shape[-2:]))), y[:, :1] * 0 + 1)

    for blurred in (slice(0, 96), slice(40, 60)):
        middle = picture.clone()
        middle[..., blurred, :] = y[..., blurred, :]

        found = fit(y, Sure(lambda blurry, middle=middle: resize(middle, blurry.shape[-2:])))

        assert apart(found.motion.a[..., blurred, :], truth[..., blurred, :]) < 0.5


def test_what_is_said_to_be_still_rests():
    picture, truth = texture(96, 112), constant(2.0, 1.0, 96, 112)
    y = reblur(picture, Motion.straight(truth))
    still = torch.zeros(1, 1, 96, 112)
    still[..., :48] = 1

    found = fit(y, knowing(picture, truth), hints=Hints(still=still))

    assert not found.motion.a[..., :47].any()
    calm = torch.lerp(y, picture, 0.3)  # the middle frame, which is the picture, for the rest
    assert_close(found.restored.picture[..., :32], calm[..., :32])
    assert float(found.motion.a[..., 60:].norm(dim=1).mean()) > 1.5

import math

import pytest
import torch
import torch.nn.functional as F

from blurvid import flow
from blurvid.errors import InputError
from blurvid.exposure import sample
from blurvid.lab.camera import IDEAL
from blurvid.lab.metrics import psnr
from blurvid.lab.options import MotionOptions
from blurvid.lab.synth import simulate

HEIGHT, WIDTH = 120, 160


def texture(seed=0, margin=40):
    """Smooth noise over several octaves, in [0, 1], larger than the images by `margin`."""
    generator = torch.Generator().manual_seed(seed)
    height, width = HEIGHT + 2 * margin, WIDTH + 2 * margin
    image = torch.zeros(1, 3, height, width)
    for cell in (3, 6, 12, 24, 48):
        coarse = torch.rand(1, 3, height // cell + 3, width // cell + 3, generator=generator)
        fine = F.interpolate(coarse, scale_factor=cell, mode="bicubic", align_corners=False)
        image += fine[..., cell : cell + height, cell : cell + width]
    return (image - image.amin()) / (image.amax() - image.amin())


def seen(scene, dx=0.0, dy=0.0, turn=0.0, margin=40):
    """A scene that has moved by (dx, dy) px and turned clockwise [rad], (1, 3, H, W)."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    x, y = x - (WIDTH - 1) / 2 - dx, y - (HEIGHT - 1) / 2 - dy
    cos, sin = math.cos(turn), math.sin(turn)
    half = torch.tensor([WIDTH - 1 + 2 * margin, HEIGHT - 1 + 2 * margin]) / 2
    grid = torch.stack([cos * x + sin * y, cos * y - sin * x], dim=-1) / half
    return F.grid_sample(scene, grid[None], mode="bicubic", align_corners=True)


def inner(x, border=22):
    return x[..., border:-border, border:-border]


def errors(found, truth):
    return (found - truth).square().sum(dim=1).sqrt()


def constant(dx, dy):
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("dx", "dy"), [(0, 0), (0.4, -0.3), (-3.5, 1.25), (9.5, -6.25), (-18, 9), (3, 20)]
)
def test_shift(dx, dy):
    found = flow.estimate(seen(texture()), seen(texture(), dx, dy))

    assert found.shape == (1, 2, HEIGHT, WIDTH)
    assert inner(errors(found, constant(dx, dy))).quantile(0.95) < 0.15


def test_rotation():
    turn = math.radians(5)
    found = flow.estimate(seen(texture()), seen(texture(), turn=turn))

    pixels = flow.pixel_grid(HEIGHT, WIDTH, torch.device("cpu"))
    x, y = (pixels - torch.tensor([(WIDTH - 1) / 2, (HEIGHT - 1) / 2]).view(1, 2, 1, 1)).unbind(1)
    cos, sin = math.cos(turn), math.sin(turn)
    truth = torch.stack([cos * x - sin * y - x, sin * x + cos * y - y], dim=1)
    assert inner(errors(found, truth), 8).quantile(0.95) < 0.15


def two_layers(noise=0.0):
    """Seven frames of a disc that goes right and down before a scene that goes left."""
    back, front = texture(1), texture(2)
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    frames, discs = [], []
    for k in range(7):
        dx, dy = 10 * k / 6, 4 * k / 6
        depth = 32 - torch.hypot(x - 70 - dx, y - 55 - dy)
        mask = torch.sigmoid(2 * depth)
        frames.append(mask * seen(front, dx, dy) + (1 - mask) * seen(back, -dx / 2))
        discs.append(depth)
    generator = torch.Generator().manual_seed(3)
    frames = torch.cat(frames)
    frames = frames + noise * torch.randn(frames.shape, generator=generator)
    return frames.clamp(0, 1), discs[0]


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_two_layers_keep_their_own_motion_up_to_their_edge(noise):
    frames, depth = two_layers(noise)
    found = flow.along(frames)[None]

    on_disc, off_disc = errors(found, constant(10, 4))[0], errors(found, constant(-5, 0))[0]
    off = torch.zeros_like(depth, dtype=torch.bool)
    off[15:-15, 15:-15] = depth[15:-15, 15:-15] < -16  # what is never behind the disc
    assert on_disc[depth > 3].median() < 0.3
    assert off_disc[off].median() < 0.3
    assert on_disc[depth > 3].quantile(0.9) < 1
    assert off_disc[off].quantile(0.9) < 1
    # Where the disc lays the scene open, both move on their own up to a few pixels of the edge.
    left = torch.arange(WIDTH) < 55
    assert on_disc[left & (depth > 1) & (depth < 5)].median() < 0.7
    assert off_disc[left & (depth < -3) & (depth > -7)].median() < 0.7
    # Where it hides the scene nobody knows, but nothing flies off.
    assert found[0, 0].min() > -8 and found[0, 0].max() < 14


def test_what_is_small_and_fast_is_found_along_the_frames():
    back, front = texture(1), texture(2)
    x = torch.arange(WIDTH)
    frames = []
    for k in range(7):
        mask = torch.sigmoid(2 * (4.5 - (x - 60 - 4 * k).abs()))
        frames.append(mask * seen(front, 4 * k) + (1 - mask) * seen(back))
    found = flow.along(torch.cat(frames))

    assert found[0, 20:-20, 58:63].median() == pytest.approx(24, abs=1)
    assert found[0, 20:-20, 110:130].abs().median() < 0.1


def test_warping_the_last_frame_gives_the_first():
    scene = texture(4)
    motion = MotionOptions(max_path=20.0, covered=1.0)
    sources = torch.stack([scene, texture(5)], dim=1)[..., :HEIGHT, :WIDTH]
    generator = torch.Generator().manual_seed(2)
    frames = simulate(sources, motion, IDEAL, generator).frames[0]
    found = flow.along(frames)

    back = sample(frames[-1:], found[None])
    assert psnr(back[0], frames[0]) > psnr(frames[-1], frames[0]) + 5


def test_a_batch_is_measured_as_its_images_alone():
    a, b = seen(texture(0)), seen(texture(1))
    c, d = seen(texture(0), 3, 1), seen(texture(1), -2, 4)
    together = flow.estimate(torch.cat([a, b]), torch.cat([c, d]))
    torch.testing.assert_close(together[:1], flow.estimate(a, c), atol=1e-3, rtol=0)
    torch.testing.assert_close(together[1:], flow.estimate(b, d), atol=1e-3, rtol=0)


def test_large_images_are_measured_smaller(monkeypatch):
    monkeypatch.setattr("blurvid.flow.pyramid.FLOW_SIDE", WIDTH)
    a, b = seen(texture()), seen(texture(), 4, -2)
    large = [F.interpolate(x, scale_factor=3, mode="bicubic") for x in (a, b)]
    found = flow.estimate(*large)
    assert found.shape == (1, 2, 3 * HEIGHT, 3 * WIDTH)
    assert found[0, :, 50:-50, 50:-50].mean(dim=(1, 2)).tolist() == pytest.approx([12, -6], abs=0.2)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (33, 17)])
def test_images_of_any_size_and_without_texture_have_no_motion(size):
    grey = torch.full((7, 3, *size), 0.5)
    assert flow.along(grey).shape == (2, *size)
    assert flow.along(grey).abs().max() < 1e-3


def test_what_is_hidden_in_the_other_image_is_told():
    frames, depth = two_layers()
    forth = flow.estimate(frames[:1], frames[-1:])
    back = flow.estimate(frames[-1:], frames[:1])
    found = flow.visible(forth, back)[0, 0]

    # The disc and the scene behind it part by 15 px: what is just right of it disappears.
    assert found[depth > 4].float().mean() > 0.9
    assert found[40:70, 106:112].float().mean() < 0.2
    assert found[20:100, 130:150].float().mean() > 0.95


def test_a_flow_that_leaves_the_image_is_not_visible():
    away = torch.full((1, 2, 8, 8), 4.0)
    assert flow.visible(away, -away)[0, 0, :4, :4].all()
    assert not flow.visible(away, -away)[0, 0, 4:].any()


@pytest.mark.parametrize(
    "call",
    [
        lambda x: flow.estimate(x, x[..., 1:]),
        lambda x: flow.estimate(x[:, :1], x[:, :1]),
        lambda x: flow.along(x[:1]),
        lambda x: flow.along(x[0]),
        lambda x: flow.visible(x[:, :2], x[:1, :2]),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call):
    with pytest.raises(InputError):
        call(torch.zeros(2, 3, 8, 8))

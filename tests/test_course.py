"""How a video moves around its pictures, and how much of that its shutter lets in."""

import math

import pytest
import torch
from test_trajectory import constant, texture
from torch.testing import assert_close

from blurvid.trajectory import Courses, Motion, Proposal, Shutter, reblur, sighted

HEIGHT, WIDTH = 96, 144
SPEED = (6.0, -2.0)
"""From picture to picture [px]."""


def pictures(count, share, seed=0):
    """Blurred pictures of a texture that moves evenly, (T, 3, H, W)."""
    margin = 40
    wide = texture(HEIGHT + 2 * margin, WIDTH + 2 * margin, seed=seed)
    made = []
    for number in range(count):
        at = [-round(speed) * (number - count // 2) for speed in SPEED]
        a = constant(*(-speed * share / 2 for speed in SPEED), *wide.shape[-2:])
        blurred = reblur(wide, Motion.straight(a)) if share else wide
        rows, columns = (
            slice(margin + at[i], margin + at[i] + n) for i, n in ((1, HEIGHT), (0, WIDTH))
        )
        made.append(blurred[0, :, rows, columns])
    return torch.stack(made)


def inner(field):
    return field[..., 16:-16, 16:-16].mean(dim=(0, 2, 3))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_way_from_picture_to_picture_is_seen_however_blurred_they_are(share):
    first, second, third = pictures(3, share)
    courses = Courses()

    found = [courses.push(first, second), courses.push(second, third), courses.push(third, None)]

    for course in found:
        assert course is not None
        assert_close(inner(course.velocity), torch.tensor(SPEED), atol=0.3, rtol=0)
        during = course.during(0.5)
        # Content moves by -2 a.
        assert_close(inner(during.motion.a), torch.tensor(SPEED) * -0.25, atol=0.1, rtol=0)
    assert float(inner(found[1].uneven)) < 0.3


def test_longer_gaps_count_as_long_as_they_are():
    first, second = pictures(2, 0.5)

    course = Courses().push(first, second, apart=2.0)

    assert_close(inner(course.velocity), torch.tensor(SPEED) / 2, atol=0.2, rtol=0)


def test_clocks_that_err_make_nothing_fast():
    first, second = pictures(2, 0.5)

    course = Courses().push(first, second, apart=1 / 90)

    assert float(inner(course.velocity).norm()) < 2.1 * math.hypot(*SPEED)


def test_nothing_is_known_beyond_a_cut():
    first, second, third = pictures(3, 0.5)
    other = texture(HEIGHT, WIDTH, seed=7)[0]
    courses = Courses()

    assert courses.push(other, first) is None
    after_cut = courses.push(first, second)
    assert_close(inner(after_cut.velocity), torch.tensor(SPEED), atol=0.3, rtol=0)
    assert float(after_cut.uneven.min()) > 1  # one side alone is known
    courses.push(second, third)
    assert Courses().push(third, None) is None


def seeing(share, error):
    def see(picture):
        a = constant(*(-speed * share / 2 for speed in SPEED), HEIGHT, WIDTH)
        return Proposal(Motion.straight(a), torch.full((1, 1, HEIGHT, WIDTH), error))

    return see


def test_the_share_of_time_is_that_of_what_networks_surely_see():
    first, second = pictures(2, 0.5)
    course = Courses().push(first, second)

    length, places = sighted(course, seeing(0.5, error=0.5))
    assert length == pytest.approx(0.5, abs=0.05)
    assert places > 0.9
    assert sighted(course, seeing(0.5, error=3.0)) == (0.0, 0.0)
    across = Proposal(Motion.straight(constant(1.0, 3.0, HEIGHT, WIDTH)), course.uneven + 0.5)
    assert sighted(course, lambda picture: across)[1] < 0.01


def test_a_shutter_takes_the_median_and_forgets():
    shutter = Shutter()
    assert shutter.share is None

    shutter.learn([(0.4, 0.2), (0.5, 0.3), (0.9, 0.1)])
    assert shutter.share == 0.5
    shutter.learn([(1.4, 0.5)] * 32)
    assert shutter.share == 1.0
    shutter.learn([(0.0, 0.0)] * 31)
    assert shutter.share == 1.0
    shutter.learn([(0.0, 0.0)])
    assert shutter.share is None


def test_hardly_any_sight_is_none():
    shutter = Shutter()

    shutter.learn([(0.6, 0.003), (0.7, 0.002)])

    assert shutter.share is None

"""From a photo to the picture and its motion, coarse to fine where the blur is long.

The deblurring network knows blurs of up to about 15 px. Where a photo's are so long that the
networks do not see them, it is made smaller until they do, and every answer is the start of the
next size. What the networks do is asked of them through `Networks`, so that nothing in here has
parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.flow.sampling import steady
from blurvid.trajectory.choose import choose, deblurred, oriented, sharpened
from blurvid.trajectory.deconvolution import solve
from blurvid.trajectory.grain import denoised, noise_of
from blurvid.trajectory.hints import NOTHING, Hints, Proposal
from blurvid.trajectory.paths import Motion, reblur
from blurvid.trajectory.refine import FULL_SIZE, HALF_SIZE, refine
from blurvid.trajectory.sampling import blur, by_bands, resize
from blurvid.trajectory.support import LOOKED, supported, tied, within

Progress = Callable[[str, float], None]
"""Told what begins, and the share of the whole that is done."""


def silent(stage: str, share: float) -> None:
    """Progress that nobody asked for."""


@dataclass(frozen=True, eq=False)
class Restored:
    """The picture that moved."""

    picture: Tensor
    """L, (1, 3, H, W), RGB in [0, 1]."""
    features: Tensor
    """What its network needs to render frames, of whatever shape."""


@dataclass(frozen=True, eq=False)
class Look:
    """What is seen of a photo at some size."""

    middle: Tensor
    """Of that size."""
    motion: Motion
    """Of the size at which motion is worked on."""


class Networks(Protocol):
    """What is learned. All images (1, 3, H, W), RGB in [0, 1], of any size."""

    def sharpen(self, y: Tensor, /) -> Tensor:
        """The middle frame of a blurry image."""

    def propose(self, middle: Tensor, y: Tensor, /) -> Proposal:
        """The motion that made the blurry image of its middle frame."""

    def restore(self, y: Tensor, middle: Tensor, motion: Motion, /) -> Restored:
        """The picture solved for along a motion."""


SHORT = 7.0
"""Half displacement [px] up to which the networks need not be asked whether they see it..."""
LONG = 24.0
"""...and from which they need not be asked either: their training's was up to 28."""
SEEN = 0.55
"""Share of a motion's length that is found where it is seen: 0.6 and more where a smaller size
would do harm..."""
CLEAR = 0.8
"""...and share of that motion's blur that the middle frame has lost by then: 0.9 and more where it
was chosen, 0.75 and less of real blur that needs smaller sizes."""
LOOK = 160
"""Shorter side [px] of the first look, about."""
WHOLE = 300
"""Pictures whose shorter side is below this [px] are refined at their own size alone."""
WORK = 2**18
"""Pixels of the size at which motion is worked on at most: it is smooth, and scaled up."""
GAIN = 0.5
"""By so much [dB] must motion explain the photo better than rest to be believed..."""
SOME = 0.01
"""...unless this share of places surely moves, by a pixel and more, and it explains it at all..."""
MUCH = 0.25
"""...or this share: of sharp photos, up to 0.03 are taken to move where that explains nothing."""
CARRIED = 1.0
"""Error of `a` that is expected of a coarser answer [px], and a tenth of its length."""
UNEXPLAINED = -32.0
"""Re-blur error [dB] above which a network's picture is brought nearer to the photo."""
SOLVED = 2**20
"""Pixels above which it is not: its matrix takes 300 bytes of each, and what is coarser was."""
RESTING = (0.1, 0.35)
"""Half displacements [px] below which a place is taken for resting, and above which not."""
BEGUN = 0.4
"""Share of the whole that is said to be done once larger sizes have been tried."""
CLEARED = 0.3
"""Share of the middle frame, beside the photo, in what rests: it mends blur too short to be found,
and sharpens what is sharp."""
SHARP = -44.0
"""Difference [dB] of middle frame and photo below which a photo that rests is left as it is."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A picture and a motion that make a photo."""

    restored: Restored
    motion: Motion
    levels: int
    """Sizes that it took."""


def fit(
    y: Tensor,
    networks: Networks,
    tell: Progress = silent,
    hints: Hints = NOTHING,
) -> Fit:
    """Find the sharp picture and the motion that a photo was made of.

    Args:
        y: photo, (1, 3, H, W), RGB in [0, 1].
        networks: what is learned.
        tell: told what begins.
        hints: what is known of the motion.

    Returns:
        Picture and motion of the photo's size; what moves is without the noise, if it was strong.
    """
    tell("look", 0.0)
    photo = y
    if noise_of(photo):
        y = denoised(photo)
    height, width = y.shape[-2:]
    halvings, look = begin(y, networks, hints, tell)
    begun = BEGUN if halvings or look else 0.0
    sizes = [_size(height, width, k) for k in range(halvings, -1, -1)]
    work = [size[0] * size[1] for size in sizes]
    found: Fit | None = None
    for number, size in enumerate(sizes):
        done, share = sum(work[:number]) / sum(work), work[number] / sum(work)

        def step(stage: str, part: float, done: float = done, share: float = share) -> None:
            tell(stage, begun + (1 - begun) * (done + part * share))

        seen = resize(y, size)
        if found is None:
            look = look or _look(seen, networks, step, hints)
            found = _restored(seen, look.middle, look.motion, networks, step, hints)
        else:
            last = number == len(sizes) - 1
            found = _next(seen, networks, found, last, step, hints)
    assert found is not None
    if y is not photo:  # what rests keeps its noise: it may be texture
        found.restored.picture.lerp_(photo, resting(found.motion))
    return replace(found, levels=len(sizes))


def begin(
    y: Tensor,
    networks: Networks,
    hints: Hints = NOTHING,
    tell: Progress = silent,
) -> tuple[int, Look | None]:
    """Find the largest size at which the networks see the motion that they see where it is short.

    At a smaller one they see it as well, but the answers of that have to be carried over, which
    costs 0.8 dB where it is not needed.

    Args:
        y: photo, (1, 3, H, W).
        networks: what is learned.
        hints: what is known of the motion.
        tell: told what begins.

    Returns:
        How often the photo is halved, and what the networks say at that size, if they were asked.
    """
    height, width = y.shape[-2:]
    most = max(0, round(math.log2(min(height, width) / LOOK)))
    if most == 0:
        return 0, None
    small = resize(y, _size(height, width, most))
    middle = networks.sharpen(small)
    told = hints.joined(networks.propose(middle, small))
    if hints.motion is None and _gain(middle, small, told.motion) <= GAIN:
        return 0, None
    motion = told.motion
    longest = motion.reach * 2**most
    needed = min(most, _halvings(longest))
    for halvings in range(needed):
        there = longest / 2**halvings
        if there <= LONG:
            size = _size(height, width, halvings)

            def step(stage: str, part: float, tried: int = halvings) -> None:
                tell(stage, BEGUN * (tried + part) / needed)

            seen = resize(y, size)
            look = _look(seen, networks, step, hints)
            found = look.motion.reach * size[1] / look.motion.size[1]
            if found >= SEEN * there and _cleared(look, seen) >= CLEAR:
                return halvings, look
    return needed, None


def _cleared(look: Look, y: Tensor) -> float:
    """Share of the blur that the middle frame has lost, the more it counts the more moves."""
    length = look.motion.a.norm(dim=1, keepdim=True)
    lost = sharpened(_work_size(look.middle), _work_size(y), look.motion)
    return float((lost * length).sum() / length.sum().clamp(min=1e-6))


def _halvings(longest: float) -> int:
    """How often a motion [px] is halved until it is short."""
    return math.ceil(math.log2(max(longest / SHORT, 1)))


def resting(motion: Motion) -> Tensor:
    """Where nothing moves, so that the photo itself is nearly the best picture, (1, 1, H, W)."""
    low, high = RESTING

    def rest(rows: slice) -> Tensor:
        length = blur(motion.part((rows, slice(None))).a.norm(dim=1, keepdim=True), 2.0)
        return ((high - length) / (high - low)).clamp(0, 1)

    return by_bands(rest, motion.size[0], 6)


def _look(y: Tensor, networks: Networks, tell: Progress, hints: Hints) -> Look:
    """Find the motion without a coarser answer."""
    tell("middle frame", 0.02)
    middle = networks.sharpen(y)
    tell("motion", 0.45)
    small_middle, small_y = _work_size(middle), _work_size(y)
    told = hints.joined(networks.propose(small_middle, small_y))
    pair = _first_size(small_middle), _first_size(small_y)
    motion = _coarsely(*pair, told)
    if not _believed(_gain(*pair, motion), told):
        motion = Motion.straight(torch.zeros_like(motion.a))
    return Look(middle, _finely(small_middle, small_y, motion, told.error))


def _next(
    y: Tensor, networks: Networks, coarser: Fit, last: bool, tell: Progress, hints: Hints
) -> Fit:
    """The answer at the next size, of which the last is not sharpened: that would be too much."""
    tell("picture", 0.02)
    middle, share = _carried(y, networks, coarser)
    if not last:
        tell("middle frame", 0.2)
        middle = within(networks.sharpen(middle), middle)
    tell("motion", 0.6)
    small_middle, small_y = _work_size(middle), _work_size(y)
    work = (small_y.shape[-2], small_y.shape[-1])
    still = F.interpolate(share, work, mode="bilinear", align_corners=False) <= 0.3
    del share  # of large photos it takes much memory
    before = coarser.motion.resized(work)
    fresh = networks.propose(small_middle, small_y).motion
    rest = torch.zeros_like(fresh.a)
    # one sign for the whole picture, then one for each place
    turn = 1.0 if float((fresh.a * before.a).sum()) >= 0 else -1.0
    own = oriented(fresh.a * turn, blur(before.a, 6.0))
    answers = [Motion.straight(rest), before, Motion(own, fresh.b)]
    chosen = choose(small_middle, small_y, answers, still=still)
    a = steady(chosen.a)
    expected = CARRIED + 0.1 * a.norm(dim=1, keepdim=True)
    told = Proposal(Motion(a, chosen.b), expected)
    coarse = _coarsely(_first_size(small_middle), _first_size(small_y), told)
    motion = _finely(small_middle, small_y, coarse, expected)
    return _restored(y, middle, motion, networks, tell, hints)


def _carried(y: Tensor, networks: Networks, coarser: Fit) -> tuple[Tensor, Tensor]:
    """A photo with what the coarser answer makes of it, where it is believed, and where that is."""
    size = (y.shape[-2], y.shape[-1])
    known = replace(coarser.motion, whole=size)
    picture = networks.restore(y, resize(coarser.restored.picture, size), known).picture

    def believed(rows: slice) -> Tensor:
        some = (picture[..., rows, :], y[..., rows, :], known.part((rows, slice(None))))
        return blur(deblurred(*some), 3.0)

    share = by_bands(believed, size[0], 25)
    return torch.lerp(y, picture, share, out=picture), share


def _restored(
    y: Tensor, middle: Tensor, motion: Motion, networks: Networks, tell: Progress, hints: Hints
) -> Fit:
    """Solve for the picture, at the photo's size."""
    size = (y.shape[-2], y.shape[-1])
    motion = hints.calm(replace(motion, whole=size))
    tell("picture", 0.8)
    found = networks.restore(y, middle, motion)
    picture, features = found.picture, found.features
    del found  # of large photos, what is solved for takes much memory
    if math.prod(size) <= SOLVED:
        small, seen = _work_size(picture), _work_size(y)
        if _error(small, seen, motion.resized((seen.shape[-2], seen.shape[-1]))) > UNEXPLAINED:
            tell("picture", 0.9)
            picture = solve(picture, y, motion).clamp(0, 1)
    rest = resting(motion)
    sharp = float(rest.min()) == 1 and _decibels(middle, y) < SHARP

    def kept(rows: slice) -> Tensor:
        some, seen = picture[..., rows, :], y[..., rows, :]
        calm = seen if sharp else torch.lerp(seen, middle[..., rows, :], CLEARED)
        return tied(supported(some, seen), seen).lerp_(calm, rest[..., rows, :])

    return Fit(Restored(by_bands(kept, size[0], LOOKED), features), motion, 1)


def _coarsely(middle: Tensor, y: Tensor, told: Proposal) -> Motion:
    """Refine what is told, at the first size."""
    told = told.resized((y.shape[-2], y.shape[-1]))
    return refine(middle, y, told.motion, HALF_SIZE, told.error)


def _finely(middle: Tensor, y: Tensor, found: Motion, error: Tensor) -> Motion:
    """Refine at full size what was found at half, if it was."""
    size = (y.shape[-2], y.shape[-1])
    return found if found.size == size else refine(middle, y, found.resized(size), FULL_SIZE, error)


def _believed(gain: float, told: Proposal) -> bool:
    """Whether there is motion in what a network tells, which explains the photo so well.

    Where the middle frame is as blurred as the photo, rest explains it best; so what is seen for
    sure need explain less.
    """
    sure = (told.motion.a.norm(dim=1, keepdim=True) > told.error.clamp(min=1)).float().mean()
    return gain > GAIN or (gain > 0 and float(sure) > SOME) or float(sure) > MUCH


def _gain(middle: Tensor, y: Tensor, motion: Motion) -> float:
    """By how much motion explains the photo better than rest does [dB]."""
    rest = Motion.straight(torch.zeros_like(motion.a))
    return _error(middle, y, rest) - _error(middle, y, motion)


def _first_size(image: Tensor) -> Tensor:
    """An image at the size at which motion is refined first."""
    return image if min(image.shape[-2:]) < WHOLE else F.avg_pool2d(image, 2)


def _error(middle: Tensor, y: Tensor, motion: Motion) -> float:
    """Re-blur error [dB], smaller is better."""
    return _decibels(reblur(middle, motion), y)


def _decibels(image: Tensor, y: Tensor) -> float:
    """Difference [dB], smaller is nearer."""
    return 10 * math.log10(float(F.mse_loss(image, y)) + 1e-10)


def _work_size(image: Tensor) -> Tensor:
    return resize(image, _limited((image.shape[-2], image.shape[-1]), WORK))


def _limited(size: tuple[int, int], most: int) -> tuple[int, int]:
    """A size, or one of the same shape that has about `most` pixels."""
    scale = min(1.0, math.sqrt(most / math.prod(size)))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _size(height: int, width: int, halvings: int) -> tuple[int, int]:
    return round(height / 2**halvings), round(width / 2**halvings)

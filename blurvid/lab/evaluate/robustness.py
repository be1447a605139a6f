"""Robustness of deblurrers of the middle frame to unseen blur types.

From the same sharp moments every kind of blur is made, seeded, so that models are compared on the
same images. Kinds differ in difficulty; what counts is the gain over the blurry image.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blurvid.blur import average_frames
from blurvid.config import DEFAULT_GAMMA, FRAMES
from blurvid.errors import InputError, OptionError
from blurvid.lab.data.windows import (
    SourceClip,
    check_options,
    find_clips,
    find_stills,
    is_window_folder,
    read_windows,
    simulate_still,
)
from blurvid.lab.data.windows.clips import as_floats
from blurvid.lab.evaluate.shared import average, plain
from blurvid.lab.metrics import psnr, ssim
from blurvid.lab.options import (
    IN_DOMAIN,
    ROBUSTNESS_KINDS,
    KindOptions,
    MotionOptions,
    SynthOptions,
)
from blurvid.lab.synth import blur, jpeg

LONG = 21
"""Frames averaged for `long`."""
MOST = 13
"""Most frames averaged for `average` and `light`."""
NOISE = 0.02
"""Standard deviation of the noise of `noise`."""
QUALITY = 70.0
"""Of its JPEG."""
RESAMPLES = 2000
"""Of the bootstrap."""
COVERED = 0.95
"""Share of the resamples inside an interval."""

Deblur = Callable[[Tensor], Tensor]
"""Gives for y (3, H, W), RGB, float32 in [0, 1], its middle frame, same shape."""


@dataclass(frozen=True, eq=False)
class Moment:
    """Sharp frames around a moment."""

    name: str
    clip: str
    frames: Callable[[], Tensor]
    """Load them, (T, 3, H, W), T odd, RGB in [0, 1]; the moment is the one in the middle."""


@dataclass(frozen=True)
class RobustnessRow:
    """One model on one moment blurred in one way."""

    model: str
    kind: str
    moment: str
    clip: str
    psnr: float
    ssim: float
    blurry_psnr: float
    """Of the blurry image itself; infinite for `sharp`."""
    blurry_ssim: float

    @property
    def gain(self) -> float:
        """PSNR won over the blurry image [dB]."""
        return self.psnr - self.blurry_psnr


@dataclass(frozen=True)
class Mean:
    """A mean over moments, and where it would lie for other moments of the same sort."""

    value: float
    low: float
    high: float
    """Bounds of the 95 % interval of a bootstrap over clips."""


@dataclass(frozen=True)
class KindScore:
    """A model on one kind of blur."""

    moments: int
    psnr: float
    ssim: float
    blurry_psnr: float
    blurry_ssim: float
    gain: Mean | None
    """None for `sharp`, whose blurry image is the truth."""


@dataclass(frozen=True)
class ModelScore:
    """A model on all kinds."""

    kinds: dict[str, KindScore]
    in_domain: tuple[str, ...]
    """Kinds that it was trained on."""
    gain: Mean
    """Over the blurry image, mean of all kinds but `sharp`."""
    gain_in: Mean | None
    """Of the kinds in its domain."""
    gain_out: Mean | None
    """Of the others; None where there are none."""
    worst: float
    """Least gain of a kind."""
    gap: float | None
    """What it loses outside of its domain: `gain_in` - `gain_out`."""


@dataclass(frozen=True)
class RobustnessReport:
    """Scores of several models on the same images."""

    rows: tuple[RobustnessRow, ...]
    domains: Mapping[str, tuple[str, ...]]
    """By model."""

    @property
    def models(self) -> dict[str, ModelScore]:
        """Scores by model, in the order given."""
        names = dict.fromkeys(row.model for row in self.rows)
        return {name: self._score(name) for name in names}

    def _score(self, model: str) -> ModelScore:
        rows = [row for row in self.rows if row.model == model]
        kinds = [kind for kind in ROBUSTNESS_KINDS if any(row.kind == kind for row in rows)]
        blurred = [kind for kind in kinds if kind != "sharp"]
        inside = [kind for kind in blurred if kind in self.domains[model]]
        outside = [kind for kind in blurred if kind not in inside]
        gains = {kind: _gain(rows, [kind]) for kind in blurred}
        gain_in, gain_out = (_gain(rows, some) if some else None for some in (inside, outside))
        scores = {}
        for kind in kinds:
            mine = [row for row in rows if row.kind == kind]
            scores[kind] = KindScore(
                moments=len(mine),
                psnr=average([row.psnr for row in mine]),
                ssim=average([row.ssim for row in mine]),
                blurry_psnr=average([row.blurry_psnr for row in mine]),
                blurry_ssim=average([row.blurry_ssim for row in mine]),
                gain=gains.get(kind),
            )
        return ModelScore(
            kinds=scores,
            in_domain=tuple(inside),
            gain=_gain(rows, blurred),
            gain_in=gain_in,
            gain_out=gain_out,
            worst=min(gain.value for gain in gains.values()),
            gap=gain_in.value - gain_out.value if gain_in and gain_out else None,
        )

    def difference(self, model: str, other: str, kinds: Sequence[str]) -> Mean:
        """How much more one model gains than another over some kinds, in pairs [dB]."""
        theirs = {(r.kind, r.moment): r.psnr for r in self.rows if r.model == other}
        pairs = [
            (row.clip, row.kind, row.psnr - theirs[row.kind, row.moment])
            for row in self.rows
            if row.model == model and row.kind in kinds
        ]
        return bootstrap(pairs)

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain values; None for what is infinite."""
        return plain({"models": self.models, "rows": self.rows})


def _gain(rows: Sequence[RobustnessRow], kinds: Sequence[str]) -> Mean:
    return bootstrap([(row.clip, row.kind, row.gain) for row in rows if row.kind in kinds])


def bootstrap(values: Sequence[tuple[str, str, float]]) -> Mean:
    """Mean over kinds of the means over moments, with an interval over clips.

    Moments of one clip are alike, so that whole clips are drawn (with replacement).

    Args:
        values: clip, kind and value of each.
    """
    clips = list(dict.fromkeys(clip for clip, _, _ in values))
    kinds = list(dict.fromkeys(kind for _, kind, _ in values))
    sums, counts = np.zeros((2, len(clips), len(kinds)))
    for clip, kind, value in values:
        at = clips.index(clip), kinds.index(kind)
        sums[at] += value
        counts[at] += 1
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(len(clips), np.full(len(clips), 1 / len(clips)), RESAMPLES)
    totals, sizes = drawn @ sums, drawn @ counts
    with np.errstate(invalid="ignore"):  # a kind that no drawn clip has
        means = np.nanmean(totals / np.where(sizes > 0, sizes, np.nan), axis=1)
    low, high = np.quantile(means, [(1 - COVERED) / 2, (1 + COVERED) / 2])
    value = float((sums.sum(0) / counts.sum(0)).mean())
    return Mean(value, float(low), float(high))


def moments_from(
    source: Path, *, stills: bool = False, scale: float = 1.0, limit: int | None = None
) -> list[Moment]:
    """Find sharp moments; their frames are loaded when asked for.

    Args:
        source: a folder of windows, clips (as for `blurvid synth`), or with `stills` photos, whose
            frames are simulated.
        stills: take photos.
        scale: downscaling of clips and photos.
        limit: most moments, evenly spread; None takes all.

    Raises:
        InputError: nothing usable there.
        OptionError: an option out of range.
    """
    if limit is not None and limit < 1:
        raise OptionError(f"{limit} moments; at least 1 is needed")
    check_options(SynthOptions(scale=scale))
    if stills:
        found = _of_stills(source, scale)
    elif is_window_folder(source):
        found = [Moment(w.name, w.clip, w.sharp) for w in read_windows(source) if w.count % 2]
    else:
        found = list(_of_clips(source, scale))
    if not found:
        raise InputError(f"{source}: no sharp moments to blur")
    if limit is not None and limit < len(found):
        found = [found[i * len(found) // limit] for i in range(limit)]
    return found


def _of_clips(source: Path, scale: float) -> Iterator[Moment]:
    for clip in find_clips([source]):
        length = sum(1 for _ in clip.loaders())
        count = min(LONG, length - 1 + length % 2)
        for first in range(0, length - count + 1, count):
            frames = partial(_frames, clip, first, count, scale)
            yield Moment(f"{clip.name}/{first + 1:06d}", clip.name, frames)


def _frames(clip: SourceClip, first: int, count: int, scale: float) -> Tensor:
    chosen = islice(clip.loaders(scale), first, first + count)
    return torch.stack([as_floats(load()) for load in chosen])


def _of_stills(source: Path, scale: float) -> list[Moment]:
    photos = find_stills([source])
    # Everything moves: of what stands still, any change is a loss of many decibels.
    motion = MotionOptions(still=0.0, still_samples=0.0, path_power=0.7)
    options = SynthOptions(scale=scale)

    def load(photo: SourceClip) -> Tensor:
        make = next(simulate_still(photo, photos, options, motion, 1))
        return make().sharp

    return [Moment(photo.name, photo.name, partial(load, photo)) for photo in photos]


def blurred(frames: Tensor, kind: str, g: torch.Generator) -> Tensor | None:
    """Blur a moment in one way.

    Args:
        frames: (T, 3, H, W), T odd, RGB in [0, 1].
        kind: one of `options.ROBUSTNESS_KINDS`.
        g: source of randomness, on the CPU.

    Returns:
        y, (3, H, W), rounded to 8 bits as photos are; None where there are too few frames.
    """
    middle = frames[len(frames) // 2]
    if kind in ("average", "light", "noise"):
        most = min(len(frames), MOST)
        # The same number for the three of them: they are drawn by generators of one seed.
        count = FRAMES + 2 * int(torch.randint((most - FRAMES) // 2 + 1, (), generator=g))
        y = average_frames(_around(frames, count), DEFAULT_GAMMA if kind == "light" else 1.0)
        if kind == "noise":
            y = (y + NOISE * torch.randn(y.shape, generator=g)).clamp(0, 1)
            y = jpeg(y[None], torch.tensor([QUALITY]))[0]
    elif kind == "long":
        if len(frames) < LONG:
            return None
        y = average_frames(_around(frames, LONG), 1.0)
    else:
        y = blur(middle[None], kind, KindOptions(), DEFAULT_GAMMA, g)[0]
    return (y * 255).round() / 255


def _around(frames: Tensor, count: int) -> Tensor:
    first = (len(frames) - count) // 2
    return frames[first : first + count]


def evaluate_robustness(
    deblurrers: Mapping[str, Deblur],
    moments: Iterable[Moment],
    domains: Mapping[str, Sequence[str]],
    *,
    kinds: Sequence[str] = ROBUSTNESS_KINDS,
    seed: int = 0,
    on_moment: Callable[[str], None] | None = None,
) -> RobustnessReport:
    """Score deblurrers on every kind of blur, made of the same moments.

    Args:
        deblurrers: by name.
        moments: at least seven frames each.
        domains: kinds that each was trained on, by name.
        kinds: which of `options.ROBUSTNESS_KINDS`.
        seed: of the blurs.
        on_moment: called with the name of each moment that is done.

    Returns:
        The scores.

    Raises:
        InputError: no moments, or one of fewer than seven frames.
        OptionError: no such kind.
    """
    unknown = set(kinds) - set(ROBUSTNESS_KINDS)
    if unknown or not kinds:
        raise OptionError(f"no kind named {', '.join(sorted(unknown)) or 'nothing'}")
    rows = []
    for moment in moments:
        frames = moment.frames()
        if len(frames) < FRAMES or len(frames) % 2 == 0:
            raise InputError(f"{moment.name}: {len(frames)} frames; {FRAMES} or more, odd, needed")
        truth = frames[len(frames) // 2]
        for kind in kinds:
            y = blurred(frames, kind, _generator(seed, moment.name, kind))
            if y is None:
                continue
            blurry = float(psnr(y, truth)), float(ssim(y, truth))
            for name, deblur in deblurrers.items():
                frame = deblur(y).detach().to(truth).clamp(0, 1)
                row = RobustnessRow(
                    name, kind, moment.name, moment.clip,
                    float(psnr(frame, truth)), float(ssim(frame, truth)), *blurry,
                )  # fmt: skip
                rows.append(row)
        if on_moment:
            on_moment(moment.name)
    if not rows:
        raise InputError("no moments to blur")
    return RobustnessReport(tuple(rows), {name: tuple(domains[name]) for name in deblurrers})


def _generator(seed: int, moment: str, kind: str) -> torch.Generator:
    """Randomness that belongs to one image; averages of a moment share theirs."""
    group = "average" if kind in ("average", "light", "noise") else kind
    digest = hashlib.sha256(f"{seed}/{moment}/{group}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def domain_of(recipe: object) -> tuple[str, ...]:
    """Kinds that weights were trained on, as their recipe tells.

    Args:
        recipe: of a `set.json`; where it tells nothing, averages.
    """
    phases = recipe.get("phases") if isinstance(recipe, dict) else None
    last = phases[-1] if isinstance(phases, list) and phases else recipe
    kinds = last.get("kinds") if isinstance(last, dict) else None
    if not isinstance(kinds, dict):
        return IN_DOMAIN["average"]
    shares = {name: share for name, share in kinds.items() if name in IN_DOMAIN}
    numbers = {n: s for n, s in shares.items() if isinstance(s, int | float) and math.isfinite(s)}
    return tuple(kind for name, share in numbers.items() if share > 0 for kind in IN_DOMAIN[name])

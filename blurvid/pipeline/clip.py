"""The seven frames of one photo, and how they become files."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import tempfile
import webbrowser
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurvid import media, runtime
from blurvid.config import DEFAULT_GAMMA, FRAMES, MODELS, ClipChanges, ClipOptions
from blurvid.errors import OptionError, OutputError, reason
from blurvid.exposure import average_frames, psnr_of
from blurvid.flow import Field, Motion, measure
from blurvid.flow.pyramid import COARSEST
from blurvid.pipeline.fitted import Fitted, times_of
from blurvid.pipeline.order import arrange, movables
from blurvid.pipeline.sizes import in_pieces, room_for
from blurvid.pipeline.trust import Trust, assess, reblur_map
from blurvid.pipeline.verdict import Verdict, judge
from blurvid.recipe import Recipe, check_beyond, check_frames
from blurvid.targets import check_besides, kind_of


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Clip:
    """The seven frames of one photo."""

    tensor: Tensor
    """x[1..7], (7, 3, H, W) float32 RGB in [0, 1], on the CPU; H x W as the upright photo. After
    `resample`, N frames instead; with frames beyond the exposure, these at both ends."""
    photo: media.Photo
    recipe: Recipe
    """What made them."""
    device: str = "cpu"
    seconds: float = 0.0
    """Time that it took."""
    warnings: tuple[str, ...] = ()
    tiles: int = 1
    """Pieces in which the network saw the photo; 1 is the whole, with exact statistics."""
    scale: float = 1.0
    """Size at which the network saw the photo, as a share of its own."""
    trusted: Trust | None = None
    """How far they can be believed, where that is known already; see `trust`."""
    judged: Verdict | None = None
    """What was gained, where that is known already; see `verdict`."""
    seven: Tensor | None = None
    """The seven frames, where `tensor` holds another number."""
    fitted: Fitted | None = None
    """The picture and the motion that the frames were rendered from, where they were."""
    host_memory: int | None = None
    """Most memory that further frames may take [bytes]; beyond, they are put on disk."""

    @property
    def frames(self) -> NDArray[np.uint8]:
        """The frames, uint8 (T, H, W, 3) RGB, as many as in `tensor`."""
        return media.to_uint8(self.tensor)

    def __repr__(self) -> str:
        """What it is, in a line."""
        count, _, height, width = self.tensor.shape
        return f"<Clip of {self.photo.name}: {count} frames, {width}x{height}, {self.recipe.model}>"

    def _repr_html_(self) -> str:
        """What a notebook shows of a clip: it plays."""
        return media.html_animation(self.tensor, self.photo)

    @property
    def _own(self) -> Tensor:
        """The seven frames that the model gave."""
        return self.tensor if self.seven is None else self.seven

    def resample(self, count: int, beyond: int = 0) -> Clip:
        """Render another number of frames, evenly over the exposure, of the motion that was fitted.

        What is known of the clip (re-blur, motion, trust) stays that of the seven.

        Args:
            count: how many over the exposure, 3 to 49.
            beyond: how many more at each end, 0 to 4, with seven within: everything moves on as it
                did.

        Returns:
            A clip of so many frames.

        Raises:
            OptionError: no such number, or no motion was fitted.
        """
        check_frames(count)
        check_beyond(beyond, count)
        recipe = dataclasses.replace(self.recipe, frames=count, beyond=beyond)
        own, fitted = self._own, self.fitted
        if count == len(own) and not beyond:
            return dataclasses.replace(self, tensor=own, seven=None, recipe=recipe)
        if fitted is None:
            raise OptionError(f"other frames are of the {MODELS[0]} model, of a whole photo")
        with runtime.memory_guard(torch.device("cpu")):
            height, width = own.shape[-2:]
            out = room_for(height, width, count + 2 * beyond, self.host_memory)
            fitted.render(times_of(count, beyond), out)
            if beyond:
                for i, frame in enumerate(own):
                    out[beyond + i] = frame
        return dataclasses.replace(self, tensor=out, seven=own, recipe=recipe)

    def spread(self, longer: float) -> Clip:
        """Render the frames of a longer time than the exposure, of the motion that was fitted.

        Everything moves on as it did. What is known of the clip stays that of the exposure.

        Args:
            longer: that time, in exposures.

        Raises:
            OptionError: no motion was fitted.
        """
        own, fitted = self._own, self.fitted
        if fitted is None:
            raise OptionError(f"other times are of the {MODELS[0]} model, of a whole photo")
        with runtime.memory_guard(torch.device("cpu")):
            out = room_for(own.shape[-2], own.shape[-1], len(own), self.host_memory)
            fitted.render([longer * t for t in times_of(len(own))], out)
        return dataclasses.replace(self, tensor=out, seven=own)

    def face(self, direction: str) -> Clip:
        """Turn time, for the whole clip, so that the dominant motion points in a direction.

        Args:
            direction: `right`, `left`, `up` or `down`; where nothing moves, or only across it,
                the order stays (the latter with a warning). `auto` changes nothing.

        Returns:
            A clip with frames of its own.

        Raises:
            OptionError: no such direction.
        """
        return self.arranged(direction, ())

    def flip(self, region: media.RegionLike) -> Clip:
        """Turn time around for one object: frames i and 8 - i swap inside of a region.

        The region's edge moves to where the frames of a pair agree, as far as it can within 3 %
        of the photo, and is blended. May be called again for other regions.

        Args:
            region: `X,Y,W,H` (text or numbers) in pixels of the upright photo, or in percent
                (`10%,20%,30%,40%`); `X,Y`, likewise, for what moves at that point (where nothing
                does, nothing is turned, with a warning); or a mask, white where time is turned
                around: an image file, or an array (H, W).

        Returns:
            A clip with frames of its own.

        Raises:
            OptionError: no region.
            InputError: a mask that cannot be read, or a rectangle outside of the photo.
        """
        return self.arranged("auto", (media.region(region),))

    def arranged(
        self, direction: str, flips: tuple[media.Region, ...], own: Tensor | None = None
    ) -> Clip:
        """Turn time for the whole, as `face`, and then in regions, as `flip`.

        Args:
            direction: as for `face`.
            flips: regions.
            own: where the frames are turned, which may be `tensor` itself; a copy by default.
        """
        if self.recipe.beyond:
            raise OptionError(
                "frames beyond the exposure follow the order of time they were made for; "
                "choose it when extracting, or leave them out by resample(7)"
            )
        if self.seven is not None:
            arranged = self.resample(FRAMES).arranged(direction, flips)
            return arranged.resample(len(self.tensor))
        recipe = dataclasses.replace(
            self.recipe,
            direction=self.recipe.direction if direction == "auto" else direction,
            flips=self.recipe.flips + tuple(region.name for region in flips),
        )
        trust = self.trust() if len(self.tensor) > 1 else None  # the same in any order
        frames = self.tensor.clone() if own is None else own
        turned = arrange(frames, direction, flips, self.fitted.field if self.fitted else None)
        return dataclasses.replace(
            self,
            tensor=frames,
            trusted=trust,
            fitted=self.fitted and self.fitted.arranged(turned.whole, turned.masks),
            warnings=self.warnings + turned.notes,
            recipe=recipe,
        )

    @functools.cached_property
    def reblur_psnr(self) -> float:
        """How well the average of the frames explains the photo [dB]; inf if exactly.

        The response of the photo's camera is not known; gamma 2.2 stands for it.
        """
        # In pieces: light of all frames at once would take twice their memory.
        errors = [
            (average_frames(frames, DEFAULT_GAMMA) - seen).square().sum(dtype=torch.float64)
            for frames, seen in in_pieces(self._own, self.photo.pixels)
        ]
        return float(psnr_of(torch.stack(errors).sum() / self.photo.pixels.numel()))

    def trust(self) -> Trust:
        """How far the frames can be believed: an expected PSNR, maps, and what speaks against it.

        The same for the seven frames in any order of time.
        """
        return self.trusted or self._assessed

    @functools.cached_property
    def _assessed(self) -> Trust:
        return assess(
            *(self._own, self.photo.pixels, self.scale),
            fixed=self.recipe.scale != "auto",
            any_length=self.recipe.model == MODELS[0],
        )

    @functools.cached_property
    def verdict(self) -> Verdict | None:
        """What was gained, in plain words; None where it cannot be told from a single frame."""
        if self.judged is not None:
            return self.judged
        own, y = self._own, self.photo.pixels
        if min(y.shape[-2:]) < COARSEST or (len(own) < 2 and self.fitted is None):
            return None
        trust = self.trust() if len(own) > 1 else None
        field = self._field(False) if trust is None or self.fitted else trust.field
        reasons: tuple[str, ...] = () if trust is None else trust.reasons
        if self.recipe.model != MODELS[0]:
            reasons += ("other",)
        if self.recipe.motion:
            reasons += ("told",)
        return judge(own[len(own) // 2], y, field, reasons)

    @functools.cached_property
    def reblur_map(self) -> Tensor:
        """Where the average of the frames does not explain the photo, see `trust.reblur_map`."""
        return reblur_map(self._own, self.photo.pixels)

    def save_beside(
        self, kind: str, target: str | Path, *, reverse: bool = False, overwrite: bool = False
    ) -> Path:
        """Write something besides the frames.

        Args:
            kind: `flow`, the motion during the exposure (`.flo`, `.npy` or, in colours, `.png`);
                `trust`, the maps of `trust` and re-blur (`.npy` or, over the photo, `.png`);
                `contact`, the photo and its frames small, one below the other (`.webp`).
            target: a file.
            reverse: measure the motion from frame 7 to frame 1.
            overwrite: replace an existing file.

        Returns:
            The file written.

        Raises:
            OutputError: the file exists, or cannot be written.
            OptionError: another suffix.
        """
        target = check_besides(kind, Path(target), overwrite)
        with media.replacing([target]) as (path,):
            if kind == "flow":
                media.save_flow(self._field(reverse), path)
            elif kind == "trust":
                maps = media.TrustMaps(self.trust().error, self.reblur_map)
                media.save_trust(maps, path, self.photo)
            else:
                media.save_strip(self.tensor, path, self.photo)
        return target

    def flow(self, reverse: bool = False) -> NDArray[np.float32]:
        """Motion during the exposure: where each pixel of frame 1 is in frame 7.

        As it was fitted, or else measured in the frames; at 1280 px, and scaled up, where they are
        larger.

        Args:
            reverse: from frame 7 to frame 1.

        Returns:
            Displacements [px], (H, W, 2) float32, x to the right, y downwards.
        """
        return media.flow_array(self._field(reverse))

    def motion(self, reverse: bool = False) -> Motion:
        """The same in a few numbers: dominant motion, median, 95th percentile, longest [px]."""
        return self._field(reverse).motion

    @functools.cached_property
    def _fields(self) -> dict[bool, Field]:
        """Flows that have been measured, by whether time was reversed."""
        return {}

    def _field(self, reverse: bool) -> Field:
        if reverse not in self._fields:
            fitted = self.fitted
            self._fields[reverse] = fitted.field(reverse) if fitted else measure(self._own, reverse)
        return self._fields[reverse]

    def save(
        self,
        target: str | Path,
        *,
        options: ClipOptions | None = None,
        stem: str | None = None,
        overwrite: bool = False,
        kind: str | None = None,
        **changes: Unpack[ClipChanges],
    ) -> list[Path]:
        """Write the frames as a file (`.mp4`, `.webm`, `.gif`, `.webp`, `.html`), or as PNG files.

        Args:
            target: where to; the suffix names the kind.
            options: how they are shown.
            stem: start of the names of files in a folder; the photo's name by default.
            overwrite: replace existing files.
            kind: one of `config.FORMATS`, whatever the target is called.
            changes: single fields of `ClipOptions`, such as `fps=10, bounce=True`.

        Returns:
            The files written.

        Raises:
            OutputError: a file exists already, or cannot be written.
            OptionError: a suffix that is not known.
            TypeError: no such field.
        """
        options = dataclasses.replace(options or ClipOptions(), **changes)
        kind = kind or kind_of(Path(target))
        return media.write_frames(
            self.tensor,
            Path(target),
            photo=self.photo,
            options=options,
            stem=stem or stem_of(self.photo),
            overwrite=overwrite,
            kind=kind,
            notes=self._notes() if kind == "html" else None,
        )

    def show(self) -> None:
        """Open the player in the browser, from a file in the system's folder for such.

        Raises:
            OutputError: the file cannot be written, or there is no browser.
        """
        name = stem_of(self.photo)
        try:
            path = Path(tempfile.mkdtemp(prefix="blurvid-"), f"{name}.html")
        except OSError as error:
            raise OutputError(f"{name}.html: not written: {reason(error)}") from error
        self.save(path)
        if not webbrowser.open(path.as_uri()):
            raise OutputError(f"no browser to show {path} in")

    def save_still(self, target: str | Path, *, overwrite: bool = False) -> Path:
        """Write the middle frame, with what the photo came with; the suffix says how."""
        frame = self.tensor[len(self.tensor) // 2]
        return media.write_still(frame, Path(target), self.photo, overwrite=overwrite)

    def _notes(self) -> media.Notes:
        """What a player shows besides: how the frames came about, and what moves on its own."""
        trust, recipe = self.trust(), self.recipe
        part = {} if recipe.region is None else {"region": str(recipe.region)}
        stem = "photo" if self.photo.name == "-" else Path(self.photo.name).stem or "photo"
        outputs = {end.upper(): shlex.quote(f"{stem}.{end}") for end in ("mp4", "gif", "webp")}
        return media.Notes(
            {
                **part,
                "model": recipe.model,
                "weights": recipe.weights.name,
                "re-blur PSNR": f"{min(self.reblur_psnr, 999.0):.1f} dB",
            },
            None if self.verdict is None else self.verdict.text,
            movables(self._own, self._field(False)),
            media.TrustMaps(trust.error, self.reblur_map),
            media.Origin(recipe.command(self.photo.name), outputs),
        )


def stem_of(photo: media.Photo) -> str:
    """Name for the frames of a photo: that of its file without the suffix."""
    return "frame" if photo.name == "-" else Path(photo.name).stem or "frame"

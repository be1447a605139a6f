"""Finding clips (videos, folders of frames, the layouts of GoPro's data sets) and photos."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blurvid import media
from blurvid.errors import InputError
from blurvid.lab.data.windows import MANIFEST, UNFINISHED, as_floats, in_windows, load_photo

_NUMBERED = re.compile(r"(.*?)(\d{1,18})(\D*)", re.DOTALL)
_DAMAGED = (ValueError, OverflowError, EOFError, RecursionError)
"""What damaged archives raise besides."""
FRAMES = "folder of frames"
VIDEO = "video"
"""Layout of a clip that is a file."""
PAIRED = "GOPRO_Large, sharp/"
"""Layout of a scene with blurry images and the middle frame of each."""
SPARSE = (
    "sharp/ of GOPRO_Large holds only every 7th to 13th frame of the camera: an average of "
    "neighbours shows ghosts, not blur; take the scene from GOPRO_Large_all"
)


@dataclass(frozen=True)
class SourceClip:
    """A sequence of frames in a file or a folder."""

    name: str
    """Where it was found below its source, `/` between folders; names the output."""
    path: Path
    """The video, or the folder that holds the frames."""
    layout: str
    """What was recognised, in words."""
    warnings: tuple[str, ...] = ()
    """What speaks against averaging these frames."""

    @cached_property
    def gaps(self) -> dict[int, str]:
        """Where a run of frames ends, see `gaps`; of scenes that leave out frames, nowhere."""
        if self.layout in (VIDEO, PAIRED) or not self.path.is_dir():
            return {}
        return gaps(media.list_photos(self.path))

    @property
    def filter(self) -> str:
        """What `loaders` scales by, in words."""
        return media.FILTER_VIDEO if self.layout == VIDEO else media.FILTER

    def loaders(self, scale: float = 1.0) -> Iterator[Callable[[], Tensor]]:
        """Go through the frames without loading more than is asked for.

        Args:
            scale: size of the frames as a share of their own.

        Yields:
            For each frame a function giving it as (3, H, W), RGB: of a video uint8, of images
            float32 in [0, 1].

        Raises:
            InputError: the clip is not readable.
        """
        if self.path.is_dir():
            for photo in media.list_photos(self.path):
                yield partial(load_scaled, photo, scale)
        else:
            for frame in media.read_video(self.path, scale):
                yield partial(_planes, frame)

    def frames(self) -> Iterator[Tensor]:
        """Give the frames in order of time, each (3, H, W), RGB, float32 in [0, 1]."""
        return (as_floats(load()) for load in self.loaders())


def load_scaled(path: Path, scale: float) -> Tensor:
    """Load an image as `load_photo` does, and scale it by `media.FILTER`."""
    return media.scaled(load_photo(path), scale)


def _planes(frame: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(frame).permute(2, 0, 1)


def gaps(photos: Sequence[Path]) -> dict[int, str]:
    """Places where numbered frames are missing.

    Frames count as numbered where all names are alike but for their last number. The usual step
    is the median one; a longer one, by half or more, is a gap.

    Args:
        photos: the frames, in order.

    Returns:
        What is missing, in words, by the index of the frame after it.
    """
    found = [_NUMBERED.fullmatch(photo.stem) for photo in photos]
    names = [match for match in found if match is not None]
    if len(names) < len(photos) or len({(match[1], match[3]) for match in names}) != 1:
        return {}
    numbers = [int(match[2]) for match in names]
    steps = [after - before for before, after in pairwise(numbers)]
    usual = sorted(steps)[(len(steps) - 1) // 2] if steps else 0
    return {
        index: f"frames are missing between {photos[index - 1].name} and {photos[index].name}"
        for index, step in enumerate(steps, start=1)
        if usual > 0 and step >= 1.5 * usual
    }


def find_clips(sources: Sequence[Path]) -> list[SourceClip]:
    """Find the clips below some paths.

    Understood are: a video; a folder of frames; a folder holding a folder `frames`; scenes of
    GOPRO_Large_all (`GOPRxxxx_yy_zz/000001.png`, all frames of the camera); scenes of GOPRO_Large
    (`blur`, `blur_gamma`, `sharp`), where `sharp` is taken, with a warning, for its frames are too
    far apart; and folders of all these at any depth. Hidden folders and folders of windows that
    `write_windows` made are passed over.

    Args:
        sources: files and folders.

    Returns:
        The clips in natural order, their names unique.

    Raises:
        InputError: a source is missing or holds no clip.
    """
    clips: dict[str, SourceClip] = {}
    for source in sources:
        found = list(_clips_of(source))
        if not found:
            raise InputError(f"{source}: no video and no folder of frames in here")
        for clip in found:
            _add(clips, clip)
    return list(clips.values())


def find_stills(sources: Sequence[Path]) -> list[SourceClip]:
    """Find the photos below some paths, each as a clip of its own.

    Raises:
        InputError: a path that is not there, or a folder without photos.
    """
    stills: dict[str, SourceClip] = {}
    for source in sources:
        if not source.exists():
            raise InputError(f"{source}: no such file or folder")
        photos = [source]
        if source.is_dir():
            photos = [
                photo
                for photo in media.list_photos(source, recursive=True)
                if not in_windows(photo, source)  # those of an earlier run, made from photos
            ]
        if not photos:
            raise InputError(f"{source}: no photos in this folder")
        for photo in photos:
            relative = photo.relative_to(source) if source.is_dir() else Path(photo.name)
            name = relative.with_suffix("").as_posix()
            if name.casefold() in stills:  # a.jpg beside a.png
                name = relative.as_posix()
            _add(stills, SourceClip(name, photo, "still photo"))
    return list(stills.values())


def read_stills(sources: Sequence[Path]) -> Iterator[Tensor]:
    """Read photos from files, folders (searched through) and tar archives.

    Windows written by `blurvid synth` are left out; one unreadable photo is an error, so that
    nothing is trained on less than was meant.

    Yields:
        Each photo, (3, H, W) uint8 RGB.

    Raises:
        InputError: a source that is missing or unreadable.
    """
    for source in sources:
        if source.suffix == ".tar" and not source.is_dir():
            yield from _read_tar(source)
            continue
        for still in find_stills([source]):
            yield _to_bytes(load_photo(still.path))


def _read_tar(source: Path) -> Iterator[Tensor]:
    """Photos of an archive that is not packed: its files are as long as they say."""
    try:
        size = source.stat().st_size
        with tarfile.open(source, "r:") as archive:
            begun = -1
            for member in archive:
                # a size below zero would lead back to a file that was read before
                if member.offset <= begun or not 0 <= member.size <= size:
                    raise tarfile.ReadError("a file in it does not lie within it")
                begun = member.offset
                if member.issparse() or not media.is_photo(Path(member.name)):
                    continue
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None:
                    data, name = io.BytesIO(file.read()), f"{source}:{member.name}"
                    yield _to_bytes(media.read_photo(data, name).pixels)
    except (OSError, tarfile.TarError, *_DAMAGED) as error:
        raise InputError(f"{source}: cannot read this archive ({media.reason(error)})") from error


def _to_bytes(pixels: Tensor) -> Tensor:
    return (pixels * 255).round().to(torch.uint8)


def _add(clips: dict[str, SourceClip], clip: SourceClip) -> None:
    """Add a clip under a name that no other has, on file systems without capitals, too."""
    name, copy = clip.name, 2
    while name.casefold() in clips:
        name, copy = f"{clip.name}_{copy}", copy + 1
    clips[name.casefold()] = replace(clip, name=name)


def _clips_of(source: Path) -> Iterator[SourceClip]:
    if source.is_dir():
        home = source.resolve()
        name = (home.parent if home.name in ("frames", "sharp") else home).name
        yield from _search(source, name, "", set())
    elif not source.exists():
        raise InputError(f"{source}: no such file or folder")
    elif media.holds_video(source):
        yield SourceClip(source.stem, source, VIDEO)
    else:
        raise InputError(f"{source}: not a video and not a folder of frames")


def _search(folder: Path, name: str, prefix: str, seen: set[Path]) -> Iterator[SourceClip]:
    """Clips in a folder and below it; links, which may lead in circles, are followed once."""
    real = folder.resolve()
    if real in seen or any((folder / own).exists() for own in (MANIFEST, UNFINISHED)):
        return
    seen.add(real)
    clip = _clip_at(folder, name)
    if clip:
        yield clip
        if clip.path != folder:  # it takes one folder inside, the others go with that
            return
    children = [child for child in folder.iterdir() if not child.name.startswith(".")]
    children.sort(key=lambda child: (media.natural_key(child.name), child.name))
    for child in children:
        if child.is_file() and media.is_video(child):
            yield SourceClip(prefix + child.stem, child, VIDEO)
    for child in children:
        if child.is_dir():
            yield from _search(child, prefix + child.name, f"{prefix}{child.name}/", seen)


def _clip_at(folder: Path, name: str) -> SourceClip | None:
    """The clip of frames that this very folder is, if it is one."""
    sharp = folder if folder.name == "sharp" else folder / "sharp"
    if any((sharp.parent / other).is_dir() for other in ("blur", "blur_gamma")) and (
        sharp.is_dir() and media.list_photos(sharp)
    ):
        return SourceClip(name, sharp, PAIRED, (SPARSE,))
    frames = folder / "frames"
    if frames.is_dir() and media.list_photos(frames):
        return SourceClip(name, frames, FRAMES)
    if media.list_photos(folder):
        return SourceClip(name, folder, FRAMES)
    return None

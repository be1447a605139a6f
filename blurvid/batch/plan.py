"""Which photo goes where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from blurvid import media
from blurvid.batch.jobs import Job
from blurvid.batch.naming import Template, named
from blurvid.batch.sources import find
from blurvid.config import FORMATS, FRAME_FORMATS, FRAMES
from blurvid.errors import OptionError, OutputError

_ENDS = {"montage": (".png",), "flow": (".flo", ".png"), "trust": (".npy", ".png")}
"""What each photo gets of `media.BESIDES` where a folder is named for it."""


def plan(
    sources: Sequence[str | Path],
    out: Path | None,
    kind: str | None = None,
    montage: Path | None = None,
    *,
    listed: Sequence[Path] = (),
    name: str | None = None,
    flows: Sequence[Path] = (),
    trusts: Sequence[Path] = (),
    frames: int = FRAMES,
    beyond: int = 0,
    model: str = "",
    weights: str = "",
) -> list[Job]:
    """Find the photos and say where the frames of each go.

    Args:
        sources: photos, folders (searched through), patterns such as `photos/**/*.jpg`, or `-`
            for standard input. An output folder inside of a source is not searched.
        out: a file whose suffix names the kind, for one photo; or a folder, in which the tree
            of a source folder is kept; None is the current folder.
        kind: one of `FORMATS` for what is written to a folder; by default `png`, or `mp4` when
            there is no `out`.
        montage: a PNG file for a sheet of the frames, for one photo; or a folder, in which the
            tree of a source folder is kept; None makes no sheets.
        listed: photos and folders from a list (`read_list`), whose own folders are kept.
        name: template for names below `out`, of the fields in `FIELDS`; by default the photo's.
        flows: files for the motion, whose suffixes name their kind, for one photo; or folders, in
            which the tree of a source folder is kept and each photo has a `.flo` and a `.png`.
        frames: how many each photo gives over its exposure.
        beyond: how many more at each end.
        trusts: the same for the maps of trust, `.npy` and `.png`.
        model: what `{model}` means in it.
        weights: what `{weights}` means in it.

    Returns:
        One job a photo, in the order of the sources; the same for the same photos.

    Raises:
        InputError: there is no photo at all; one missing among others becomes a job that fails.
        OptionError: a file as output of many photos, contradicting kinds, or a name template
            that is wrong or gives two photos one name.
    """
    template = None if name is None else Template(name, model, weights)
    outside = [folder for folder in (out, montage, *flows, *trusts) if folder is not None]
    found = find(sources, listed, outside)
    many = len(found) > 1 or found[0].in_folder

    def completed(job: Job, base: Path) -> Job:
        sheets = _besides("montage", () if montage is None else (montage,), base, many)
        return replace(
            job,
            montage=next(iter(sheets), None),
            flows=_besides("flow", flows, base, many),
            trusts=_besides("trust", trusts, base, many),
            frames=frames,
            beyond=beyond,
        )

    if out is not None and _is_file(out, many, kind):
        if many:
            raise OptionError(
                f"{out} is one file, but there are {len(found)} photos: name a folder and "
                "choose --format"
            )
        if template is not None:
            raise OptionError(f"{out} is a file; a name template needs a folder")
        suffix = media.kind_of(out)
        if kind not in (None, suffix):
            raise OptionError(f"{out} and --format {kind} contradict each other")
        stem = found[0].relative.stem
        return [completed(Job(found[0].photo, out, stem, suffix), Path(stem))]
    kind = kind or ("mp4" if out is None else "png")
    if kind not in FORMATS:
        raise OptionError(f"no format named {kind!r}; use {', '.join(FORMATS)}")
    folder = out or Path()
    jobs = []
    for entry, base in zip(found, named(found, template), strict=True):
        target = folder / base
        single = kind in FRAME_FORMATS
        target = target.parent if single else target.with_name(f"{target.name}.{kind}")
        jobs.append(completed(Job(entry.photo, target, base.name, kind, entry.error), base))
    return jobs


def plan_single(
    sources: Sequence[str | Path],
    out: Path | None,
    kind: str | None = None,
    *,
    listed: Sequence[Path] = (),
    name: str | None = None,
    model: str = "",
    weights: str = "",
) -> list[Job]:
    """Find the photos and say where one picture of each goes.

    Args:
        sources: as for `plan`.
        out: a picture, for one photo; or a folder, in which the tree of a source folder is kept;
            None is the current folder, where `_sharp` is put behind each name.
        kind: one of `FRAME_FORMATS`; by default each photo's own where it can be written, else PNG.
        listed: as for `plan`.
        name: as for `plan`.
        model: as for `plan`.
        weights: as for `plan`.

    Returns:
        One job a photo, in the order of the sources.

    Raises:
        InputError, OptionError: as for `plan`.
    """
    template = None if name is None else Template(name, model, weights)
    found = find(sources, listed, [out] if out is not None else [])
    many = len(found) > 1 or found[0].in_folder
    if out is not None and _is_file(out, many, kind, tuple(media.STILL_SUFFIXES)):
        if many:
            raise OptionError(f"{out} is one file, but there are {len(found)} photos")
        if template is not None:
            raise OptionError(f"{out} is a file; a name template needs a folder")
        asked = media.still_kind(out)
        if kind not in (None, asked):
            raise OptionError(f"{out} and --format {kind} contradict each other")
        return [Job(found[0].photo, out, found[0].relative.stem, asked, single=True)]
    if kind not in (None, *FRAME_FORMATS):
        raise OptionError(f"no format named {kind!r}; use {', '.join(FRAME_FORMATS)}")
    jobs = []
    for entry, base in zip(found, named(found, template), strict=True):
        suffix = "" if entry.photo is None else entry.photo.suffix.lower()
        own = suffix if suffix in media.STILL_SUFFIXES else ".png"
        if kind is not None:
            own = media.still_suffix(kind)
        ending = "_sharp" if out is None and template is None else ""
        target = (out or Path()) / base.with_name(f"{base.name}{ending}{own}")
        made = media.still_kind(target)
        jobs.append(Job(entry.photo, target, base.name, made, entry.error, single=True))
    return jobs


def share(jobs: Sequence[Job], number: int, count: int) -> list[Job]:
    """The jobs of one of several machines that share a batch; each job is in exactly one share.

    Args:
        jobs: of the whole batch.
        number: which share, from 1 on.
        count: how many shares there are.

    Raises:
        OptionError: there is no such share.
    """
    if not 1 <= number <= count:
        raise OptionError(f"no share {number}/{count}: shares are counted from 1/{count} on")
    return list(jobs[number - 1 :: count])


def _besides(kind: str, targets: Sequence[Path], base: Path, many: bool) -> tuple[Path, ...]:
    """Where one of `media.BESIDES` goes, of a photo whose frames are named `base`."""
    paths: list[Path] = []
    for path in targets:
        if not _is_file(path, many, None, media.BESIDES[kind]):
            paths += [path / base.with_name(f"{base.name}_{kind}{end}") for end in _ENDS[kind]]
        elif many:
            raise OptionError(f"{path} is one file, but there are many photos: name a folder")
        else:
            paths.append(path)
    return tuple(paths)


def _is_file(
    out: Path, many: bool, kind: str | None, suffixes: Sequence[str] = media.CLIP_SUFFIXES
) -> bool:
    """Whether an output is meant as a file; a new folder may have a dot in its name."""
    try:
        if not out.suffix or out.is_dir():
            return False
    except OSError as error:
        raise OutputError(f"{out}: {error.strerror}") from error
    return out.suffix.lower() in suffixes or not (many or kind)

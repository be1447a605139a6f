"""Which photos there are, and which goes where."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from blurvid import targets
from blurvid.bounds import check
from blurvid.config import FORMATS, FRAME_FORMATS, FRAMES, VIDEO_FORMATS, Output
from blurvid.errors import InputError, OptionError, OutputError, reason
from blurvid.planning import trees
from blurvid.planning.jobs import Job
from blurvid.planning.trees import Found, Template, named


def plan(
    sources: Sequence[str | Path],
    output: Output = Output(),
    count: int = FRAMES,
    *,
    listed: Sequence[Path] = (),
    model: str = "",
    weights: str = "",
    video: bool = False,
) -> list[Job]:
    """Find the photos and say where the frames of each go.

    Args:
        sources: photos, folders (searched through), patterns such as `photos/**/*.jpg`, or `-`
            for standard input. An output folder inside of a source is not searched.
        output: what is written. In a folder, the tree of a source folder is kept.
        count: how many frames each photo gives; a single one is a picture of its own.
        listed: photos and folders from a list (`read_list`), whose own folders are kept.
        model: what `{model}` means in a name template.
        weights: what `{weights}` means in it.
        video: the sources are videos, which become videos.

    Returns:
        One job a photo, in the order of the sources; the same for the same photos.

    Raises:
        InputError: there is no photo at all; one missing among others becomes a job that fails.
        OptionError: a file as output of many photos, contradicting kinds, or a name template
            that is wrong or gives two photos one name.
    """
    check(output.clip)
    template = None if output.name is None else Template(output.name, model, weights)
    besides = {"flow": output.flows, "trust": output.trusts}
    if output.contact is not None:
        besides["contact"] = (targets.contact_folder(output.contact),)
    outside = [path for path in (output.path, *sum(besides.values(), ())) if path is not None]
    found = find(sources, listed, outside)
    many = len(found) > 1 or found[0].in_folder
    out, kind, single = output.path, output.kind, count == 1
    kinds = FRAME_FORMATS if single else VIDEO_FORMATS if video else FORMATS
    if kind not in (None, *kinds):
        raise OptionError(f"no format named {kind!r}; use {', '.join(kinds)}")
    suffixes = tuple(targets.STILL_SUFFIXES) if single else targets.CLIP_SUFFIXES
    file, asked = None, ""
    if out is not None and _is_file(out, many, kind, suffixes):
        file = out
        if many:
            raise OptionError(
                f"{out} is one file, but there are {len(found)} photos: name a folder"
            )
        if template is not None:
            raise OptionError(f"{out} is a file; a name template needs a folder")
        if not single and not video and out.suffix.lower() in targets.PICTURES:
            raise OptionError(
                f"{out}: seven frames are seven files; name a folder and choose --format, or make "
                "one picture with blurvid deblur"
            )
        asked = targets.still_kind(out) if single else targets.kind_of(out)
        if asked not in kinds:
            raise OptionError(f"{out}: a video becomes a .{', .'.join(kinds)} file")
        if kind not in (None, asked):
            raise OptionError(f"{out} and --format {kind} contradict each other")
    jobs = []
    bases = [Path(found[0].relative.stem)] if file else named(found, template)
    for entry, base in zip(found, bases, strict=True):
        if file is not None:
            target, made = file, asked
        elif single:
            target = _still(entry.photo, base, output)
            made = targets.still_kind(target)
        else:
            made = kind or "mp4"
            target = (out or Path()) / base
            frames, ending = made in FRAME_FORMATS, "_slow" if video and out is None else ""
            target = target.parent if frames else target.with_name(f"{target.name}{ending}.{made}")
        if output.clip.compare:
            targets.check_comparison(made, target)
        beside = {name: _besides(name, paths, base, many) for name, paths in besides.items()}
        jobs.append(Job(entry.photo, target, base.name, made, entry.error, beside, count))
    return jobs


def _still(photo: Path | None, base: Path, output: Output) -> Path:
    """The file of a single picture, of the photo's own kind where none is asked for."""
    suffix = ".png" if photo is None else photo.suffix.lower()
    if output.kind is not None:
        suffix = targets.still_suffix(output.kind)
    elif suffix not in targets.STILL_SUFFIXES:
        suffix = ".png"
    ending = "_sharp" if output.path is None and output.name is None else ""
    return (output.path or Path()) / base.with_name(f"{base.name}{ending}{suffix}")


def _besides(kind: str, asked: Sequence[Path], base: Path, many: bool) -> tuple[Path, ...]:
    """Where one of `targets.BESIDES` goes, of a photo whose frames are named `base`."""
    paths: list[Path] = []
    for path in asked:
        if not _is_file(path, many, None, targets.BESIDES[kind]):
            ends = dict.fromkeys((targets.BESIDES[kind][0], targets.BESIDES[kind][-1]))
            paths += [path / base.with_name(f"{base.name}_{kind}{end}") for end in ends]
        elif many:
            raise OptionError(f"{path} is one file, but there are many photos: name a folder")
        else:
            paths.append(path)
    return tuple(paths)


def _is_file(out: Path, many: bool, kind: str | None, suffixes: Sequence[str]) -> bool:
    """Whether an output is meant as a file; a new folder may have a dot in its name."""
    try:
        if not out.suffix or out.is_dir():
            return False
    except OSError as error:
        raise OutputError(f"{out}: {error.strerror}") from error
    return out.suffix.lower() in suffixes or not (many or kind)


def find(
    sources: Sequence[str | Path], listed: Sequence[Path] = (), outside: Sequence[Path] = ()
) -> list[Found]:
    """Find the photos of some sources, each photo of a tree once.

    Args:
        sources: photos, folders (searched through), patterns such as `photos/**/*.jpg`, or `-`
            for standard input. A file or folder of that very name wins over a pattern. A tree
            begins at the folder, and at what stands before the first wildcard of a pattern.
        listed: photos and folders of a list, which is a tree that begins at the current folder,
            or at the root for what lies elsewhere.
        outside: folders that are not searched where they lie inside of a source, since what
            is written there are no photos to begin with.

    Returns:
        What was found, in natural order within each source.

    Raises:
        InputError: there is no photo at all; one missing among others is an entry with an error.
    """
    avoided = frozenset(folder.resolve() for folder in outside)
    found = [entry for source in sources for entry in _photos(source, avoided)]
    for path in listed:
        found += _photos(path, avoided, trees.kept(path))
    if all(entry.error for entry in found):
        raise next((entry.error for entry in found if entry.error), InputError("no photos"))
    once: dict[tuple[object, ...], Found] = {}
    for entry in found:
        place = None if entry.photo is None else _real(entry.photo)
        once.setdefault((place, entry.relative, str(entry.error)), entry)
    return list(once.values())


def _real(path: Path) -> str:
    """One name for all ways to a file, as far as there is one."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return str(path)


def _photos(
    source: str | Path, avoided: frozenset[Path], kept: Path | None = None
) -> Iterator[Found]:
    """Photos of a source, or the reasons why there are none.

    Args:
        source: as for `find`.
        avoided: folders that are not searched.
        kept: place in the tree, for something in a list.
    """
    if kept is None and str(source) == trees.STDIN:
        yield Found(None, Path("stdin.png"))
        return
    path, listed = Path(source), kept is not None
    if not str(source):  # a variable of a shell that is not set; `Path` takes it for this folder
        yield Found(path, Path("photo"), error=InputError("'': no such file or folder"))
        return
    try:
        if path.is_dir():
            base, photos, problems = trees.inside(path, avoided)
        elif os.path.lexists(path) or listed or not trees.is_pattern(source):
            path.stat()
            yield Found(path, kept or Path(path.name), in_folder=listed)
            return
        else:
            base, photos, problems = trees.matching(path, avoided)
    except (OSError, ValueError) as problem:
        error = InputError(f"{source}: {reason(problem)}")
        yield Found(path, kept or Path(path.name or "photo"), listed, error)
        return
    place = kept or Path()
    for photo in photos:
        yield Found(photo, place / trees.below(photo.relative_to(base)), in_folder=True)
    for error in problems:
        yield Found(path, place / "photo", in_folder=True, error=error)

"""Photos with the places of their frames, what is known of them beforehand, what became of them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from blurvid import targets
from blurvid.atomic import locked, remove_stale
from blurvid.bounds import check
from blurvid.config import ANIMATIONS, FORMATS, FRAME_FORMATS, FRAMES, VIDEO_FORMATS, Output
from blurvid.errors import BlurvidError, InputError, OptionError, OutputError
from blurvid.files import STDIN, Found, find
from blurvid.recipe import Recipe


@dataclass(frozen=True)
class Job:
    """One photo or video and where its frames go."""

    photo: Path | None
    """None is standard input."""
    target: Path
    """A file, or the folder for single frames."""
    stem: str
    """Start of the names of single frames."""
    kind: str
    """One of `FORMATS`."""
    error: InputError | None = None
    """Why the photo cannot even be looked at."""
    besides: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    """Where each of `targets.BESIDES` goes."""
    count: int = FRAMES
    """How many frames it gives; of one, the target is its file."""

    @property
    def name(self) -> str:
        """The photo's name for messages."""
        return STDIN if self.photo is None else str(self.photo)

    def named(self, error: BlurvidError) -> BlurvidError:
        """An error that tells which photo it came from."""
        named = type(error)(f"{self.name}: {error}")
        named.__cause__ = error
        return named

    def files(self, overwrite: bool = True) -> list[Path]:
        """The files that will be written.

        Raises:
            OutputError: one cannot be written, or is there already and not to be overwritten.
            OptionError: the motion or the trust is one of the other files.
        """
        if self.count == 1:
            targets.check_file(self.target, overwrite)
            return [self.target]
        files = targets.check_target(self.target, self.stem, self.count, overwrite, self.kind)
        for kind, paths in self.besides.items():
            for path in paths:
                if path in files:
                    raise OptionError(f"{path} is meant for the {kind} and for something else")
                files.append(targets.check_besides(kind, path, overwrite))
        return files


@dataclass(frozen=True)
class Outcome:
    """What became of one job; it holds no pixels, so that it can be kept and sent anywhere."""

    job: Job
    outputs: list[Path] = field(default_factory=list)
    error: BlurvidError | None = None
    skipped: bool = False
    recipe: Recipe | None = None
    """What made the frames; None where none were made."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What is told of them besides, as plain values."""
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        error: BaseException | None = self.error
        while error is not None:
            # A traceback keeps all that the functions which failed had in their hands: without it
            # there is memory for the next photo.
            error.__traceback__ = None
            error = error.__cause__ or error.__context__

    def record(self) -> dict[str, Any]:
        """The outcome as plain values, for one line of JSON."""
        record = {"input": self.job.name, "outputs": [str(path) for path in self.outputs]}
        if self.error is not None:
            return record | {"error": str(self.error)}
        if self.recipe is None:
            return record | {"skipped": True}
        return record | self.recipe.record() | self.facts | {"warnings": list(self.warnings)}


@dataclass(frozen=True)
class Plan:
    """What is done with photos, and what is looked at before each is taken up."""

    jobs: Sequence[Job]
    output: Output = Output()
    whole: Sequence[Job] | None = None
    """All jobs of the batch of which these are a share; their photos are not written over."""
    cleaned: set[Path] = field(default_factory=set)
    """Folders in which nothing of a killed run is left."""

    def share(self, number: int, count: int) -> Plan:
        """The same for one of `count` shares, from 1 on."""
        return replace(self, jobs=self.jobs[number - 1 :: count], whole=self.jobs)

    @property
    def replaces(self) -> bool:
        """Whether files are written over; also what an interrupted batch left incomplete."""
        return self.output.overwrite or self.output.skip_existing

    @property
    def folder(self) -> Path:
        """The folder that everything goes to, or the first of several that have none in common."""
        folders = [
            job.target if job.kind in FRAME_FORMATS and job.count > 1 else job.target.parent
            for job in self.jobs
        ]
        with contextlib.suppress(ValueError):  # two drives
            common = Path(os.path.commonpath(folders))
            if not common.anchor or common != Path(common.anchor):
                return common
        return folders[0]

    @functools.cached_property
    def inputs(self) -> frozenset[tuple[int, int]]:
        """What all photos are on the disk, whatever they are called: device and number."""
        found = set()
        for job in self.jobs if self.whole is None else self.whole:
            with contextlib.suppress(OSError, ValueError, AttributeError):  # there may be no stdin
                status = os.fstat(sys.stdin.fileno()) if job.photo is None else job.photo.stat()
                found.add((status.st_dev, status.st_ino))
        return frozenset(found)

    def alone(self) -> AbstractContextManager[object]:
        """Keep other processes from the same jobs; other jobs, shares of a batch too, may go on.

        Raises:
            OutputError: another process is doing these jobs.
        """
        if not self.jobs:
            return contextlib.nullcontext()
        targets = "\0".join(f"{job.target.absolute()}\0{job.stem}\0{job.kind}" for job in self.jobs)
        key = hashlib.sha256(targets.encode(errors="surrogateescape")).hexdigest()[:16]
        name = self.folder if len(self.jobs) > 1 else self.jobs[0].target
        return locked(self.folder / f".blurvid-{key}.lock", name)

    def settled(self, fail_fast: bool) -> list[Outcome] | None:
        """What becomes of jobs of which none needs a network; None where one does."""
        found: list[Outcome] = []
        for job in self.jobs:
            outcome = self.check(job)
            if outcome is None:
                return None
            found.append(outcome)
            if fail_fast and outcome.error is not None:
                break
        remove_stale(self.folder)  # what a run left that was killed when all was done
        return found

    def check(self, job: Job) -> Outcome | None:
        """Look at where the frames will go; an outcome where nothing is left to be done.

        What killed runs left in these folders is removed first.
        """
        try:
            if job.error is not None:
                raise job.error
            files = job.files()
            for folder in dict.fromkeys(path.parent for path in files):
                if folder not in self.cleaned:
                    self.cleaned.add(folder)
                    remove_stale(folder)
            for path in files:
                self._refuse_input(job, path)
            if self.output.skip_existing and all(path.exists() for path in files):
                return Outcome(job, files, skipped=True)
            job.files(self.replaces)
        except BlurvidError as error:
            return Outcome(job, error=error)
        return None

    def _refuse_input(self, job: Job, path: Path) -> None:
        """Refuse to write over a photo of the batch, whatever name leads to it."""
        try:
            status = path.stat()
        except OSError:
            return
        if (status.st_dev, status.st_ino) in self.inputs:
            raise OutputError(f"{job.name}: output {path} is the same file as an input")


def plan(
    sources: Sequence[str | Path],
    output: Output = Output(),
    count: int = FRAMES,
    *,
    listed: Sequence[Path] = (),
    model: str = "",
    weights: str = "",
    video: bool = False,
) -> Plan:
    """Find the photos and say where the frames of each go.

    Args:
        sources: photos, folders (searched through), patterns such as `photos/**/*.jpg`, or `-`
            for standard input. An output folder inside of a source is not searched.
        output: what is written. In a folder, the tree of a source folder is kept.
        count: how many frames each photo gives; a single one is a picture of its own.
        listed: photos and folders from a list (`files.read_list`), whose own folders are kept.
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
    template = None if output.name is None else _Template(output.name, model, weights)
    for path in (*output.flows, *output.trusts, output.contact):
        if path == Path("-"):
            raise OptionError("motion, trust and the page about all photos go to files, not to -")
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
    suffixes = targets.STILLS if single else targets.CLIPS
    file, asked = None, ""
    if out is not None and _is_file(out, many, kind, suffixes):
        file = out
        if many:
            raise OptionError(
                f"{out} is one file, but there are {len(found)} photos: name a folder"
            )
        if template is not None:
            raise OptionError(f"{out} is a file; a name template needs a folder")
        if not (single or video) and out.suffix.lower() in targets.STILLS.keys() - suffixes:
            raise OptionError(
                f"{out}: seven frames are seven files; name a folder and choose --format, or make "
                "one picture with blurvid deblur"
            )
        if video and out.suffix.lower().removeprefix(".") not in kinds:
            raise OptionError(f"{out}: a video becomes a .{', .'.join(kinds)} file")
        asked = targets.kind_of(out, single)
        if kind not in (None, asked):
            raise OptionError(f"{out} and --format {kind} contradict each other")
    elif single or kind in (*FRAME_FORMATS, *ANIMATIONS):
        if (out or Path()).resolve() in map(Path.resolve, filter(Path.is_dir, map(Path, sources))):
            raise OptionError(
                f"{out or Path()}: results would be taken for photos the next time; name another "
                "folder (-o)"
            )
    jobs = []
    bases = [Path(found[0].relative.stem)] if file else _named(found, template)
    for entry, base in zip(found, bases, strict=True):
        if file is not None:
            target, made = file, asked
        elif single:
            target = _still(entry.photo, base, output)
            made = targets.kind_of(target, single=True)
        else:
            made = kind or "mp4"
            target = (out or Path()) / base
            frames, ending = made in FRAME_FORMATS, "_slow" if video and out is None else ""
            target = target.parent if frames else target.with_name(f"{target.name}{ending}.{made}")
        if output.clip.compare:
            targets.check_comparison(made, target)
        beside = {name: _besides(name, paths, base, many) for name, paths in besides.items()}
        jobs.append(Job(entry.photo, target, base.name, made, entry.error, beside, count))
    return Plan(jobs, output)


def _still(photo: Path | None, base: Path, output: Output) -> Path:
    """The file of a single picture, of the photo's own kind where none is asked for."""
    suffix = ".png" if photo is None else photo.suffix.lower()
    if output.kind is not None:
        suffix = targets.still_suffix(output.kind)
    elif suffix not in targets.STILLS:
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


def _is_file(out: Path, many: bool, kind: str | None, suffixes: Collection[str]) -> bool:
    """Whether an output is meant as a file; a new folder may have a dot in its name."""
    try:
        if not out.suffix or out.is_dir():
            return False
    except OSError as error:
        raise OutputError(f"{out}: {error.strerror}") from error
    return out.suffix.lower() in suffixes or not (many or kind)


FIELDS = ("stem", "suffix", "parent", "index", "model", "weights")
"""What a name template can hold: the photo's name without its suffix, the suffix without its
dot, the folder below the source, the number of the photo in the whole run from 1 on, the
model, the weight set."""
_WIDTH = r"(?::[<>^]?0?\d{0,3}(?:\.\d{1,3})?[sd]?)?"
_TEMPLATE = re.compile(rf"(?:[^{{}}]|\{{\{{|\}}\}}|\{{(?:{'|'.join(FIELDS)}){_WIDTH}\}})+")


class _Template:
    """A name template such as `{parent}/{stem}_{model}`; `/` makes folders.

    Raises:
        OptionError: it is none.
    """

    def __init__(self, text: str, model: str, weights: str) -> None:
        self.text, self.facts = text, {"model": model, "weights": weights}
        if not _TEMPLATE.fullmatch(text):
            known = ", ".join(f"{{{field}}}" for field in FIELDS)
            raise self._error(f" is none: there are {known}, and widths such as {{index:04d}}")

    def __call__(self, relative: Path, index: int) -> Path:
        """Name the results of a photo by its place below its source and its number, from 1 on.

        Raises:
            OptionError: this photo gets no name inside of the output folder.
        """
        parent, suffix = relative.parent.as_posix(), relative.suffix.removeprefix(".")
        parent = "" if parent == "." else parent
        about = {"stem": relative.stem, "suffix": suffix, "parent": parent, "index": index}
        try:
            filled = self.text.format(**about, **self.facts)
        except ValueError as error:
            raise self._error(f": {error}") from error
        if not self.text.startswith("/"):
            filled = filled.lstrip("/")  # {parent} is empty at the top of a tree
        path = Path(filled)
        if path.is_absolute() or path.drive or ".." in path.parts:
            raise self._error(f" leads out of the output folder for {relative}")
        if not path.name or filled.endswith("/"):
            raise self._error(f" gives no name for {relative}")
        return path

    def _error(self, problem: str) -> OptionError:
        return OptionError(f"the name template {self.text!r}{problem}")


def _named(found: Sequence[Found], template: _Template | None) -> Iterator[Path]:
    """Names of results below the output folder, without suffix, each only once.

    Without a template, results have the names of the photos; `a.jpg` and `a.png`, or photos of
    one name from two places, are told apart by suffixes and numbers.

    Raises:
        OptionError: a template gives two photos the same name.
    """
    taken: dict[str, Path] = {}
    count = Counter(entry.relative.with_suffix("") for entry in found)
    for index, entry in enumerate(found, start=1):
        if template is not None:
            name = template(entry.relative, index)
            other = taken.get(_key(name))
            if entry.error is not None:  # there will be no results to name
                yield name
                continue
            if other is not None:
                raise OptionError(
                    f"the name template {template.text!r} gives {other} and {entry.relative} the "
                    f"same name, {name}; add {{parent}}, {{suffix}} or {{index}}"
                )
        else:
            name = base = entry.relative.with_suffix("")
            if count[base] > 1:
                name = base = base.with_name(entry.relative.name.replace(".", "_"))
            number = 2
            while _key(name) in taken:
                name, number = base.with_name(f"{base.name}_{number}"), number + 1
        taken[_key(name)] = entry.relative
        yield name


def _key(name: Path) -> str:
    """What two names have in common that mean one file."""
    blind = sys.platform in ("darwin", "win32")  # file systems there ignore case
    return str(name).casefold() if blind else str(name)

"""A folder of windows while it is filled: what is there already, what counts, what is left over."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from blurvid import media
from blurvid.atomic import LOCK_FILE
from blurvid.errors import OptionError, OutputError
from blurvid.lab.data.windows.clips import SourceClip
from blurvid.lab.data.windows.records import BLURRY, MANIFEST, UNFINISHED, Record, read_records
from blurvid.lab.data.windows.simulate import described
from blurvid.lab.options import MotionOptions, SynthOptions

_SCRATCH = ".{}.partial"
"""Name of the folder of a window's images until all are there."""


class Folder:
    """Where windows are written; no other process writes there meanwhile.

    Args:
        out: the folder; made if missing.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.manifest = out / MANIFEST
        """The list of the windows, when all are there."""
        self._unfinished = out / UNFINISHED

    def prepare(
        self, options: SynthOptions, motion: MotionOptions | None, resume: bool
    ) -> dict[str, set[int]]:
        """Make it ready to be filled.

        Args:
            options: what the windows are made with.
            motion: of the simulation, for simulated windows.
            resume: keep the windows there, where they were made with the same options.

        Returns:
            The numbers of the windows that are there already, by the name of their clip.

        Raises:
            OptionError: the windows there were made with other options.
            OutputError: it is a file, or not empty and not to be resumed.
        """
        if self.out.exists() and not self.out.is_dir():
            raise OutputError(f"{self.out}: a file, not a folder")
        self.out.mkdir(parents=True, exist_ok=True)
        if all(path.name == LOCK_FILE for path in self.out.iterdir()):
            return {}
        if not resume:
            raise OutputError(f"{self.out}: not empty; resume, or choose another folder")
        listing = next((p for p in (self.manifest, self._unfinished) if p.exists()), None)
        if listing is None:
            return {}
        records, _ = read_records(listing)
        if not all(_made_with(record, options, motion) for record in records):
            raise OptionError(f"{self.out}: made with other options; resume with the same ones")
        listing.replace(self._unfinished)  # from here on the folder counts as unfinished
        # Windows that are gone lose their line, and so does one cut short by the end of the run.
        records = [record for record in records if (self.out / record["window"]).is_dir()]
        self._list(records)
        done: dict[str, set[int]] = {}
        for record in records:
            done.setdefault(record["clip"], set()).add(_number(record))
        return done

    @contextlib.contextmanager
    def filling(self, clips: Sequence[SourceClip]) -> Iterator[IO[str]]:
        """Open the list of windows; before and after, remove images of windows that are not whole.

        Args:
            clips: whose windows are made.
        """
        media.remove_stale(self.out)
        self._remove_scratch(clips)  # of a run that was killed
        try:
            with self._unfinished.open("a", encoding="utf-8") as lines:
                yield lines
        finally:  # of this one, where an interrupt came between two steps
            try:
                self._remove_scratch(clips)
            finally:
                self._remove_scratch(clips)

    def publish(self, record: Record, scratch: Path, lines: IO[str]) -> None:
        """Give the images of a window their name, then add the line."""
        folder = self.out / record["window"]
        self._remove_window(folder)
        scratch.replace(folder)
        lines.write(_line(record))
        lines.flush()

    def sort(self, clips: Sequence[SourceClip]) -> None:
        """List the windows as a run without interruption would have listed them."""
        place = {clip.name: index for index, clip in enumerate(clips)}
        records, _ = read_records(self._unfinished)
        self._list(sorted(records, key=lambda r: (place.get(r["clip"], -1), _number(r))))

    def finish(self, windows: int) -> None:
        """Give the list its name, now that all windows are there; none if there are no windows."""
        if windows:
            self._unfinished.replace(self.manifest)
        else:
            self._unfinished.unlink()

    def _list(self, records: Sequence[Record]) -> None:
        with media.replacing([self._unfinished]) as (scratch,):
            scratch.write_text("".join(map(_line, records)), encoding="utf-8")

    def _remove_scratch(self, clips: Sequence[SourceClip]) -> None:
        """Remove the images of windows that were begun and are not whole."""
        for clip in clips:
            with contextlib.suppress(OSError, OutputError):
                check_inside(self.out / clip.name, self.out)
                for scratch in (self.out / clip.name).glob(_SCRATCH.format("[0-9]*")):
                    shutil.rmtree(scratch, ignore_errors=True)

    def _remove_window(self, folder: Path) -> None:
        """Remove a window's own files; a folder that holds others is left, and an error."""
        check_inside(folder, self.out)
        if not folder.is_dir():
            return
        for image in [folder / BLURRY, *folder.glob("sharp_*.png")]:
            image.unlink(missing_ok=True)
        folder.rmdir()


def scratch_of(folder: Path) -> Path:
    """Where the images of a window are until all are there."""
    return folder.with_name(_SCRATCH.format(folder.name))


def check_inside(folder: Path, out: Path) -> None:
    """Refuse the folder of a window that a link takes out of the folder of all windows.

    Raises:
        OutputError: it lies elsewhere.
    """
    if not folder.resolve().is_relative_to(out.resolve()):
        raise OutputError(f"{folder}: a link leads out of {out}; nothing outside is touched")


def _number(record: Record) -> int:
    return int(Path(record["window"]).name)


def _line(record: Record) -> str:
    line = json.dumps(record, ensure_ascii=False) + "\n"
    try:
        line.encode()
    except UnicodeEncodeError:  # a name that is not text
        return json.dumps(record) + "\n"
    return line


def _made_with(record: Record, options: SynthOptions, motion: MotionOptions | None) -> bool:
    crop = record.get("crop")
    made = [record.get(key) for key in ("stride", "gamma", "scale", "noise", "seed")]
    stride = options.stride or options.frames
    wanted = [stride, options.gamma, options.scale, options.noise, options.seed]
    return (
        made == wanted
        and len(record["frames"]) == options.frames
        and (crop[2] if isinstance(crop, list) and len(crop) == 4 else None) == options.crop
        and record.get("simulated") == (described(motion) if motion else None)
    )

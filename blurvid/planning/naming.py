"""Names of results: templates, and that no two photos get the same."""

from __future__ import annotations

import re
import string
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from blurvid.errors import OptionError
from blurvid.planning.sources import Found

FIELDS = ("stem", "suffix", "parent", "index", "model", "weights")
"""What a name template can hold: the photo's name without its suffix, the suffix without its
dot, the folder below the source, the number of the photo in the whole run from 1 on, the
model, the weight set."""
_SPEC = re.compile(r"[<>^]?0?\d{0,3}(\.\d{1,3})?[sd]?")


class Template:
    """A name template such as `{parent}/{stem}_{model}`."""

    def __init__(self, text: str, model: str, weights: str) -> None:
        """Check a template.

        Args:
            text: the template; `/` makes folders.
            model: name of the model.
            weights: name of the weight set.

        Raises:
            OptionError: an unknown field, or a path that leads out of the output folder.
        """
        self.text, self.facts = text, {"model": model, "weights": weights}
        try:
            parsed = list(string.Formatter().parse(text))
        except ValueError as error:
            raise self._error(f": {error}") from error
        for _, name, spec, conversion in parsed:
            if name is None:
                continue
            if name not in FIELDS or conversion:
                known = ", ".join(f"{{{field}}}" for field in FIELDS)
                raise self._error(f" has no field {{{name}}}; there are {known}")
            if not _SPEC.fullmatch(spec or ""):
                raise self._error(f": {{{name}:{spec}}} is no width, such as {{index:04d}}")
        path = Path(text)
        if path.is_absolute() or path.drive or ".." in path.parts:
            raise self._error(" leads out of the output folder")
        if not path.name or text.endswith("/"):
            raise self._error(" gives no name for files")

    def __call__(self, relative: Path, index: int) -> Path:
        """Name the results of a photo.

        Args:
            relative: the photo below its source.
            index: its number in the run, from 1 on.

        Raises:
            OptionError: this photo gets no name inside of the output folder.
        """
        parent = relative.parent.as_posix()
        try:
            filled = self.text.format(
                stem=relative.stem,
                suffix=relative.suffix.removeprefix("."),
                parent="" if parent == "." else parent,
                index=index,
                **self.facts,
            )
        except ValueError as error:
            raise self._error(f": {error}") from error
        path = Path(filled.lstrip("/"))  # {parent} is empty at the top of a tree
        if path.drive or ".." in path.parts:
            raise self._error(f" leads out of the output folder for {relative}")
        if not path.name or filled.endswith("/"):
            raise self._error(f" gives no name for {relative}")
        return path

    def _error(self, problem: str) -> OptionError:
        return OptionError(f"the name template {self.text!r}{problem}")


def named(found: Sequence[Found], template: Template | None) -> Iterator[Path]:
    """Names of results below the output folder, without suffix, each only once.

    Without a template, results have the names of the photos; `a.jpg` and `a.png`, or photos of
    one name from two places, are told apart by suffixes and numbers.

    Args:
        found: all photos of the run.
        template: how to name them.

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

"""What results are called in a folder."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from blurvid.errors import OptionError
from blurvid.planning.trees import Found

FIELDS = ("stem", "suffix", "parent", "index", "model", "weights")
"""What a name template can hold: the photo's name without its suffix, the suffix without its
dot, the folder below the source, the number of the photo in the whole run from 1 on, the
model, the weight set."""
_WIDTH = r"(?::[<>^]?0?\d{0,3}(?:\.\d{1,3})?[sd]?)?"
_TEMPLATE = re.compile(rf"(?:[^{{}}]|\{{\{{|\}}\}}|\{{(?:{'|'.join(FIELDS)}){_WIDTH}\}})+")


class Template:
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


def named(found: Sequence[Found], template: Template | None) -> Iterator[Path]:
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

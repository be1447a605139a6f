"""What pages have in common: their looks, and how text comes into them."""

from __future__ import annotations

import base64
import hashlib
import html
from importlib import resources


def look() -> str:
    """The style of all pages: colours in light and dark, controls."""
    return part_of(__name__, "look.css")


def part_of(package: str, name: str) -> str:
    """One of the files that a page is made of."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def digest(text: str) -> str:
    """Name an inline script or style in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def escaped(text: str) -> str:
    """Make any text, names of files that are not even Unicode included, safe inside HTML."""
    return html.escape(text.encode("utf-8", "replace").decode())

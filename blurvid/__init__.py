"""blurvid: turn one motion-blurred photo into the seven sharp frames it was made of.

>>> import blurvid
>>> clip = blurvid.extract("photo.jpg")  # doctest: +SKIP
>>> clip.save("clip.mp4")  # doctest: +SKIP
"""

__version__ = "0.1.0"

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blurvid.errors import BlurvidError
    from blurvid.pipeline import Clip, extract, extract_video, extractor
    from blurvid.recipe import Way

__all__ = ["BlurvidError", "Clip", "Way", "__version__", "extract", "extract_video", "extractor"]


def __getattr__(name: str) -> Any:
    """Load the face lazily, so that `import blurvid` does not load torch."""
    from importlib import import_module

    if name == "BlurvidError":
        return import_module("blurvid.errors").BlurvidError
    if name == "Way":
        return import_module("blurvid.recipe").Way
    if name in ("Clip", "extract", "extract_video", "extractor"):
        return getattr(import_module("blurvid.pipeline"), name)
    raise AttributeError(f"module 'blurvid' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The face alone, without the modules behind it."""
    return sorted(__all__)

"""One photo to seven frames."""

from blurvid.pipeline.clip import Clip, stem_of
from blurvid.pipeline.extraction import (
    Extractor,
    Photo,
    check_quality,
    deblurrer,
    extract,
    extractor,
    fit,
)

__all__ = [
    "Clip",
    "Extractor",
    "Photo",
    "check_quality",
    "deblurrer",
    "extract",
    "extractor",
    "fit",
    "stem_of",
]

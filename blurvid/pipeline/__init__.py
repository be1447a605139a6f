"""One photo to seven frames."""

from blurvid.pipeline.clip import Clip, stem_of
from blurvid.pipeline.extraction import Extractor, Photo, check_quality, fit
from blurvid.pipeline.opening import deblurrer, extract, extractor

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

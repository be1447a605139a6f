"""One photo to seven frames, and the frames of a video to seven times as many."""

from blurvid.pipeline.beyond import check_beyond, extend, extended
from blurvid.pipeline.clip import Clip, stem_of
from blurvid.pipeline.extraction import Extractor, PhotoLike, check_quality, fit
from blurvid.pipeline.opening import choose, deblurrer, extract, extractor
from blurvid.pipeline.video import SlowVideo, Step, check_video, extract_video
from blurvid.pipeline.weave import Placed, Weaver

__all__ = [
    "Clip",
    "Extractor",
    "PhotoLike",
    "Placed",
    "SlowVideo",
    "Step",
    "Weaver",
    "check_beyond",
    "check_quality",
    "check_video",
    "choose",
    "deblurrer",
    "extend",
    "extended",
    "extract",
    "extract_video",
    "extractor",
    "fit",
    "stem_of",
]

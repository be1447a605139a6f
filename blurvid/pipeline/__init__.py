"""One photo to seven frames, and the frames of a video to seven times as many."""

from blurvid.pipeline.clip import Clip, stem_of
from blurvid.pipeline.extraction import Extractor, fit
from blurvid.pipeline.opening import extract, extractor, opened
from blurvid.pipeline.video import SlowVideo, Step, check_video, extract_video
from blurvid.pipeline.weave import Placed, Weaver

__all__ = [
    "Clip",
    "Extractor",
    "Placed",
    "SlowVideo",
    "Step",
    "Weaver",
    "check_video",
    "extract",
    "extract_video",
    "extractor",
    "fit",
    "opened",
    "stem_of",
]

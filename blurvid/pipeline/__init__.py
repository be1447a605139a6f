"""One photo to seven frames, and the frames of a video to seven times as many."""

from blurvid.pipeline.clip import Clip, stem_of
from blurvid.pipeline.extraction import Extractor, extract, extractor, opened
from blurvid.pipeline.video import SlowVideo, extract_video

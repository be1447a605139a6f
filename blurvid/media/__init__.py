"""Pixels to and from files: photos in, PNG sets, animations, videos, players out, video in.

Tensors are RGB float32 in [0, 1], channels first; numpy frames are RGB uint8, channels last.
What a file cannot give raises `InputError`, what cannot be written `OutputError`, options
out of range `OptionError`; each with one line of text that names the file.
"""

from blurvid.atomic import remove_stale, replacing
from blurvid.errors import reason
from blurvid.files import (
    START,
    is_photo,
    is_special,
    is_video,
    list_photos,
    natural_key,
    starts_as,
)
from blurvid.media.animation import animate, pieces_again
from blurvid.media.clip import html_animation, lost_in, write_frames
from blurvid.media.flow import TrustMaps, flow_array, save_flow, save_trust
from blurvid.media.mp4 import encode
from blurvid.media.photo import Photo, to_uint8
from blurvid.media.pixels import FILTER, FILTER_VIDEO, scaled
from blurvid.media.player import Movable, Notes, Origin
from blurvid.media.png import quick_png
from blurvid.media.read import PhotoLike, as_photo, photo_size, read_photo
from blurvid.media.region import Box, Region, RegionLike, cropped, region
from blurvid.media.shelf import Shelf
from blurvid.media.stills import save_strip, write_still
from blurvid.media.tracks import join, write_tracks
from blurvid.media.video import (
    Span,
    Timing,
    VideoInfo,
    holds_video,
    read_video,
    timed_frames,
    video_info,
)

"""Pixels to and from files: photos in, PNG sets, animations, videos, players out, video in.

Tensors are RGB float32 in [0, 1], channels first; numpy frames are RGB uint8, channels last.
What a file cannot give raises `InputError`, what cannot be written `OutputError`, options
out of range `OptionError`; each with one line of text that names the file.
"""

from blurvid.atomic import own_start, remove_stale, replacing
from blurvid.files import (
    START,
    is_photo,
    is_special,
    is_video,
    list_photos,
    natural_key,
    starts_as,
)
from blurvid.media.animated import animate
from blurvid.media.arrays import photo_from_array
from blurvid.media.clip import write_frames
from blurvid.media.contact import Card, write_contact, write_strip
from blurvid.media.flow import flow_array, flow_picture, write_flow
from blurvid.media.maps import TrustMaps
from blurvid.media.montage import sheet, write_montage
from blurvid.media.mp4 import Tracks, encode, join, store
from blurvid.media.notebook import animation
from blurvid.media.photo import Photo
from blurvid.media.player import Movable, Origin
from blurvid.media.png import quick_png, to_uint8, write_png
from blurvid.media.read import photo_size, read_photo
from blurvid.media.region import Box, Region, RegionLike, cropped, region
from blurvid.media.scaling import FILTER, FILTER_VIDEO, scaled
from blurvid.media.shelf import Shelf
from blurvid.media.single import write_still
from blurvid.media.stills import lost_in
from blurvid.media.timing import Span, Timing
from blurvid.media.tracks import write_tracks
from blurvid.media.trust import trust_picture, write_trust
from blurvid.media.video import VideoInfo, holds_video, read_video, timed_frames, video_info
from blurvid.reasons import reason

__all__ = [
    "Box",
    "Card",
    "FILTER",
    "FILTER_VIDEO",
    "START",
    "Movable",
    "Origin",
    "Photo",
    "Region",
    "RegionLike",
    "Shelf",
    "Span",
    "Timing",
    "Tracks",
    "TrustMaps",
    "VideoInfo",
    "animate",
    "animation",
    "cropped",
    "encode",
    "flow_array",
    "flow_picture",
    "holds_video",
    "is_photo",
    "is_special",
    "is_video",
    "join",
    "list_photos",
    "lost_in",
    "natural_key",
    "own_start",
    "photo_from_array",
    "photo_size",
    "quick_png",
    "read_photo",
    "read_video",
    "reason",
    "region",
    "remove_stale",
    "replacing",
    "scaled",
    "sheet",
    "starts_as",
    "store",
    "timed_frames",
    "to_uint8",
    "trust_picture",
    "video_info",
    "write_contact",
    "write_flow",
    "write_frames",
    "write_montage",
    "write_png",
    "write_still",
    "write_strip",
    "write_tracks",
    "write_trust",
]

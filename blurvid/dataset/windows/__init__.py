"""Clips to windows: consecutive frames averaged into a blurry image, and back from disk."""

from blurvid.dataset.windows.clips import FULL_RATE, PAIRED, SPARSE, Clip, find_clips
from blurvid.dataset.windows.make import Window, check_options, make_windows
from blurvid.dataset.windows.middles import MiddleWindow, middle_windows
from blurvid.dataset.windows.read import StoredWindow, is_window_folder, read_windows
from blurvid.dataset.windows.records import Record, in_windows
from blurvid.dataset.windows.simulate import find_stills, simulate_still
from blurvid.dataset.windows.team import Made, Pending, Plan, Team, make_clip
from blurvid.dataset.windows.write import WriteSummary, simulate_windows, write_windows
from blurvid.media import FILTER

__all__ = [
    "FILTER",
    "FULL_RATE",
    "PAIRED",
    "SPARSE",
    "Clip",
    "Made",
    "MiddleWindow",
    "Pending",
    "Plan",
    "Record",
    "StoredWindow",
    "Team",
    "Window",
    "WriteSummary",
    "check_options",
    "find_clips",
    "find_stills",
    "in_windows",
    "is_window_folder",
    "make_clip",
    "make_windows",
    "middle_windows",
    "read_windows",
    "simulate_still",
    "simulate_windows",
    "write_windows",
]

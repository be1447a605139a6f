"""Clips to windows: consecutive frames averaged into a blurry image, and back from disk."""

from blurvid.lab.data.windows.clips import (
    PAIRED,
    SourceClip,
    find_clips,
    load_photo,
)
from blurvid.lab.data.windows.make import plan_windows
from blurvid.lab.data.windows.read import is_window_folder, read_windows
from blurvid.lab.data.windows.records import Record, Window, in_windows
from blurvid.lab.data.windows.simulate import find_stills, simulate_still
from blurvid.lab.data.windows.write import WriteSummary, write_windows

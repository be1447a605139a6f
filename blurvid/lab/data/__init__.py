"""Photos and clips to windows, and windows and photos to batches."""

from blurvid.lab.data.clips import PAIRED, SourceClip, find_clips, find_stills
from blurvid.lab.data.make import plan_windows, simulate_still
from blurvid.lab.data.source import Batch, Source, open_source
from blurvid.lab.data.windows import Record, Window, is_window_folder, load_photo, read_windows
from blurvid.lab.data.write import WriteSummary, write_windows

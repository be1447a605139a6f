"""Photos and clips to training and evaluation windows."""

from blurvid.lab.data.source import Batch, Source, open_source

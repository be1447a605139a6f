"""Scores of an extractor on windows with known frames, beside the trivial answers."""

from blurvid.lab.evaluate.protocols import Benchmark, Protocol, Published, open_protocol
from blurvid.lab.evaluate.scores import (
    Extract,
    MeanScore,
    Report,
    Row,
    Summary,
    evaluate,
    plain,
)
from blurvid.lab.evaluate.windows import middle_windows, windows_from

"""Scores of an extractor on windows with known frames, beside the trivial answers."""

from blurvid.lab.evaluate.middle import (
    FrameScore,
    MiddleReport,
    MiddleRow,
    MiddleSummary,
    evaluate_middle,
)
from blurvid.lab.evaluate.protocols import (
    Benchmark,
    Protocol,
    ProtocolReport,
    Published,
    open_protocol,
)
from blurvid.lab.evaluate.robustness import (
    ModelScore,
    Moment,
    RobustnessReport,
    domain_of,
    evaluate_robustness,
    moments_from,
)
from blurvid.lab.evaluate.sequence import (
    MeanScore,
    Ranking,
    Report,
    Row,
    Summary,
    evaluate,
    summarise,
)
from blurvid.lab.evaluate.shared import Extract
from blurvid.lab.evaluate.times import (
    TimesReport,
    TimesRow,
    evaluate_between,
    evaluate_beyond,
    windows_beyond,
    windows_of,
)
from blurvid.lab.evaluate.video import MOVING, FrameRow, VideoReport, VideoSummary, evaluate_video
from blurvid.lab.evaluate.windows import windows_from

__all__ = [
    "MOVING",
    "FrameRow",
    "VideoReport",
    "VideoSummary",
    "evaluate_video",
    "Benchmark",
    "Extract",
    "FrameScore",
    "MeanScore",
    "MiddleReport",
    "MiddleRow",
    "MiddleSummary",
    "ModelScore",
    "Moment",
    "Protocol",
    "ProtocolReport",
    "Published",
    "Ranking",
    "Report",
    "RobustnessReport",
    "Row",
    "Summary",
    "TimesReport",
    "TimesRow",
    "domain_of",
    "evaluate",
    "evaluate_between",
    "evaluate_beyond",
    "evaluate_middle",
    "evaluate_robustness",
    "moments_from",
    "open_protocol",
    "summarise",
    "windows_beyond",
    "windows_from",
    "windows_of",
]

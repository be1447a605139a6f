"""Scores of an extractor on windows with known frames, beside the trivial answers."""

from blurvid.lab.evaluate.scores import Report, Row, Summary, evaluate
from blurvid.lab.evaluate.windows import windows_from

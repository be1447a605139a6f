"""What several test files share."""

import numpy as np
import torch
from click.testing import CliRunner
from torch import nn

from blurvid.cli import main

STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
"""Pixels as they lie in a file with this EXIF orientation, from those to be shown."""


class Recorder(nn.Module):
    """Stands for a network: keeps what it is shown, answers with a mark."""

    def __init__(self, mark):
        super().__init__()
        self.mark, self.seen = mark, []

    def forward(self, *inputs, step=None):
        self.seen.append(tuple(x.item() for x in inputs))
        return torch.tensor(float(self.mark) + 10 * len(self.seen))


class Whole:
    """What a stub model needs besides `__call__`: it always sees all of an image in one go."""

    count = 7

    can_strip = False

    def fill(self, out, y, step):
        assert step is None
        out.copy_(self(y)[0])

    def maker(self, frames):
        return f"the {self.name} model"

    def memory(self, height, width, feature_size, step):
        return 0


def invoke(*words, stdin=None):
    """Run a command in this process; a bug comes out as the exception that it is."""
    result = CliRunner().invoke(main, [str(word) for word in words], input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result

"""What several test files share."""

import numpy as np
import torch
from click.testing import CliRunner
from torch import nn

from blurvid import batch, planning
from blurvid.cli import main
from blurvid.config import BatchOptions, ClipOptions, OrderOptions, Output, QualityOptions
from blurvid.pipeline import Extractor
from blurvid.recipe import Recipe, Source

CPU = torch.device("cpu")
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


def noise(*shape, dtype=np.uint8, seed=0):
    """Values of all levels of a kind of whole numbers."""
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, shape, dtype, endpoint=True)


class Recorder(nn.Module):
    """Stands for a network: keeps what it is shown, answers with a mark."""

    def __init__(self, mark):
        super().__init__()
        self.mark, self.seen = mark, []

    def forward(self, *inputs):
        self.seen.append(tuple(x.item() for x in inputs))
        return torch.tensor(float(self.mark) + 10 * len(self.seen))


class Whole:
    """What a stub model needs besides `__call__`: it always sees all of an image in one go."""

    count = 7

    def fill(self, out, y):
        out.copy_(self(y)[0])

    def memory(self, height, width, feature_size):
        return 0


def invoke(*words, stdin=None):
    """Run a command in this process; a bug comes out as the exception that it is."""
    result = CliRunner().invoke(main, [str(word) for word in words], input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def extractor_of(
    model,
    name="w",
    device=CPU,
    dtype=torch.float32,
    quality=QualityOptions(),
    *,
    order=OrderOptions(),
    max_memory=None,
    given=None,
):
    """An extractor around a model that comes from no weight set."""
    frames = model.count if model.count == 1 else 7
    recipe = Recipe(Source(name, model.name), None, quality, order, frames=frames)
    return Extractor(model, recipe, device, dtype, max_memory, given)


def plan(
    sources,
    out=None,
    kind=None,
    montage=None,
    *,
    count=7,
    name=None,
    flows=(),
    trusts=(),
    **options,
):
    """`planning.plan` with the fields of its output one by one."""
    montages = () if montage is None else (montage,)
    output = Output(out, kind, name, montages, tuple(flows), tuple(trusts))
    return planning.plan(sources, output, count, **options)


def run_batch(
    jobs,
    extract,
    clip=ClipOptions(),
    *,
    overwrite=False,
    skip_existing=False,
    whole=None,
    on_outcome=None,
    on_warning=None,
    **options,
):
    """`batch.run` with the fields of its options one by one."""
    return batch.run(
        jobs,
        extract,
        Output(clip=clip, overwrite=overwrite, skip_existing=skip_existing),
        BatchOptions(**options),
        whole=whole,
        on_outcome=on_outcome,
        on_warning=on_warning,
    )

"""What several test files share."""

from pathlib import Path

import numpy as np
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

from blurvid import batch, planning
from blurvid.cli import main
from blurvid.config import (
    BatchOptions,
    ClipOptions,
    DirectSpec,
    Output,
)
from blurvid.networks import DirectNet
from blurvid.pipeline import Extractor
from blurvid.recipe import Recipe, Source
from blurvid.weights import store

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


def save_tiny(folder, *, moving=False, score=None):
    """Save a small direct network as a weight set named like its folder.

    Its frames are the photo, or differ where it is `moving`.
    """
    torch.manual_seed(0)
    net = DirectNet(DirectSpec(channels=(8, 12), blocks=(1, 1)))
    if moving:
        nn.init.uniform_(net.head.bias, -0.3, 0.3)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scores = {} if score is None else {"seven_frame_psnr": score}
    facts = {"recipe": {}, "data": "", "scores": scores, "licence": "MIT"}
    return store.save(net, folder, name=folder.name, **facts)


def make_photo(path, seed=0, size=(48, 32), **options):
    """Write a photo of noise, and the folders that lead to it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def everything(folder):
    """Files below a folder, hidden ones too."""
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


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
    *,
    max_memory=None,
    **choices,
):
    """An extractor around a model that comes from no weight set, with fields of its recipe."""
    frames = model.count if model.count == 1 else 7
    recipe = Recipe(Source(name, model.name), frames=frames, **choices)
    return Extractor(model, recipe, device, dtype, max_memory)


def plan(
    sources,
    out=None,
    kind=None,
    *,
    count=7,
    name=None,
    flows=(),
    trusts=(),
    **options,
):
    """Jobs of `planning.plan` with the fields of its output one by one."""
    output = Output(out, kind, name, tuple(flows), tuple(trusts))
    return planning.plan(sources, output, count, **options).jobs


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
    output = Output(clip=clip, overwrite=overwrite, skip_existing=skip_existing)
    return batch.run(
        planning.Plan(jobs, output, whole),
        extract,
        BatchOptions(**options),
        on_outcome=on_outcome,
        on_warning=on_warning,
    )

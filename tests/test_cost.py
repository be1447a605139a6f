"""What the networks may cost: operations, memory taken and moved, counted rather than timed."""

from dataclasses import dataclass, field

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import FlopCounterMode

from blurvid import models, runtime


@dataclass
class Count(TorchDispatchMode):
    """Count calls, bytes of new tensors, and bytes that calls read and write."""

    calls: int = 0
    taken: int = 0
    moved: int = 0
    seen: set[int] = field(default_factory=set)

    def __post_init__(self):
        super().__init__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
        known = {x.untyped_storage().data_ptr() for x in given}
        made = func(*args, **(kwargs or {}))
        outputs = [x for x in tree_flatten(made)[0] if isinstance(x, torch.Tensor)]
        self.calls += 1
        new = [x for x in outputs if x.untyped_storage().data_ptr() not in known]
        self.taken += sum(x.untyped_storage().nbytes() for x in new)
        view = outputs and not new and not func._schema.is_mutable
        if not view and "empty" not in func.name():
            self.moved += sum(x.numel() * x.element_size() for x in [*given, *outputs])
        return made


def flop(call):
    """Floating-point operations of convolutions and matrix products; a multiply-add is two."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()


def cost(name, side):
    """FLOP of one photo, of its bare arithmetic, and the counts."""
    torch.manual_seed(0)
    model = models.build(name).requires_grad_(False)
    runtime.place(model, torch.device("cpu"))
    y, out = torch.rand(1, 3, side, side), torch.empty(7, 3, side, side)
    count = Count()

    def fill():
        with count:
            model.fill(out, y)

    return flop(fill), flop(lambda: model.to("meta")(y.to("meta"))), count


@pytest.mark.parametrize(
    ("name", "side", "calls", "taken", "moved"),
    [
        # Side of the photo [px]; calls; bytes a pixel taken, and moved. As measured, and 5 % more.
        ("direct", 320, 128, 640, 2640),
        ("cascade", 160, 1_180, 75_600, 169_700),
    ],
)
def test_no_more_is_done_than_was(name, side, calls, taken, moved):
    found_flop, plain, count = cost(name, side)
    pixels = side**2
    assert found_flop == plain
    found = (count.calls, count.taken / pixels, count.moved / pixels)
    assert all(a <= b for a, b in zip(found, (calls, taken, moved), strict=True)), found

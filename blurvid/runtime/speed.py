"""Counting, compiling and recording what is to be done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from blurvid.errors import DeviceError

VARIANTS = 32
"""Most variants of a function compiled for any size; more are a sign of a mistake."""
WARM_UPS = 2
"""Runs before a recording, so that libraries are loaded and their choices made."""


def count_flop(call: Callable[[], object]) -> int:
    """Count the floating-point operations of a call; a multiply-add counts as two.

    Only convolutions and matrix products count.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return int(counter.get_total_flops())


def compiled(call: Callable[..., Any], *, any_size: bool = False) -> Callable[..., Any]:
    """Compile a module or a function; torch does so when it is first called.

    Args:
        call: what to compile, and where torch cannot all of it, in parts.
        any_size: compile all in one for tensors of any size, rather than for each size again.

    Returns:
        A function with the same arguments. It raises DeviceError where torch cannot compile on
        this machine.
    """
    fast = torch.compile(call, dynamic=True, fullgraph=True) if any_size else torch.compile(call)

    def run(*inputs: object) -> Any:
        try:
            if not any_size:
                return fast(*inputs)
            # A variant for each precision, number of arguments, batch of one or more, and layout
            with torch._dynamo.config.patch(cache_size_limit=VARIANTS):
                return fast(*inputs)
        except Exception as error:
            from torch._dynamo.exc import TorchDynamoException  # takes seconds where not loaded

            # What the compiler behind it raises has no class in common in all versions.
            inductor = type(error).__module__.startswith("torch._inductor")
            if not isinstance(error, TorchDynamoException) and not inductor:
                raise
            cause = getattr(error, "inner_exception", error)
            raise DeviceError(
                f"torch.compile does not work here ({first_line(cause)}); run without compile"
            ) from cause

    return run


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


class Recording:
    """What a function asks of a CUDA device, recorded once and replayed for other values.

    A network is some hundred small steps; asked for one by one, the asking can take longer than
    the work. Nothing may be waited for in the function, and tensors that it uses besides its
    argument, such as weights, must stay where they are.
    """

    def __init__(
        self, call: Callable[[Tensor], Tensor], x: Tensor, beside: Recording | None = None
    ) -> None:
        """Record a call.

        Args:
            call: what to record; it is run a few times before.
            x: an argument, on the device, of the size that all shall have.
            beside: another recording that shares its memory with this one, so that neither is
                replayed before the result of the other has been used.
        """
        self.input = torch.empty_like(x)
        self.input.copy_(x)
        with torch.cuda.device(x.device), tried_convolutions():
            # As torch's documentation has it, the same stream for all that share memory
            new = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            self.stream: torch.cuda.Stream = new if beside is None else beside.stream
            self.graph: torch.cuda.CUDAGraph = torch.cuda.CUDAGraph()
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                for _ in range(WARM_UPS):
                    call(self.input)
            torch.cuda.current_stream().wait_stream(self.stream)
            with torch.cuda.graph(
                self.graph,
                pool=None if beside is None else beside.graph.pool(),
                stream=self.stream,
                # Other threads, which read and write files, are none of its business.
                capture_error_mode="thread_local",
            ):
                self.output = call(self.input)

    def __call__(self, x: Tensor) -> Tensor:
        """Replay for x; the result is overwritten by the next replay."""
        self.input.copy_(x)
        self.graph.replay()
        return self.output


@contextlib.contextmanager
def tried_convolutions() -> Iterator[None]:
    """Let cuDNN time its ways to convolve and take the fastest: pays where sizes come again."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before

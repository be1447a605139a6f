"""Networks compiled and recorded for CUDA devices, as far as a CPU can tell."""

import contextlib
import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from blurvid import models, pipeline, runtime
from blurvid.config import CascadeSpec, DirectSpec, RunOptions
from blurvid.errors import DeviceError
from blurvid.models import Cascade, Fast, Replay, fast
from blurvid.networks import DirectNet, FrameNet, FrameSpec
from blurvid.networks.blocks import InstanceNorm, activate, activated, fused_activations
from blurvid.pipeline import extraction
from blurvid.pipeline.memory import FRAME_SIZE, Plan, plan

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
TINY = DirectSpec(2, (4, 8), (1, 1))
GROUPS = (((1, 1), (1, 2)),)


def frame_net():
    """A small network whose every weight matters."""
    net = FrameNet(FrameSpec(5, (4, 4, 4), GROUPS, 4, "fusion"))
    shaken(net)
    return net.requires_grad_(False)


def shaken(net):
    for name, values in net.named_parameters():
        nn.init.normal_(values, float(name.endswith("weight") and values.ndim == 1), 0.3)


def norm(channels=6):
    made = InstanceNorm(channels)
    nn.init.normal_(made.weight)
    nn.init.normal_(made.bias)
    return made


# norms


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_activations_are_those_of_torch(dtype, layout):
    x = (3 * torch.randn(2, 6, 9, 14) + 5).to(dtype).contiguous(memory_format=layout)
    first, second = norm(), norm()
    found = activated(x, first.weight, first.bias, second.weight, second.bias)
    for out, layer in zip(found, (first, second), strict=True):
        expected = F.relu(
            F.instance_norm(
                x.double(), None, None, *map(torch.Tensor.double, (layer.weight, layer.bias))
            )
        )
        assert out.dtype == dtype
        assert out.is_contiguous(memory_format=layout)
        assert_close(
            out,
            expected.to(dtype),
            rtol=1e-2 if dtype != torch.float32 else 1e-5,
            atol=1e-2 if dtype != torch.float32 else 1e-5,
        )


@torch.no_grad()
def test_features_in_half_precision_are_normalized_as_they_are():
    layer = norm()
    x = (3 * torch.randn(2, 6, 9, 14) + 5).bfloat16()
    with runtime.autocast(CPU, torch.bfloat16):
        found = layer(x)
    assert found.dtype == torch.bfloat16
    expected = F.group_norm(x.float(), 6, layer.weight, layer.bias)
    assert_close(found.float(), expected, rtol=2e-2, atol=2e-2)
    with torch.enable_grad(), runtime.autocast(CPU, torch.bfloat16):
        trained = layer(x)  # as torch does it, whatever that is on this device
    assert_close(trained.float(), expected, rtol=2e-2, atol=2e-2)


@torch.no_grad()
def test_fused_activations_change_nothing(monkeypatch):
    monkeypatch.setattr(FrameNet, "_prefers_strips", lambda net: False)  # as on a GPU
    net, images, norms = frame_net(), [torch.rand(2, 3, 20, 15) for _ in range(3)], []

    def fused(x, *affine):
        norms.append(len(affine) // 2)
        return activated(x, *affine)

    expected = net(*images)
    with fused_activations(net, fused):
        found = net(*images)
    assert_close(found, expected, rtol=1e-4, atol=1e-4)
    # Norms of the same map share its statistics: of each block, of each fusion, of the head.
    assert norms == [2, 1] * 2 + [2] + [2, 1]
    net(*images)
    assert len(norms) == 7


def test_fused_activations_are_for_use():
    layer, x = norm(), torch.rand(1, 6, 9, 14)
    with contextlib.suppress(KeyError), fused_activations(layer, None):
        raise KeyError
    assert layer.fused is None
    with fused_activations(layer, lambda *_: pytest.fail("not fused")):
        assert next(activate(x, layer)).requires_grad


@pytest.mark.slow  # loads torch's compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own parts
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler here")
@torch.no_grad()
def test_compiled_activations():
    compiled = runtime.compiled(activated, any_size=True)
    graphs = torch._dynamo.utils.counters["stats"]
    before = graphs["unique_graphs"]
    for channels, height, width in ((8, 12, 20), (12, 9, 31)):
        x = (3 * torch.randn(3, channels, height, width) + 5).bfloat16()
        x = x.contiguous(memory_format=torch.channels_last)
        affine = torch.randn(4, channels).unbind()
        expected = activated(x, *affine)
        for found, other in zip(compiled(x, *affine), expected, strict=True):
            assert found.is_contiguous(memory_format=torch.channels_last)
            assert_close(found, other, rtol=1e-2, atol=1e-2)
    assert graphs["unique_graphs"] == before + 1  # one for all sizes


def test_what_compilers_raise_is_a_device_error(monkeypatch):
    class InductorError(RuntimeError):
        __module__ = "torch._inductor.exc"

    for error, expected in ((InductorError("no g++\nat all"), DeviceError), (KeyError(), KeyError)):

        def broken(*_, error=error):
            raise error

        monkeypatch.setattr(torch, "compile", lambda call, broken=broken: broken)
        with pytest.raises(
            expected, match=r"\(no g\+\+\); run" if expected is DeviceError else None
        ):
            runtime.compiled(nn.ReLU())(torch.ones(1))


# recordings


class Recording:
    """Stands for a recording: calls again, and puts the result where the last one was."""

    made: list
    error: Exception | None = None

    def __init__(self, call, x, beside=None):
        if self.error is not None:
            raise self.error
        self.made.append((x.shape, runtime.autocast_dtype(CPU), beside))
        self.call, self.output = call, call(x).clone()

    def __call__(self, x):
        assert not torch.is_grad_enabled()
        return self.output.copy_(self.call(x))


@pytest.fixture
def recording(monkeypatch):
    class Fresh(Recording):
        made: ClassVar = []

    monkeypatch.setattr(runtime, "Recording", Fresh)
    monkeypatch.setattr(fast, "_fused", lambda: activated)
    return Fresh


def doubled(y):
    return torch.stack([2 * y] * 7, dim=1)


@pytest.fixture
def net():
    class Net(nn.Module):
        def forward(self, y):
            return doubled(y)

    return Net()


def test_each_size_and_precision_is_recorded_once(recording, net):
    replay = Replay(net)
    small, large = torch.rand(1, 3, 4, 4), torch.rand(2, 3, 8, 4)
    for y in (small, large, small + 1, large + 1):
        assert torch.equal(replay(y), doubled(y))
    with runtime.autocast(CPU, torch.bfloat16):
        replay(small)
    with torch.inference_mode():
        assert torch.equal(replay(small.clone()), doubled(small))
    assert [(shape, dtype) for shape, dtype, _ in recording.made] == [
        (small.shape, torch.float32),
        (large.shape, torch.float32),
        (small.shape, torch.bfloat16),
    ]
    assert recording.made[0][2] is None
    assert recording.made[1][2] is not None  # memory is shared
    replay.forget()
    replay(small)
    assert len(recording.made) == 4
    assert replay.problem is None


def test_recordings_are_limited(recording, net):
    replay = Replay(net)
    images = [torch.rand(1, 3, 1, width) for width in range(1, fast.MOST_SIZES + 2)]
    for y in [*images[:-1], images[0], images[-1]]:
        replay(y)
    assert len(replay.recordings) == fast.MOST_SIZES
    before = len(recording.made)
    replay(images[0])  # was used since
    assert len(recording.made) == before
    replay(images[1])
    assert len(recording.made) == before + 1


def test_the_network_is_recorded_with_fused_activations(recording, monkeypatch):
    monkeypatch.setattr(FrameNet, "_prefers_strips", lambda net: False)
    calls = []
    monkeypatch.setattr(fast, "_fused", lambda: lambda *a: calls.append(1) or activated(*a))
    net, y = frame_net(), torch.rand(1, 3, 20, 15)
    net.spec = replace(net.spec, extract=(12,))
    net.extract = nn.ModuleList([nn.Conv2d(25, 12, 5, padding=2, bias=False)]).requires_grad_(False)
    replay = Replay(net)
    with torch.no_grad():
        expected = net(y)
        assert not calls
        assert_close(replay(y), expected, rtol=1e-4, atol=1e-4)
        assert calls
        assert all(m.fused is None for m in net.modules() if isinstance(m, InstanceNorm))


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (
            RuntimeError("operation not permitted\nwhen stream is capturing"),
            "operation not permitted",
        ),
        (torch.OutOfMemoryError("CUDA out of memory"), "CUDA out of memory"),
        (ValueError(), "ValueError"),
    ],
)
def test_what_cannot_be_recorded_is_run_plainly(recording, net, error, problem):
    replay, y = Replay(net), torch.rand(1, 3, 4, 4)
    replay(y)
    recording.error = error
    large = torch.rand(1, 3, 8, 8)
    assert torch.equal(replay(large), doubled(large))
    assert replay.problem == problem
    assert not replay.recordings  # their memory is free
    recording.error = None
    assert torch.equal(replay(y), doubled(y))
    assert len(recording.made) == 1  # not tried again


def test_the_cause_is_told_not_its_wrapping(recording, net):
    def fail():
        raise DeviceError("torch.compile does not work here") from OSError("no compiler")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "_fused", fail)
        replay = Replay(net)
        replay(torch.rand(1, 3, 4, 4))
    assert replay.problem == "no compiler"


def test_a_model_is_replayed_where_it_sees_all_in_one_go(recording):
    torch.manual_seed(1)
    net = DirectNet(TINY).requires_grad_(False)
    shaken(net)
    model = Fast(net, net, CPU)
    assert (model.name, model.size_multiple, model.can_strip) == ("direct", net.size_multiple, True)
    y, out = torch.rand(1, 3, 16, 24), torch.empty(7, 3, 16, 24)
    model.fill(out, y, None)
    assert_close(out, net(y)[0])
    assert len(recording.made) == 1
    model.fill(out.zero_(), y, 4)
    assert_close(out, net(y)[0])
    first, second = model(y), model(y + 1)
    assert_close(first, net(y))
    assert_close(second, net(y + 1))
    elsewhere = Fast(net, net, CUDA)  # while the model is on the CPU, for want of memory
    elsewhere.fill(out, torch.rand(1, 3, 32, 24)[..., :16, :], None)
    assert len(recording.made) == 1
    assert model.memory(16, 24, 4, 4) == net.memory(16, 24, 4, 4)
    assert model.memory(16, 24, 4, None) - net.memory(16, 24, 4, None) == 15 * FRAME_SIZE * 16 * 24


def test_a_recording(monkeypatch):
    """What is asked of torch, in which order: there is no device here to ask."""
    events = []

    class Stream:
        def wait_stream(self, other):
            events.append("wait")

    @contextlib.contextmanager
    def stream(chosen):
        events.append("aside")
        yield
        events.append("back")

    class Graph:
        def pool(self):
            return "pool"

        def replay(self):
            events.append("replay")

    @contextlib.contextmanager
    def graph(made, pool, stream, capture_error_mode):
        assert capture_error_mode == "thread_local"
        events.append(pool)
        yield

    for name, value in {
        "Stream": Stream, "stream": stream, "CUDAGraph": Graph, "graph": graph,
        "current_stream": Stream, "device": lambda _: contextlib.nullcontext(),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    y = torch.rand(2)

    def call(x):
        assert x is not y
        events.append(torch.backends.cudnn.benchmark)
        return 2 * x

    before = torch.backends.cudnn.benchmark
    first = runtime.Recording(call, y)
    assert events == ["wait", "aside", True, True, "back", "wait", None, True]
    assert torch.backends.cudnn.benchmark == before
    events.clear()
    second = runtime.Recording(call, y, first)
    assert "pool" in events and second.stream is first.stream
    events.clear()
    assert first(y + 1) is first.output
    assert torch.equal(first.input, y + 1)
    assert events == ["replay"]


# photos


@pytest.fixture
def photo():
    return torch.rand(3, 30, 41)


def extractor(fast=True):
    torch.manual_seed(2)
    net = DirectNet(TINY).requires_grad_(False)
    shaken(net)
    return pipeline.Extractor(net, "tiny", CPU, torch.float32, fast=fast)


def test_photos_are_the_same(recording, photo):
    expected = extractor(fast=False).frames(photo).frames
    ready = extractor()
    for _ in range(2):
        found = ready.frames(photo)
        assert_close(found.frames, expected, rtol=0, atol=1e-5)
        assert found.warnings == ()
    assert len(recording.made) == 1


def test_a_failure_is_told_once(recording, photo):
    recording.error = RuntimeError("no such luck\nand more")
    ready = extractor()
    expected = extractor(fast=False).frames(photo).frames
    first, second = ready.frames(photo), ready.frames(photo)
    assert_close(first.frames, expected)
    assert_close(second.frames, expected)
    assert first.warnings == ("not compiled: no such luck; done without",)
    assert second.warnings == ()


def test_recordings_are_gone_before_the_weights_come_back(recording, photo, monkeypatch):
    ready = extractor()
    ready.frames(photo)
    assert ready.fast.replay.recordings
    run, moves = ready._run, []

    def crowded(y, device, *rest):
        if device.type == "cuda":
            raise DeviceError("out of memory")
        return run(y, device, *rest)

    monkeypatch.setattr(ready, "device", CUDA)
    monkeypatch.setattr(ready, "_run", crowded)
    monkeypatch.setattr(runtime, "room", lambda *_: 10**9)
    monkeypatch.setattr(
        runtime,
        "place",
        lambda _, device: moves.append((device.type, len(ready.fast.replay.recordings))),
    )
    found = ready.frames(photo)
    assert "done on the CPU" in found.warnings[-1]
    assert moves == [("cpu", 1), ("cuda", 0)]


def test_frames_are_brought_back_in_one_piece(photo, monkeypatch):
    ready, sent = extractor(fast=False), []
    expected = ready.frames(photo).frames
    to_host = runtime.to_host
    monkeypatch.setattr(
        runtime,
        "to_host",
        lambda values, pinned: sent.append((values.shape, pinned)) or to_host(values, pinned),
    )
    monkeypatch.setattr(extraction, "plan", lambda *_, **__: Plan(near=True))
    ready = extractor(fast=False)
    for side in (30, 30, 20):
        ready.frames(photo[:, :side])
    assert sent == [((7, 3, 32, 44), False), ((7, 3, 32, 44), True), ((7, 3, 20, 44), False)]
    assert_close(ready.frames(photo).frames, expected)


def test_frames_stay_on_the_device_where_there_is_room():
    model = SimpleNamespace(
        count=7,
        size_multiple=4,
        can_strip=False,
        memory=lambda height, width, *_: 100 * height * width,
    )
    pixels, image = 40 * 40, FRAME_SIZE * 40 * 40
    plenty, scarce = 100 * pixels + 10 * image, 100 * pixels + 4 * image
    here = {"height": 40, "width": 40, "feature_size": 2}
    assert plan(model, **here, room=plenty, host=10**9).near
    assert not plan(model, **here, room=scarce, host=10**9).near
    assert not plan(model, **here, room=10**9).near  # the device is the host
    assert not plan(model, **here, room=10**9, host=0).near  # frames on disk


def test_nothing_is_compiled_on_a_cpu(monkeypatch):
    monkeypatch.setattr(pipeline.opening.weights, "load", lambda _: DirectNet(TINY))
    found = models.parts(DirectNet(TINY))
    assert list(found) == ["direct"]
    with pipeline.extractor(run=RunOptions("cpu", compile=True)) as ready:
        assert ready.fast is None
        assert ready.warnings == ("compile changes nothing on cpu: it is for CUDA devices",)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["direct", "cascade"])
def test_on_cuda(name, dtype):
    net = (DirectNet(TINY) if name == "direct" else Cascade(CascadeSpec(width=0.1))).eval()
    shaken(net)
    for values in net.parameters():
        values.requires_grad_(False)
        if values.ndim > 1:
            values.mul_(0.3)
    runtime.place(net, CUDA)
    model = Fast(net, net, CUDA)
    images = [torch.rand(n, 3, 40, 20 * n, device=CUDA) for n in (1, 2, 3)]
    for _ in range(2):
        for y in images:
            with runtime.autocast(CUDA, dtype), torch.no_grad():
                expected, found = net(y), model(y)
            half = dtype != torch.float32
            assert (found - expected).abs().mean() < (2e-2 if half else 1e-3)
    assert model.replay.problem is None
    assert len(model.replay.recordings) == 3
    runtime.place(net, CPU)
    model.replay.forget()
    runtime.place(net, CUDA)
    with torch.no_grad():
        assert (model(images[0]) - net(images[0])).abs().mean() < 1e-3

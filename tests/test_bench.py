import copy
import json
import math
import time
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from blurvid import config, runtime
from blurvid.config import BDIRSpec, CascadeSpec, DirectSpec, RunOptions
from blurvid.errors import DeviceError, OptionError
from blurvid.lab.bench import (
    TimingReport,
    TimingRow,
    bench,
    count_flop,
    matrix_peak,
    measure,
    peak_memory,
    photo_sizes,
    precision_names,
    timing,
    ways,
)
from blurvid.lab.options import RESOLUTIONS, BenchOptions
from blurvid.models import Cascade, build
from blurvid.networks import DirectNet, FrameSpec
from blurvid.pipeline.memory import Plan

CPU = torch.device("cpu")
RUN = RunOptions(device="cpu", precision="fp32", threads=1)
QUICK = BenchOptions(repeats=2, warmup=0)
SMALL = "38x17"
P720 = (720, 1280)
PEAK = 1e12


@pytest.fixture(autouse=True)
def known_peak(monkeypatch):
    """The device is not asked how fast it is."""
    monkeypatch.setattr(timing, "matrix_peak", lambda device, dtype: PEAK)


@pytest.fixture(scope="module")
def models():
    return {"cascade": Cascade(), "direct": DirectNet()}


@pytest.fixture
def tiny():
    return {"direct": DirectNet(DirectSpec(2, (4, 8), (1, 1)))}


def random_cascade(spec):
    """A cascade whose every weight matters."""
    torch.manual_seed(0)
    model = Cascade(spec)
    for name, values in model.named_parameters():
        if values.ndim > 1:
            nn.init.normal_(values, std=0.3 / math.sqrt(values[0].numel()))
        else:
            nn.init.normal_(values, float(name.endswith("weight")), 0.2)
    return model


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Cascades of some other width than the paper's have few layers."""

    def scaled(spec, width):
        if width == 1:
            return spec
        return replace(spec, extract=(4,) * len(spec.extract), groups=(((1, 2),),) * 2, head=4)

    monkeypatch.setattr(FrameSpec, "scaled", scaled)


@pytest.fixture
def cascade():
    return random_cascade(CascadeSpec(width=0.05))


def make_row(name="direct", pixels=10**6, seconds=1.0, **values):
    facts = {
        "resolution": "any", "size": (pixels // 1000, 1000), "padded": (pixels // 1000, 1000),
        "name": name, "precision": "float32", "strip": None, "tile": None, "parameters": 1,
        "flop": pixels * 1000, "seconds": seconds, "fastest": seconds / 2, "slowest": seconds * 2,
        "matrix_peak": 1e10, "peak_memory": 1, "paper_seconds": None,
    }  # fmt: skip
    return TimingRow(**(facts | values))


def make_report(*rows):
    return TimingReport("cpu", "2.x", 1, 2, {"float32": 1e10}, rows)


# rows


def test_rows(cascade):
    models = {"cascade": cascade, "direct": DirectNet(DirectSpec(4, (4, 4, 4), (1, 1, 1)))}
    seen = []
    report = bench([SMALL], models=models, run=RUN, options=QUICK, on_row=seen.append)
    assert report.rows == tuple(seen)
    assert [row.name for row in report.rows] == ["middle", "cascade", "direct"]
    counts = [sum(p.numel() for p in model.parameters()) for model in models.values()]
    middle = sum(p.numel() for p in cascade.stages["middle"].parameters())
    assert [row.parameters for row in report.rows] == [middle, *counts]
    middle, cascade, direct = report.rows
    assert {(row.resolution, row.size) for row in report.rows} == {(SMALL, (17, 38))}
    assert middle.padded == cascade.padded == (20, 40)
    assert direct.padded == (32, 48)
    assert 0 < middle.flop < cascade.flop and direct.flop > 0
    for row in report.rows:
        assert 0 < row.fastest <= row.seconds <= row.slowest
        assert row.images_per_hour == pytest.approx(3600 / row.seconds)
        assert row.flop_per_second == pytest.approx(row.flop / row.seconds)
        assert row.floor_seconds == pytest.approx(row.flop / PEAK)
        assert row.peak_share == pytest.approx(row.floor_seconds / row.seconds)
        assert row.peak_memory >= 4 * row.parameters
        assert (row.precision, row.strip, row.tile) == ("float32", None, None)
        assert row.paper_seconds is None


def test_report_tells_on_what(tiny):
    report = bench([SMALL], models=tiny, run=RUN, options=QUICK)
    assert report.device.startswith("cpu")
    assert report.torch == torch.__version__
    assert (report.threads, report.repeats) == (1, 2)
    assert report.matrix_peaks == {"float32": PEAK}


def test_json_round_trip(tiny):
    report = bench([SMALL, "40x40"], models=tiny, run=RUN, options=QUICK)
    plain = report.to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    row, _ = plain["rows"]
    assert row["name"] == "direct"
    assert (row["size"], row["pixels"]) == ([17, 38], 17 * 38)
    assert row["images_per_hour"] > 0
    assert row["floor_seconds"] == pytest.approx(row["seconds"] * row["peak_share"])
    assert plain["flop_per_multiply_add"] == 2
    assert plain["matrix_peaks"] == {"float32": PEAK}
    assert [(growth["name"], growth["precision"]) for growth in plain["growth"]] == [
        ("direct", "float32")
    ]


def test_models_are_left_as_they_were(tiny):
    net = tiny["direct"].train()
    before = copy.deepcopy(net.state_dict())
    bench([SMALL], models=tiny, run=RUN, options=QUICK)
    assert net.training
    assert all(p.requires_grad for p in net.parameters())
    assert net.stem.weight.is_contiguous()
    assert all(torch.equal(x, before[key]) for key, x in net.state_dict().items())


def test_figures_of_the_paper(tiny, cascade, monkeypatch):
    for name in RESOLUTIONS:
        monkeypatch.setitem(RESOLUTIONS, name, (20, 20))
    once = BenchOptions(1, 0)
    report = bench(["320", "1080"], models={"cascade": cascade}, run=RUN, options=once)
    found = [(row.resolution, row.name, row.paper_seconds) for row in report.rows]
    assert found == [  # Jin et al. 2018, Table 3
        ("320", "middle", 0.24),
        ("320", "cascade", 0.61),
        ("1080", "middle", None),
        ("1080", "cascade", None),
    ]
    (row,) = bench(["480"], models=tiny, run=RUN, options=QUICK).rows
    assert row.paper_seconds == 0.74  # the direct network gives all seven frames


def test_runs_are_counted_and_their_median_taken(tiny, monkeypatch):
    calls = []
    tiny["direct"].stem.register_forward_hook(
        lambda *_: calls.append(torch.is_inference_mode_enabled())
    )
    # The clock gives 4, 1 and 9 s to the timed runs, 100 s to the one before them; the very
    # first is there for the memory.
    spans = [100.0, 4.0, 1.0, 9.0]
    ticks = iter([tick for span in spans for tick in (0.0, span)])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(timing, "count_flop", lambda *_: 8)
    (row,) = bench([SMALL], models=tiny, run=RUN, options=BenchOptions(repeats=3, warmup=2)).rows
    assert (row.fastest, row.seconds, row.slowest) == (1, 4, 9)
    assert row.flop_per_second == 2
    assert row.images_per_hour == 900
    assert next(ticks, None) is None
    assert calls == [True] * 5


def test_the_device_is_waited_for_before_the_clock_is_read(tiny, monkeypatch):
    events = []
    monkeypatch.setattr(runtime, "synchronize", lambda _: events.append("wait"))
    monkeypatch.setattr(time, "perf_counter", lambda: events.append("clock") or len(events))
    monkeypatch.setattr(timing, "count_flop", lambda *_: 8)
    tiny["direct"].stem.register_forward_hook(lambda *_: events.append("run"))
    bench([SMALL], models=tiny, run=RUN, options=BenchOptions(repeats=2, warmup=1))
    assert events == ["run", *["wait", "clock", "run", "wait", "clock"] * 2]


def test_the_highest_rate_counts_for_all_rows(tiny, monkeypatch):
    rates = iter([1e9, 5e9, 2e9])  # before, and after each size
    monkeypatch.setattr(timing, "matrix_peak", lambda *_: next(rates))
    report = bench([SMALL, "40x40"], models=tiny, run=RUN, options=QUICK)
    assert report.matrix_peaks == {"float32": 5e9}
    assert [row.matrix_peak for row in report.rows] == [5e9, 5e9]
    assert next(rates, None) is None


def test_a_deblurrer_of_the_middle_frame_is_timed_too():
    spec = BDIRSpec(channels=(8, 12), blocks=(1, 1), rec_blocks=1)
    models = {"bdirnet": build("bdirnet", spec)}
    report = bench([SMALL], models=models, networks=["bdirnet"], run=RUN, options=QUICK)
    (row,) = report.rows
    assert row.name == "bdirnet"
    assert row.paper_seconds is None


def test_only_what_is_asked_for(cascade, tiny):
    found = bench(
        [SMALL], models={"cascade": cascade} | tiny, networks=["middle"], run=RUN, options=QUICK
    )
    assert [row.name for row in found.rows] == ["middle"]


def test_precisions_take_turns(tiny, monkeypatch):
    seen = []
    tiny["direct"].stem.register_forward_hook(lambda net, _, out: seen.append(out.dtype))
    monkeypatch.setattr(runtime, "autocast", lambda device, dtype: seen.append(dtype) or DEAF)
    report = bench([SMALL], models=tiny, run=RUN, options=QUICK, precisions=["fp32", "bf16"])
    assert [row.precision for row in report.rows] == ["float32", "bfloat16"]
    assert report.matrix_peaks == {"float32": PEAK, "bfloat16": PEAK}
    assert seen[:12:2] == [torch.float32, torch.bfloat16] * 3


class _Deaf:
    """A block without meaning."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


DEAF = _Deaf()


@pytest.mark.parametrize(
    ("device", "bf16", "found"),
    [
        ("cpu", False, ["fp32"]),
        ("cpu", True, ["fp32", "bf16"]),
        ("cuda", True, ["fp32", "bf16", "fp16"]),
        ("cuda", False, ["fp32", "fp16"]),
    ],
)
def test_all_precisions_are_the_fast_ones(device, bf16, found, monkeypatch):
    monkeypatch.setattr(runtime, "has_fast_bf16", lambda _: bf16)
    assert precision_names(["all"], torch.device(device)) == found
    assert precision_names(["bf16", "all"], torch.device(device))[0] == "bf16"


# large photos


@pytest.mark.parametrize("how", [Plan(step=4), Plan(side=640), Plan(on_disk=True)])
def test_photos_are_seen_as_the_pipeline_sees_them(how, tiny, monkeypatch):
    asked = []
    monkeypatch.setattr(ways, "plan", lambda *a, **k: asked.append((a[1:4], k)) or how)
    steps, tiles = [], []
    fill, fill_in_tiles = DirectNet.fill, ways.fill_in_tiles
    monkeypatch.setattr(
        DirectNet, "fill", lambda net, out, y, step: steps.append(step) or fill(net, out, y, step)
    )
    monkeypatch.setattr(ways, "fill_in_tiles", lambda *a: tiles.append(a[3]) or fill_in_tiles(*a))
    (row,) = bench(["660x24"], models=tiny, run=RUN, options=BenchOptions(1, 0)).rows
    assert asked == [((24, 660, 4), {"roomy": config.ROOMY})]
    assert (row.strip, row.tile) == (how.step, how.side)
    assert set(steps) == {how.step}
    assert set(tiles) == ({640} if how.side else set())


def test_in_tiles_the_middle_network_has_no_row(cascade, monkeypatch):
    monkeypatch.setattr(ways, "plan", lambda *_, **__: Plan(side=640))
    report = bench(["660x20"], models={"cascade": cascade}, run=RUN, options=BenchOptions(1, 0))
    assert [row.name for row in report.rows] == ["cascade"]


def test_memory_is_limited(tiny):
    with pytest.raises(DeviceError, match="memory"):
        bench(["4000x3000"], models=tiny, run=RunOptions(device="cpu", max_memory=1), options=QUICK)


# several photos in a call


def test_batches(cascade):
    models = {"cascade": cascade, "direct": DirectNet(DirectSpec(4, (4, 4, 4), (1, 1, 1)))}
    options = BenchOptions(1, 0, batches=(1, 3, 3))
    names = ["middle", "direct"]
    report = bench([SMALL], models=models, networks=names, run=RUN, options=options)
    assert [(row.name, row.batch) for row in report.rows] == [
        (name, count) for count in (1, 3) for name in names
    ]
    for one, three in zip(report.rows[:2], report.rows[2:], strict=True):
        assert three.flop == 3 * one.flop
        assert three.images_per_hour == pytest.approx(3 * 3600 / three.seconds)
        assert three.photo_seconds == pytest.approx(three.seconds / 3)
        assert three.peak_share == pytest.approx(three.flop / PEAK / three.seconds)
        assert (one.label, three.label) == (one.name, f"{one.name}, 3 at once")
        assert one.predicted_memory < three.predicted_memory
    assert report.to_json()["rows"][-1]["batch"] == 3
    assert report.left_out == ()


def test_photos_of_a_batch_are_run_in_one_call(tiny, monkeypatch):
    sizes = []
    tiny["direct"].stem.register_forward_hook(lambda _, inputs, out: sizes.append(len(out)))
    monkeypatch.setattr(timing, "count_flop", lambda *_: 8)
    options = BenchOptions(repeats=1, warmup=0, batches=(3,))
    (row,) = bench([SMALL], models=tiny, run=RUN, options=options).rows
    assert sizes == [3, 3]
    assert row.paper_seconds is None


def test_memory_of_a_batch_is_predicted():
    if measure._reset_high_water() is None:
        pytest.skip("this system does not keep the peak")
    net = DirectNet(DirectSpec(4, (16, 16, 16), (1, 1, 1)))
    options = BenchOptions(1, 0, batches=(4,))
    (row,) = bench(["320x240"], models={"direct": net}, run=RUN, options=options).rows
    assert 0.3 * row.predicted_memory < row.peak_memory < 1.1 * row.predicted_memory


def test_a_batch_that_does_not_fit_is_left_out(tiny, monkeypatch):
    monkeypatch.setattr(runtime, "room", lambda *_: 10**6)
    options = BenchOptions(1, 0, batches=(1, 1000))
    report = bench([SMALL], models=tiny, run=RUN, options=options)
    assert [row.batch for row in report.rows] == [1]
    (reason,) = report.left_out
    assert reason.startswith(f"{SMALL}, direct in float32: 1000 photos at once take ")
    assert reason.endswith("of memory, but only 1 MB may be taken")
    assert report.to_json()["left_out"] == [reason]
    with pytest.raises(DeviceError, match="1000 photos at once take"):
        bench([SMALL], models=tiny, run=RUN, options=replace(options, batches=(1000,)))


@pytest.mark.parametrize("batches", [(), (0,), (1, -1)])
def test_batches_that_make_no_sense(tiny, batches):
    with pytest.raises(OptionError, match="batch"):
        bench([SMALL], models=tiny, run=RUN, options=replace(QUICK, batches=batches))


# arithmetic


def convolutions(net, size, r):
    """FLOP of a frame network, from the shapes of its layers and nothing else."""
    h, w = size
    inner = (
        3
        * 2
        * sum(  # three colours; a multiply-add is two
            m.weight.numel()
            for part in (net.extract, net.refine, net.fuse)
            for m in part.modules()
            if isinstance(m, torch.nn.Conv2d)
        )
    )
    head = 2 * sum(m.weight.numel() for m in net.head.modules() if isinstance(m, torch.nn.Conv2d))
    return inner * (h // r) * (w // r) + head * h * w


def test_flop_of_the_cascade(models):
    stages = models["cascade"].stages
    middle = count_flop(stages["middle"], 20, P720)
    assert middle == convolutions(stages["middle"], P720, 4)
    assert middle == pytest.approx(1.84e12, rel=0.01)
    runs = [stages["35"]["3"], stages["35"]["5"], *[stages["26"], stages["17"]] * 2]
    expected = middle + sum(convolutions(net, P720, 5) for net in runs)
    found = count_flop(models["cascade"], 20, P720)
    assert found == expected
    assert found == pytest.approx(6.06e12, rel=0.01)


def test_flop_is_proportional_to_the_pixels():
    net = DirectNet(DirectSpec(2, (4, 8), (1, 1)))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 3, 24, 40))
    assert count_flop(net, net.size_multiple, (24, 40)) == counter.get_total_flops()


def test_flop_of_the_direct_network(models):
    assert count_flop(models["direct"], 16, P720) == pytest.approx(0.138e12, rel=0.01)


# the device


def test_a_large_matrix_product_is_fast():
    found = matrix_peak(CPU, torch.float32)
    side = 512
    x = torch.rand(side, side)
    start = time.perf_counter()
    for _ in range(3):
        x @ x
    alone = 3 * 2 * side**3 / (time.perf_counter() - start)
    # No timing is asserted here, but the unit: between a tenth and a thousand times of it.
    assert 0.1 * alone < found < 1000 * alone


def test_matrices_grow_until_they_take_long_enough(monkeypatch):
    spent = {512: 0.005, 1024: 0.01, 2048: 0.2}
    sides = []

    def seconds(call, device):
        sides.append(len(call()))
        return spent[sides[-1]]

    monkeypatch.setattr(measure, "seconds", seconds)
    assert matrix_peak(CPU, torch.float32) == 2 * 1024**3 / 0.01
    assert sides == [512, 1024, 2048, 2048]


def test_peak_memory_sees_what_is_freed_again():
    if measure._reset_high_water() is None:
        pytest.skip("this system does not keep the peak")
    for _ in range(2):
        assert 60 * 2**20 < peak_memory(hungry, CPU) < 100 * 2**20


def hungry():
    torch.ones(16 * 2**20)  # 64 MiB
    return torch.ones(1)


def test_memory_is_looked_at_where_the_system_keeps_no_peak(monkeypatch):
    monkeypatch.setattr(measure, "_reset_high_water", lambda: None)

    def patient():
        kept = torch.ones(16 * 2**20)
        time.sleep(0.1)
        return kept[:1].clone()

    assert 50 * 2**20 < peak_memory(patient, CPU) < 100 * 2**20


def test_memory_is_unknown_where_torch_does_not_tell():
    calls = []
    assert peak_memory(lambda: calls.append(1), torch.device("mps")) is None
    assert calls == [1]


# sizes


def test_names_of_sizes(monkeypatch):
    assert photo_sizes(["720", "720", "12mp"]) == {"720": P720, "12mp": (3000, 4000)}
    assert photo_sizes(["30x20"]) == {"30x20": (20, 30)}  # width first
    assert list(photo_sizes(["paper"])) == ["320", "480", "720"]
    assert list(photo_sizes(["all"])) == list(RESOLUTIONS)
    sweep = [height * width for height, width in photo_sizes(["sweep"]).values()]
    assert sweep == sorted(sweep)
    assert sweep[0] < 0.1e6 and sweep[-1] == 12e6


@pytest.mark.parametrize("name", ["999", "x", "0x10", "10x0", "10x", "10 x 10", "-1x5", ""])
def test_unknown_sizes(name):
    with pytest.raises(OptionError, match="no resolution named"):
        photo_sizes([name])


@pytest.mark.parametrize(
    ("resolutions", "options", "match"),
    [
        (["999"], QUICK, "no resolution named '999'"),
        ([], QUICK, "no resolution to time"),
        (["320"], BenchOptions(repeats=0), "repeats"),
        (["320"], BenchOptions(warmup=-1), "warmup"),
    ],
)
def test_options_that_make_no_sense(tiny, resolutions, options, match):
    with pytest.raises(OptionError, match=match):
        bench(resolutions, models=tiny, run=RUN, options=options)


def test_nothing_to_time(tiny):
    with pytest.raises(OptionError, match="no model"):
        bench(["320"], models={}, run=RUN, options=QUICK)
    with pytest.raises(OptionError, match="no model"):
        bench(["320"], models=tiny, networks=["cascade"], run=RUN, options=QUICK)


def test_growth_with_pixels():
    linear = [make_row(pixels=n, seconds=3e-6 * n) for n in (10**5, 10**6, 10**7)]
    square = [make_row("cascade", pixels=n, seconds=1e-12 * n**2) for n in (10**5, 10**7)]
    found = make_report(*linear, *square, make_row("middle")).growth
    assert [growth.name for growth in found] == ["direct", "cascade"]
    assert [growth.exponent for growth in found] == pytest.approx([1, 2])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA here")
def test_cuda(models, monkeypatch):
    monkeypatch.setattr(timing, "matrix_peak", matrix_peak)
    report = bench(
        ["320"],
        models=models,
        run=RunOptions(device="cuda"),
        precisions=["all"],
        options=replace(QUICK, batches=(1, 2)),
    )
    assert report.left_out == ()
    assert {row.batch for row in report.rows} == {1, 2}
    assert len(report.matrix_peaks) > 1
    assert all(row.peak_memory > 4 * row.parameters for row in report.rows)
    assert all(0 < row.peak_share < 1 for row in report.rows)

import copy
import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from blurvid import bench as timing
from blurvid import config, runtime
from blurvid.bench import bench, count_flop, peak_memory
from blurvid.config import BenchOptions, DirectSpec, RunOptions
from blurvid.errors import OptionError
from blurvid.models import Cascade
from blurvid.networks import DirectNet

CPU = torch.device("cpu")
RUN = RunOptions(device="cpu", precision="fp32", threads=1)
QUICK = BenchOptions(repeats=2, warmup=0)
SMALL = (17, 38)
P720 = (720, 1280)


@pytest.fixture(scope="module")
def models():
    return {"cascade": Cascade(), "direct": DirectNet()}


@pytest.fixture
def small(monkeypatch):
    """A resolution that takes no time."""
    monkeypatch.setitem(config.RESOLUTIONS, "small", SMALL)
    return "small"


@pytest.fixture
def tiny():
    return {"direct": DirectNet(DirectSpec(2, (4, 8), (1, 1)))}


def test_rows(models, small):
    seen = []
    report = bench([small], models=models, run=RUN, options=QUICK, on_row=seen.append)
    assert report.rows == tuple(seen)
    assert [row.name for row in report.rows] == ["middle", "cascade", "direct"]
    middle, cascade, direct = report.rows
    assert [row.parameters for row in report.rows] == [4_972_032, 18_213_376, 5_870_928]
    assert {row.size for row in report.rows} == {SMALL}
    assert middle.padded == cascade.padded == (20, 40)
    assert direct.padded == (32, 48)
    assert 0 < direct.flop < middle.flop < cascade.flop
    for row in report.rows:
        assert 0 < row.fastest <= row.seconds <= row.slowest
        assert row.images_per_hour == pytest.approx(3600 / row.seconds)
        assert row.flop_per_second == pytest.approx(row.flop / row.seconds)
        assert row.peak_memory is None or row.peak_memory >= 4 * row.parameters
        assert row.paper_seconds is None


def test_report_tells_on_what(tiny, small):
    report = bench([small], models=tiny, run=RUN, options=QUICK)
    assert report.device.startswith("cpu")
    assert report.torch == torch.__version__
    assert (report.precision, report.threads, report.repeats) == ("float32", 1, 2)


def test_json_round_trip(tiny, small):
    report = bench([small], models=tiny, run=RUN, options=QUICK)
    plain = report.to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    (row,) = plain["rows"]
    assert row["name"] == "direct"
    assert row["size"] == list(SMALL)
    assert row["images_per_hour"] > 0
    assert plain["flop_per_multiply_add"] == 2


def test_models_are_left_as_they_were(tiny, small):
    net = tiny["direct"].train()
    before = copy.deepcopy(net.state_dict())
    bench([small], models=tiny, run=RUN, options=QUICK)
    assert net.training
    assert all(p.requires_grad for p in net.parameters())
    assert net.stem.weight.is_contiguous()
    assert all(torch.equal(x, before[key]) for key, x in net.state_dict().items())


def test_figures_of_the_paper(tiny, models, monkeypatch):
    for name in config.RESOLUTIONS:
        monkeypatch.setitem(config.RESOLUTIONS, name, (20, 20))
    middle = {"cascade": models["cascade"]}
    report = bench(["320", "720"], models=middle, run=RUN, options=BenchOptions(1, 0))
    found = [(row.resolution, row.name, row.paper_seconds) for row in report.rows]
    assert found == [  # Jin et al. 2018, Table 3
        ("320", "middle", 0.24),
        ("320", "cascade", 0.61),
        ("720", "middle", 0.45),
        ("720", "cascade", 1.10),
    ]
    (row,) = bench(["480"], models=tiny, run=RUN, options=QUICK).rows
    assert row.paper_seconds == 0.74  # the direct network gives all seven frames


def test_runs_are_counted_and_their_median_taken(tiny, small, monkeypatch):
    calls = []
    tiny["direct"].register_forward_hook(lambda *_: calls.append(torch.is_inference_mode_enabled()))
    # The clock gives 4, 1 and 9 s to the timed runs, 100 s to those before them.
    spans = [100.0, 100.0, 4.0, 1.0, 9.0]
    ticks = iter([tick for span in spans for tick in (0.0, span)])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(timing, "count_flop", lambda *_: 8)
    (row,) = bench([small], models=tiny, run=RUN, options=BenchOptions(repeats=3, warmup=2)).rows
    assert (row.fastest, row.seconds, row.slowest) == (1, 4, 9)
    assert row.flop_per_second == 2
    assert row.images_per_hour == 900
    assert next(ticks, None) is None
    assert calls == [True] * 5


def test_the_device_is_waited_for_before_the_clock_is_read(tiny, small, monkeypatch):
    events = []
    monkeypatch.setattr(runtime, "synchronize", lambda _: events.append("wait"))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: events.append("clock") or len(events))
    monkeypatch.setattr(timing, "count_flop", lambda *_: 8)
    tiny["direct"].register_forward_hook(lambda *_: events.append("run"))
    bench([small], models=tiny, run=RUN, options=BenchOptions(repeats=1, warmup=1))
    assert events == ["wait", "clock", "run", "wait", "clock"] * 2


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


def test_peak_memory_sees_what_is_freed_again():
    def hungry():
        torch.ones(16 * 2**20)  # 64 MiB
        return torch.ones(1)

    if timing._reset_high_water() is None:
        assert peak_memory(hungry, CPU) is None
        pytest.skip("this system does not tell")
    for _ in range(2):
        assert 60 * 2**20 < peak_memory(hungry, CPU) < 100 * 2**20


def test_memory_is_unknown_where_the_system_does_not_tell(monkeypatch):
    calls = []
    monkeypatch.setattr(timing, "_reset_high_water", lambda: None)
    assert peak_memory(lambda: calls.append(1), CPU) is None
    assert calls == [1]


@pytest.mark.parametrize(
    ("resolutions", "options", "match"),
    [
        (["1080"], QUICK, "no resolution named '1080'"),
        ([], QUICK, "no resolution to time"),
        (["320"], BenchOptions(repeats=0), "repeats"),
        (["320"], BenchOptions(warmup=-1), "warmup"),
    ],
)
def test_options_that_make_no_sense(tiny, resolutions, options, match):
    with pytest.raises(OptionError, match=match):
        bench(resolutions, models=tiny, run=RUN, options=options)


def test_nothing_to_time():
    with pytest.raises(OptionError, match="no model"):
        bench(["320"], models={}, run=RUN, options=QUICK)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA here")
def test_cuda(models):
    report = bench(["320"], models=models, run=RunOptions(device="cuda"), options=QUICK)
    assert all(row.peak_memory > 4 * row.parameters for row in report.rows)

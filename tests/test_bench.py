"""Timing: what is measured, how often, and what is told of it."""

import itertools
import json

import pytest
import torch
from helpers import invoke, save_tiny

from blurvid import runtime
from blurvid.config import DirectSpec, MaximSpec, RunOptions
from blurvid.errors import DeviceError, OptionError, WeightsError
from blurvid.lab import bench as library
from blurvid.lab.bench import bench, moved_photo, peak_memory, photo_sizes, precision_names
from blurvid.lab.options import RESOLUTIONS
from blurvid.networks import DirectNet, Maxim
from blurvid.weights import store

pytestmark = pytest.mark.usefixtures("surroundings")
CPU = torch.device("cpu")
RUN = RunOptions(device="cpu", precision="fp32", threads=1)
SMALL = "38x17"


@pytest.fixture
def tiny(tmp_path):
    net = DirectNet(DirectSpec(2, (4, 8), (1, 1)))
    options = {"name": "tiny", "recipe": {}, "data": "", "scores": {}, "licence": "MIT"}
    return store.save(net, tmp_path / "tiny", **options)


@pytest.fixture
def clock(monkeypatch):
    """Each reading is a given time after the one before."""

    def set_steps(*steps):
        times = itertools.accumulate(itertools.chain(steps, itertools.repeat(0.0)))
        monkeypatch.setattr(library.time, "perf_counter", lambda: next(times))

    return set_steps


def test_rows(tiny):
    seen = []
    report = bench([SMALL, "40x40"], [tiny], RUN, repeats=2, on_row=seen.append)
    assert report.rows == tuple(seen)
    assert [(row.resolution, row.size) for row in report.rows] == [
        (SMALL, (17, 38)), ("40x40", (40, 40))
    ]  # fmt: skip
    for row in report.rows:
        assert (row.model, row.weights, row.precision, row.runs) == ("direct", "tiny", "float32", 2)
        assert 0 < row.fastest <= row.seconds <= row.slowest
        assert row.images_per_hour == pytest.approx(3600 / row.seconds)
        assert row.parameters == sum(p.numel() for p in store.load(tiny).parameters())
        assert row.peak_memory is None or row.peak_memory >= 4 * row.parameters
        assert row.paper_seconds is None
    assert report.device.startswith("cpu (")
    assert (report.torch, report.threads) == (torch.__version__, 1)
    plain = report.to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["rows"][0]["size"] == [17, 38]


def test_the_first_run_warms_up_and_the_median_counts(tiny, clock):
    clock(0, 1, 0, 0.3, 0, 0.1, 0, 0.2)
    (row,) = bench([SMALL], [tiny], RUN, repeats=3).rows
    assert (row.runs, row.seconds) == (3, pytest.approx(0.2))
    assert (row.fastest, row.slowest) == (pytest.approx(0.1), pytest.approx(0.3))


@pytest.mark.parametrize(
    ("steps", "runs", "median"), [((0, 9), 1, 9.0), ((0, 1, 0, 3, 0, 2), 2, 2.5)]
)
def test_what_is_slow_is_not_measured_often(tiny, clock, steps, runs, median):
    clock(*steps)
    (row,) = bench([SMALL], [tiny], RUN, repeats=5).rows
    assert (row.runs, row.seconds) == (runs, pytest.approx(median))


def test_the_device_is_waited_for_before_the_clock_is_read(tiny, monkeypatch):
    events = []
    read = library.time.perf_counter
    monkeypatch.setattr(library.time, "perf_counter", lambda: events.append("clock") or read())
    monkeypatch.setattr(runtime, "synchronize", lambda device: events.append("wait"))
    bench([SMALL], [tiny], RUN, repeats=1)
    assert events == ["clock", "wait", "clock"] * 2


def test_precisions_and_the_figures_of_the_paper(tiny, monkeypatch):
    monkeypatch.setitem(RESOLUTIONS, "320", (17, 38))
    rows = bench(["320"], [tiny], RUN, precisions=("fp32", "bf16", "fp32"), repeats=1).rows
    assert [row.precision for row in rows] == ["float32", "bfloat16"]
    assert {(row.frames, row.paper_seconds) for row in rows} == {(7, 0.61)}


def test_what_gives_one_frame_stands_beside_one_of_the_paper(tmp_path, monkeypatch):
    monkeypatch.setitem(RESOLUTIONS, "320", (17, 38))
    net, told = Maxim(MaximSpec(stages=1, features=4)), {"recipe": {}, "data": "", "scores": {}}
    saved = store.save(net, tmp_path / "one", name="one", licence="Apache-2.0", **told)
    (row,) = bench(["320"], [saved], RUN, repeats=1).rows
    assert (row.model, row.weights, row.frames, row.paper_seconds) == ("maxim", "one", 1, 0.24)


@pytest.mark.parametrize(
    ("device", "bf16", "found"),
    [
        ("cpu", False, ["fp32"]),
        ("cpu", True, ["fp32", "bf16"]),
        ("cuda", True, ["fp32", "bf16", "fp16"]),
    ],
)
def test_all_precisions_are_the_fast_ones(device, bf16, found, monkeypatch):
    monkeypatch.setattr(runtime, "has_fast_bf16", lambda device: bf16)
    assert precision_names(["all", "fp32"], torch.device(device)) == found


def test_the_photo_is_blurred_along_rows():
    photo = moved_photo((90, 160))
    assert photo.shape == (3, 90, 160)
    assert 0 <= photo.min() < photo.max() <= 1
    across, down = (photo.diff(dim=axis).square().mean() for axis in (-1, -2))
    assert across < down / 2
    assert torch.equal(photo, moved_photo((90, 160)))


def test_peak_memory_sees_what_is_freed_again():
    if peak_memory(lambda: None, CPU) is None:
        pytest.skip("this system does not keep the peak")

    def hungry():
        torch.ones(16 * 2**20)  # 64 MiB

    for _ in range(2):
        assert 60 * 2**20 < peak_memory(hungry, CPU) < 100 * 2**20


def test_memory_is_unknown_where_nothing_tells():
    calls = []
    assert peak_memory(lambda: calls.append(1), torch.device("mps")) is None
    assert calls == [1]


def test_names_of_sizes():
    assert photo_sizes(["paper", "720", "30x20"]) == {
        "320": (320, 568), "480": (480, 854), "720": (720, 1280), "30x20": (20, 30)
    }  # fmt: skip


@pytest.mark.parametrize("name", ["999", "x", "0x10", "10x0", "10x", "10 x 10", "-1x5", ""])
def test_unknown_sizes(name):
    with pytest.raises(OptionError, match="no resolution"):
        photo_sizes([name])


def test_options_that_make_no_sense(tiny):
    with pytest.raises(OptionError, match="repeats"):
        bench([SMALL], [tiny], RUN, repeats=0)
    with pytest.raises(OptionError, match="no resolution to time"):
        bench([], [tiny], RUN)
    with pytest.raises(DeviceError, match="memory"):
        bench(["3000x3000"], [tiny], RunOptions("cpu", "fp32", 1, max_memory=2**20))
    with pytest.raises(WeightsError):
        bench([SMALL], ["no such model"], RUN)


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_plot_shows_how_time_and_memory_grow(tmp_path, monkeypatch, kind):
    save_tiny(tmp_path / "released" / "direct")
    monkeypatch.chdir(tmp_path)
    words = ("bench", "--res", SMALL, "--res", "40x40", "--repeats", 1, "--device", "cpu", "-q")
    target = tmp_path / f"growth.{kind}"

    result = invoke(*words, "--model", "direct", "--plot", target, "--json")

    assert (result.exit_code, result.stderr) == (0, "")
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert target.read_bytes().startswith(starts[kind])
    assert sorted(p.name for p in tmp_path.iterdir()) == [target.name, "released"]
    again = invoke(*words, "--model", "direct", "--plot", target)
    assert again.exit_code == 6
    assert "exists already" in again.stderr


def test_plots_that_cannot_be_are_refused_before_anything_is_timed(tmp_path, monkeypatch):
    result = invoke("bench", "--plot", tmp_path / "growth.jpg")
    assert result.exit_code == 2
    assert "a plot is a .png, .svg, .pdf file" in result.stderr
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    result = invoke("bench", "--plot", tmp_path / "growth.png")
    assert result.exit_code == 2
    assert "blurvid[plot]" in result.stderr

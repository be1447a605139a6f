"""Photos of any size: tiles, predicted memory, the limit of the user."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from helpers import Whole, extractor_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trajectory import Fake, constant, texture
from torch import nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from blurvid import media, models, pipeline, runtime, weights
from blurvid.cli import main
from blurvid.config import CascadeSpec, DirectSpec
from blurvid.errors import DeviceError
from blurvid.models.motion import HELD_BYTES, SOUGHT_BYTES
from blurvid.networks import DirectNet, FrameNet
from blurvid.pipeline.sizes import (
    FRAME_SIZE,
    RAMP,
    fill_in_tiles,
    frames_on_disk,
    spans,
    view_of,
)
from blurvid.trajectory import Motion, Proposal, Restored, fit, reblur
from blurvid.weights import store

REPOSITORY = Path(__file__).parents[1]
CPU = torch.device("cpu")
MEGA = 10**6
SLIM = DirectSpec(channels=(8, 12), blocks=(1, 1))


def randomized(model):
    """A model whose answer is not its input."""
    for module in model.modules():
        if isinstance(module, FrameNet):
            nn.init.normal_(module.head[-1].weight, 0, 0.05)
        if isinstance(module, DirectNet):
            nn.init.normal_(module.head.weight, 0, 0.02)
    return model.eval()


def slim_models():
    torch.manual_seed(0)
    yield "direct", randomized(DirectNet(SLIM))
    yield "cascade", randomized(models.build("cascade", CascadeSpec(width=0.03)))
    yield "ensemble", models.SelfEnsemble(randomized(DirectNet(SLIM)), 2)


MODELS = dict(slim_models())


def filled(model, y):
    out = torch.full((7, 3, *y.shape[-2:]), torch.nan)
    with torch.no_grad():
        model.fill(out, y)
    return out


@pytest.mark.parametrize("name", MODELS)
def test_a_sequence_is_filled_as_it_is_made(name):
    y = torch.rand(1, 3, 80, 40)
    expected = filled(MODELS[name], y)
    with torch.no_grad():
        assert_close(expected, MODELS[name](y)[0], rtol=0, atol=1e-6)
    with runtime.autocast(CPU, torch.bfloat16):
        found = filled(MODELS[name], y)
    assert found.dtype == torch.float32
    error = (found - expected).abs()
    assert 0 < error.mean() < 0.01
    assert error.max() < 0.2


# prediction


class Meter(TorchDispatchMode):
    """Measures the most that tensors take at a time, besides those that were there before."""

    def __init__(self, *known):
        super().__init__()
        self.live = self.peak = 0
        self.seen = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for value in found if isinstance(found, tuple | list) else (found,):
            if isinstance(value, torch.Tensor):
                self.note(value.untyped_storage())
        return found

    def note(self, storage):
        key, size = storage._cdata, storage.nbytes()
        if key in self.seen:
            return
        self.seen.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)

        def gone():
            self.live -= size
            self.seen.discard(key)

        weakref.finalize(storage, gone)


@pytest.mark.parametrize(
    ("name", "spec", "height"),
    [
        ("direct", DirectSpec(channels=(64, 128), blocks=(1, 1)), 320),
        ("cascade", CascadeSpec(width=0.06), 240),
    ],
)
def test_predicted_memory_is_what_is_taken(name, spec, height):
    model = models.build(name, spec)
    width = 320 if name == "direct" else 160
    y, out = torch.rand(1, 3, height, width), torch.empty(7, 3, height, width)
    with torch.no_grad(), Meter(y, out, *model.parameters()) as meter:
        model.fill(out, y)
    predicted = model.memory(height, width, 4)
    assert meter.peak < 1.1 * predicted
    assert meter.peak > 0.3 * predicted


# the plan


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.floats(6, 10.5), st.booleans())
def test_a_plan_keeps_to_the_room_there_is(rows, columns, digits, cascade):
    model = MODELS["cascade" if cascade else "direct"]
    height, width = rows * model.size_multiple, columns * model.size_multiple
    room = int(10**digits)
    frames = 84 * height * width
    try:
        found = view_of(model, height, width, 4, room)
    except DeviceError as error:
        assert "\n" not in str(error)
        side = 640
        tile = model.memory(min(side, height), min(side, width), 4)
        assert tile + 96 * min(side, height) * min(side, width) + 12 * height * width > room
        return
    assert found.memory + (0 if found.on_disk else frames) <= room
    more = view_of(model, height, width, 4, 10**13)
    assert (more.side, more.on_disk) == (None, False)


def test_what_is_exact_comes_first():
    model = models.build("direct")
    found = [view_of(model, 3000, 4000, 4, int(room * 1e9)) for room in (3, 1.5, 0.9)]
    assert [how.side is None for how in found] == [True, True, False]
    assert [how.on_disk for how in found] == [False, True, True]


def test_twelve_megapixels_stay_below_three_gigabytes():
    program = 0.5e9
    how = view_of(models.build("direct"), 3000, 4000, 4, int(3e9 - program))
    assert how.side is None
    assert not how.on_disk
    assert how.memory + 84 * 12e6 + program < 3e9


def test_fifty_megapixels_with_their_motion_stay_below_six_gigabytes():
    beside = 0.45e9 + 12 * 50e6  # the program, and the photo
    how = view_of(models.build("motion"), 6124, 8165, 2, int(6e9 - beside), whole=True)
    assert how.on_disk
    assert how.memory + beside < 6e9


def test_a_fit_holds_no_more_than_is_predicted(monkeypatch):
    monkeypatch.setattr("blurvid.trajectory.pyramid.WORK", 2**12)  # of a large photo, a fraction
    monkeypatch.setattr("blurvid.trajectory.sampling.BAND", 16)
    picture = texture(384, 512)
    y = reblur(picture, Motion.straight(constant(9.0, 0.0, 384, 512)))

    class Knowing(Fake):
        def propose(self, middle, y):
            a = constant(9.0 * y.shape[-1] / 512, 0.0, *y.shape[-2:])
            return Proposal(Motion.straight(a), torch.ones_like(y[:, :1]))

        def restore(self, y, middle, motion):
            return Restored(middle.clone(), middle.new_empty(2, *middle.shape[-2:]))

    with Meter(y, picture) as meter:
        fit(y, Knowing(lambda image: image.clone()))
    predicted = HELD_BYTES * 384 * 512 + SOUGHT_BYTES * 2**12
    assert 0.5 * predicted < meter.peak < predicted


def test_frames_on_another_device_need_room_on_the_host():
    model = MODELS["direct"]
    assert not view_of(model, 800, 800, 4, 10**9, host=10**9).on_disk
    assert view_of(model, 800, 800, 4, 10**9, host=10**6).on_disk


@pytest.mark.parametrize("multiple", [12, 64, 256])
def test_tiles_are_what_the_model_can_see(multiple):
    model = Hungry()
    model.size_multiple = multiple
    model.memory = lambda height, width, *_: 60 * height * width
    height, width = (length // multiple * multiple for length in (4000, 5000))
    how = view_of(model, height, width, 4, 330 * 1000**2)
    assert how.side is not None
    assert how.side % multiple == 0


def test_a_model_whose_tiles_could_not_overlap_is_refused():
    model = Hungry()
    model.size_multiple = 640
    model.memory = lambda height, width, *_: 60 * height * width
    with pytest.raises(DeviceError, match="take"):
        view_of(model, 3840, 5120, 4, 330 * 1000**2)


def test_frames_are_not_put_where_disks_are_memory(tmp_path, monkeypatch):
    folders = []
    temporary = tempfile.TemporaryFile
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda dir: folders.append(dir) or temporary(dir=tmp_path)
    )
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "access", lambda path, mode: path == "/var/tmp")
    frames_on_disk(4, 5)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    frames_on_disk(4, 5)
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    frames_on_disk(4, 5)
    assert folders == ["/var/tmp", tempfile.gettempdir(), tempfile.gettempdir()]


def test_frames_on_disk_are_frames():
    frames = frames_on_disk(4, 5)
    assert frames.shape == (7, 3, 4, 5)
    assert frames.dtype == torch.float32
    frames[3] = 0.5
    assert frames.sum() == 30
    part = frames[:, :, 1:, 2:]
    part[3:5] += 1
    frames[..., 0] = 2
    for frame in part:
        frame.mul_(2)
    expected = torch.zeros(7, 3, 4, 5)
    expected[3] = 0.5
    expected[3:5, :, 1:, 2:] += 1
    expected[..., 0] = 2
    expected[:, :, 1:, 2:] *= 2
    assert torch.equal(frames, expected)
    assert type(frames + 1) is torch.Tensor


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_frames_on_disk_stay_out_of_memory():
    def resident():  # pages of files, see proc(5)
        return int(Path("/proc/self/statm").read_text().split()[2]) * os.sysconf("SC_PAGE_SIZE")

    frames = frames_on_disk(500, 1000)  # 42 MB
    before, most = resident(), 0
    for top in range(0, 500, 50):
        frames[..., top : top + 50, :] = torch.rand(7, 3, 50, 1000)
        most = max(most, resident() - before)
    for frame in frames[..., :499, :]:
        assert frame.mean() == pytest.approx(0.5, abs=0.01)
        most = max(most, resident() - before)
    assert most < 15e6


def test_a_full_disk_is_told(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DeviceError, match=r"no memory for .* nor room in .*: No space left"):
        frames_on_disk(4, 5)


# tiles


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.sampled_from([16, 20]), st.sampled_from([320, 640, 1280]))
def test_tiles_cover_an_axis_once(count, multiple, side):
    length = count * multiple
    total = torch.zeros(length)
    ends = 0
    for begin, end, weight in spans(length, side, multiple):
        assert begin % multiple == 0
        assert begin <= ends
        assert 0 <= begin < end <= length
        assert end - begin == min(side, length)
        assert weight.min() >= 0
        total[begin:end] += weight
        ends = end
    assert ends == length
    assert_close(total, torch.ones(length), rtol=0, atol=1e-5)


class Sliding(Whole):
    """A model that moves y a pixel a frame; which way is up to the first pixel it sees."""

    name, size_multiple = "sliding", 16

    def __init__(self, fickle=False):
        self.fickle, self.turns = fickle, []

    def __call__(self, y):
        wide = F.pad(y, (3, 3, 0, 0), mode="replicate")
        frames = torch.stack([wide[..., k : k + y.shape[-1]] for k in range(7)], dim=1)
        turned = self.fickle and bool(y[0, 0, 0, 0] > 0.5)
        self.turns.append(turned)
        return frames.flip(1) if turned else frames


def in_tiles(model, y, side):
    out = torch.full((7, 3, *y.shape[-2:]), torch.nan)
    with torch.no_grad():
        count = fill_in_tiles(model, out, y, side, CPU)
    return out, count


def test_tiles_of_what_looks_near_only_are_the_whole():
    y = torch.rand(1, 3, 512, 672)
    out, count = in_tiles(Sliding(), y, 320)
    assert count == 12
    assert_close(out, Sliding()(y)[0])


def test_all_tiles_run_the_same_way():
    y = torch.rand(1, 3, 480, 640)
    model = Sliding(fickle=True)
    out, _ = in_tiles(model, y, 320)
    assert 2 < sum(model.turns) < len(model.turns) - 2
    expected = Sliding()(y)[0]
    assert_close(out, expected.flip(0) if model.turns[0] else expected)


def test_tiles_of_the_released_network_are_close_to_the_whole():
    model = store.load(weights.find(None, "direct"))
    photo = media.read_photo(REPOSITORY / "examples" / "photos" / "astronaut.jpg")
    y = photo.pixels[None, :, :240, :352]
    whole = filled(model, y)
    out, count = in_tiles(model, y, 240)
    assert count == 3
    error = (out - whole).abs()
    assert error.mean() < 0.1 / 255
    (_, end, _), (begin, _, _), *_ = spans(352, 240, 16)
    seam = (begin + end) // 2
    assert error[..., seam - RAMP : seam + RAMP].mean() < 0.2 / 255


# the extractor


def extractor(model, **options):
    return extractor_of(model, "slim", CPU, torch.float32, scale=1.0, **options)


@pytest.mark.parametrize(
    ("room", "tiles"), [(10**9, 1), (110 * MEGA, 1), (40 * MEGA, 1), (24 * MEGA, 24)]
)
def test_less_memory_gives_the_same_frames(room, tiles, monkeypatch):
    monkeypatch.setattr("blurvid.pipeline.sizes.SIDES", (320,))
    y = torch.rand(3, 500, 1280)
    ready = extractor(MODELS["direct"])
    expected = ready.frames(y)
    assert expected.tiles == 1
    monkeypatch.setattr(runtime, "room", lambda *_: room)
    found = ready.frames(y)
    assert found.frames.shape == (7, 3, 500, 1280)
    assert_close(found.frames, expected.frames, rtol=0, atol=1e-5 if tiles == 1 else 0.02)
    assert found.tiles == tiles
    assert found.warnings == (
        ("too little memory for the whole; seen in 24 overlapping tiles",) if tiles > 1 else ()
    )


class Hungry(Whole):
    """A model that takes more than it says."""

    name, size_multiple = "hungry", 1

    def __init__(self, enough=()):
        self.enough, self.tried, self.held = enough, [], []

    def fill(self, out, y):
        assert all(held() is None for held in self.held), "a failed attempt still takes memory"
        features = torch.empty(1000)
        self.held += [weakref.ref(features), weakref.ref(out)]
        self.tried.append(y.shape[-1])
        if y.shape[-1] not in self.enough:
            raise torch.OutOfMemoryError
        out.copy_(y.expand(7, -1, -1, -1))

    def memory(self, height, width, feature_size):
        return 300 * height * width


@pytest.mark.parametrize("room", [65 * MEGA, 10**10])
def test_memory_that_runs_out_all_the_same_is_a_reason_to_try_less(room, monkeypatch):
    monkeypatch.setattr(runtime, "room", lambda *_: room)
    y = torch.rand(3, 20, 1500)
    model = Hungry(enough=(640,))
    found = extractor(model).frames(y)
    assert model.tried[0] == 1500
    assert set(model.tried[1:]) == {640}
    assert found.warnings[-1] == "memory ran out; done in smaller pieces"
    assert_close(found.frames[6], y)
    with pytest.raises(DeviceError, match="cpu ran out of memory"):
        extractor(Hungry()).frames(y)


def test_a_photo_without_any_room_is_an_error_of_one_line(monkeypatch):
    monkeypatch.setattr(runtime, "room", lambda *_: MEGA)
    message = r"640 x 504 pixels take [1-9]\d* MB of memory at least, but only 1 MB may be taken"
    with pytest.raises(DeviceError, match=message):
        extractor(MODELS["direct"]).frames(torch.rand(3, 500, 640))


def test_memory_that_runs_out_beside_the_network_is_said(monkeypatch):
    ready = extractor_of(MODELS["direct"], "slim", CPU, torch.float32, scale=0.5)

    def full(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(pipeline.extraction, "restore", full)
    with pytest.raises(DeviceError, match="cpu ran out of memory"):
        ready(torch.rand(3, 64, 64))


class Moving(Whole):
    """A model that finds much motion, and remembers whose frames are still there."""

    name, size_multiple = "moving", 1

    def __init__(self):
        self.held, self.alive = [], []

    def fill(self, out, y):
        self.alive.append(sum(held() is not None for held in self.held))
        self.held.append(weakref.ref(out.untyped_storage()))
        for index, frame in enumerate(out):
            frame.copy_(y[0].roll(index * 2, dims=-1))


def test_frames_that_measured_the_blur_do_not_stay(monkeypatch):
    model = Moving()
    ready = extractor_of(model, "slim", CPU, torch.float32)
    plain = ready.frames

    def frames(y):
        found = plain(y)
        return dataclasses.replace(found, warnings=(f"{y.shape[-1]} px wide",))

    monkeypatch.setattr(ready, "frames", frames)
    found = ready.scaled(F.avg_pool2d(torch.rand(1, 3, 384, 768), 5, 1, 2)[0])
    assert found.scale < 1
    assert len(model.alive) == 3
    assert model.alive == [0, 0, 0]
    assert found.warnings == (f"{round(768 * found.scale)} px wide",)


def test_room_is_a_share_of_what_is_free_or_what_the_user_leaves(tmp_path, monkeypatch):
    free = runtime.room(CPU)
    assert 0 < free
    assert runtime.room(CPU, 1) == 0
    most = runtime.room(CPU, 2**60)
    assert free < most
    (tmp_path / "memory.max").write_text("max\n")
    monkeypatch.setattr(runtime, "CONTROL_GROUP", tmp_path)
    assert runtime.room(CPU) > 100 * MEGA
    (tmp_path / "memory.max").write_text("9000000\n")
    (tmp_path / "memory.current").write_text("4000000\n")
    assert runtime.room(CPU) == 3_500_000
    assert runtime.room(CPU, 2**60) == 5_000_000
    # Files read before count as usage until their pages are needed.
    (tmp_path / "memory.stat").write_text("anon 9\ninactive_file 1000000\nactive_file 500000\n")
    assert runtime.room(CPU, 2**60) == 6_500_000


# the command


@pytest.fixture(scope="module")
def slim(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "slim"
    torch.manual_seed(0)
    net = randomized(DirectNet(SLIM))
    store.save(net, folder, name="slim", recipe={}, data="", scores={}, licence="MIT")
    return folder


COMMAND = """
import json, sys
from blurvid.cli import main

for words in json.loads(sys.argv[1]):
    main(words, standalone_mode=False)
    # (The figure of getrusage starts with what the parent took.)
    status = open("/proc/self/status")
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")), file=sys.stderr)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_process_stays_below_its_limit(slim, tmp_path):
    if runtime.room(CPU, 2**60) < 3 * 10**9:
        pytest.skip("too little memory is free to tell the two apart")
    rows, columns = torch.meshgrid(torch.arange(1500), torch.arange(2000), indexing="ij")
    media.write_still(torch.stack([rows / 1500, columns / 2000, rows * columns % 7 / 7]).float(),
                    tmp_path / "large.png")  # fmt: skip
    calls = []
    low = 600 if torch.version.cuda is None else 1000  # libraries for CUDA take memory of their own
    for limit in (f"{low}M", "64G"):  # in this order: the peak never falls
        words = ["extract", tmp_path / "large.png", "-o", tmp_path / limit, "--weights", slim]
        words += ["--format", "jpg", "--scale", "1", "--max-memory", limit, "--threads", "1"]
        calls.append([*map(str, words), "--json", "-q", "--device", "cpu"])
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, json.dumps(calls)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=True,
        text=True,
    )
    records = [json.loads(line) for line in done.stdout.splitlines()]
    peaks = [int(peak) * 1024 for peak in done.stderr.split()]
    assert [record["tiles"] for record in records] == [1, 1]
    assert peaks[0] < low * 2**20 < peaks[1]
    frames = [
        [media.read_photo(path).pixels for path in record["outputs"][::3]] for record in records
    ]
    for spared, plain in zip(*frames, strict=True):
        assert (plain - spared).abs().max() < 2.5 / 255


def test_a_limit_that_is_too_low_is_said(slim, tmp_path):
    photo = tmp_path / "photo.png"
    media.write_still(torch.rand(3, 24, 32), photo)
    words = ["extract", photo, "-o", tmp_path / "frames", "--weights", slim]
    words += ["--device", "cpu"]
    result = CliRunner().invoke(main, [*map(str, words), "--max-memory", "10M"])
    assert result.exit_code == 5
    assert "pixels take" in result.stderr
    assert not (tmp_path / "frames").exists()


def test_a_limit_beyond_all_numbers_is_no_limit(slim, tmp_path):
    photo = tmp_path / "photo.png"
    media.write_still(torch.rand(3, 24, 32), photo)
    words = ["extract", photo, "-o", tmp_path / "frames", "--weights", slim]
    result = CliRunner().invoke(main, [*map(str, words), "--max-memory", "9" * 400 + "T"])
    assert result.exit_code == 0


@pytest.mark.parametrize("amount", ["lots", "0", "-1G", "3 apples", ""])
def test_a_limit_that_is_none_is_refused(amount):
    result = CliRunner().invoke(main, ["extract", "photo.jpg", "--max-memory", amount])
    assert result.exit_code == 2
    assert "is not an amount of memory" in result.stderr


def test_frames_stay_on_the_device_where_there_is_room():
    model = SimpleNamespace(
        count=7,
        size_multiple=4,
        memory=lambda height, width, *_: 100 * height * width,
    )
    pixels, image = 40 * 40, FRAME_SIZE * 40 * 40
    plenty, scarce = 100 * pixels + 10 * image, 100 * pixels + 4 * image
    here = {"height": 40, "width": 40, "feature_size": 2}
    assert view_of(model, **here, room=plenty, host=10**9).near
    assert not view_of(model, **here, room=scarce, host=10**9).near
    assert not view_of(model, **here, room=10**9).near  # the device is the host
    assert not view_of(model, **here, room=10**9, host=0).near  # frames on disk

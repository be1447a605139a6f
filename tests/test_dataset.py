"""Training windows: where they come from and what may be done to them."""

from __future__ import annotations

import io
import tarfile
import threading
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from blurvid import media
from blurvid.blur import average_frames
from blurvid.errors import InputError
from blurvid.flow import sequence_motion
from blurvid.lab import data
from blurvid.lab.data import StillPool, WindowSource, augment, mirror, open_source, read_stills
from blurvid.lab.data.replay import ReplaySource
from blurvid.lab.data.source import MixedSource, PrefetchSource, SimulatedSource
from blurvid.lab.data.windows import StoredWindow, write_windows
from blurvid.lab.options import CameraOptions, MotionOptions, SynthOptions, TrainOptions
from blurvid.lab.synth import IDEAL
from blurvid.lab.synth.motion import margin

CPU = torch.device("cpu")
SHORT = MotionOptions(max_path=4, layers=2, max_turn=0.5, max_zoom=0.01, source_scale=(1.0, 1.2))
OPTIONS = TrainOptions(batch=2, crop=16, reuse=1, motion=SHORT)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def texture(height, width, seed=0):
    """Smooth colours, (3, H, W) in [0, 1]."""
    coarse = torch.rand(1, 3, height // 4 + 1, width // 4 + 1, generator=generator(seed))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0]


def sliding(dx, dy=0.0, height=32, width=32, seed=0):
    """Frames of a texture that moves by whole pixels a frame, (7, 3, H, W)."""
    wide = texture(height + 40, width + 40, seed)
    dx, dy = round(dx), round(dy)
    return torch.stack(
        [
            wide[:, 20 - dy * i : 20 - dy * i + height, 20 - dx * i : 20 - dx * i + width]
            for i in range(-3, 4)
        ]
    )


def window(frames, clip="clip", gamma=1.0, record=None):
    blurry = average_frames(frames, gamma)
    record = record or {}
    name = f"{clip}/000001"
    return StoredWindow(name, clip, gamma, len(frames), lambda: blurry, lambda: frames, record)


class Counting:
    """A source whose n-th window is filled with the number n (of 255); notes what is drawn."""

    def __init__(self, step=1, failing_at=None):
        self.drawn, self.sizes, self.step, self.failing_at = 0, [], step, failing_at
        self.threads = set()

    def draw(self, batch, size, generator):
        if self.failing_at is not None and self.drawn >= self.failing_at:
            raise InputError("the source has dried up")
        self.threads.add(threading.get_ident())
        torch.rand(1, generator=generator)
        numbers = torch.arange(self.drawn, self.drawn + batch) % 256 / 255
        self.drawn += batch
        self.sizes.append(batch)
        y = numbers.view(-1, 1, 1, 1).expand(-1, 3, size, size)
        return y.clone(), y.unsqueeze(1).expand(-1, 7, -1, -1, -1).clone()

    def describe(self):
        return "numbers"


class Noise:
    """A source whose windows depend on the generator alone."""

    def draw(self, batch, size, generator):
        x = torch.rand(batch, 7, 3, size, size, generator=generator)
        return x.mean(dim=1), x

    def describe(self):
        return "noise"


# replay


def test_replay_shows_everything_new_until_it_is_full():
    source = Counting()
    replay = ReplaySource(source, reuse=2, capacity=8)
    g = generator()
    seen = [sorted((replay.draw(4, 2, g)[0][:, 0, 0, 0] * 255).int().tolist()) for _ in range(2)]
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7]]
    for _ in range(5):
        replay.draw(4, 2, g)
    assert source.sizes == [4, 4, 2, 2, 2, 2, 2]


def test_replay_keeps_the_newest_and_mixes_them_in():
    source = Counting()
    replay = ReplaySource(source, reuse=4, capacity=8)
    g = generator()
    replay.draw(8, 2, g)
    for _ in range(6):
        y, x = replay.draw(8, 2, g)
        numbers = (y[:, 0, 0, 0] * 255).round().int().tolist()
        assert numbers[:2] == [source.drawn - 2, source.drawn - 1]
        assert all(source.drawn - 8 <= n < source.drawn for n in numbers)
        assert_close(x, y.unsqueeze(1).expand_as(x))
    held = (replay.store[0][:, 0, 0, 0]).int().tolist()
    assert sorted(held) == list(range(source.drawn - 8, source.drawn))


def test_replay_shows_a_window_about_as_often_as_told():
    source = Counting()
    replay = ReplaySource(source, reuse=4, capacity=16)
    g = generator()
    shown = torch.zeros(256)
    for _ in range(56):
        y, _ = replay.draw(8, 1, g)
        shown += torch.bincount((y[:, 0, 0, 0] * 255).round().int(), minlength=256)
    # full after two draws of 8; then two new ones a draw, each shown four times on average
    middle = shown[16 : source.drawn - 16]
    assert 3 < middle.mean() < 5


def test_replay_of_once_renders_every_window_anew():
    source = Noise()
    y, x = ReplaySource(source, reuse=1).draw(3, 4, generator(1))
    plain_y, plain_x = source.draw(3, 4, generator(1))
    assert torch.equal(y, plain_y)
    assert torch.equal(x, plain_x)


def test_replay_with_a_batch_of_one():
    replay = ReplaySource(Counting(), reuse=3, capacity=2)
    g = generator()
    for _ in range(4):
        assert replay.draw(1, 2, g)[0].shape == (1, 3, 2, 2)


# prefetch


def test_prefetch_is_deterministic_whatever_the_timing():
    runs = []
    for delay in (0, 0.01):
        source, g = PrefetchSource(Noise()), generator(3)
        batches = []
        for _ in range(4):
            batches.append(source.draw(2, 4, g)[0])
            threading.Event().wait(delay)
        runs.append(torch.stack(batches))
    assert torch.equal(runs[0], runs[1])
    assert len({batch.sum().item() for batch in runs[0]}) == 4


def test_prefetch_keeps_the_order_and_draws_ahead_in_one_thread():
    inner = Counting()
    source, g = PrefetchSource(inner), generator()
    numbers = [round(source.draw(1, 2, g)[0][0, 0, 0, 0].item() * 255) for _ in range(5)]
    assert numbers == [0, 1, 2, 3, 4]
    assert len(inner.threads) == 1
    assert threading.get_ident() not in inner.threads
    assert source.describe() == "numbers"


def test_prefetch_takes_one_number_from_the_generator_of_the_run():
    g, expected = generator(), generator()
    source = PrefetchSource(Noise())
    for _ in range(3):
        source.draw(2, 4, g)
    torch.randint(2**62, (1,), generator=expected)
    assert torch.equal(g.get_state(), expected.get_state())


def test_prefetch_gives_what_is_asked_for_when_the_size_changes():
    source, g = PrefetchSource(Noise()), generator()
    assert source.draw(2, 4, g)[0].shape == (2, 3, 4, 4)
    assert source.draw(3, 5, g)[0].shape == (3, 3, 5, 5)
    assert source.draw(3, 5, g)[1].shape == (3, 7, 3, 5, 5)


def test_prefetch_passes_errors_on_when_their_batch_is_due():
    source, g = PrefetchSource(Counting(failing_at=2)), generator()
    source.draw(1, 2, g)
    source.draw(1, 2, g)
    with pytest.raises(InputError, match="dried up"):
        source.draw(1, 2, g)


# mixed


def test_mixed_batches_are_whole_and_in_the_shares_asked_for():
    first, second = Counting(), Counting()
    mixed, g = MixedSource(first, second, 0.25), generator()
    for _ in range(80):
        mixed.draw(2, 2, g)
    assert first.drawn + second.drawn == 160
    assert set(first.sizes) == set(second.sizes) == {2}
    assert 10 <= len(first.sizes) <= 30
    assert mixed.describe() == "numbers; numbers"


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_nothing_is_nothing(share):
    first, second = Counting(), Counting()
    mixed, g = MixedSource(first, second, share), generator()
    for _ in range(20):
        mixed.draw(1, 2, g)
    assert len(first.sizes) == 20 * share


# windows


def test_windows_are_cropped_alike(tmp_path):
    frames = sliding(1)
    source = WindowSource([window(frames)], CPU, "canonical")
    y, x = source.draw(6, 12, generator())
    assert y.shape == (6, 3, 12, 12)
    assert x.shape == (6, 7, 3, 12, 12)
    assert_close(average_frames(x, 1.0), y, atol=1.5 / 255, rtol=0)
    assert len({crop.sum().item() for crop in y}) > 1  # at random places
    again, _ = source.draw(6, 12, generator())
    assert torch.equal(again, y)


SLANTED = [(2, 0), (-2, 0), (1, -1), (-1, 1)]
VERTICAL = [(0, 1), (0, -1)]  # known only: an estimate is never exactly vertical


@pytest.mark.parametrize(
    ("dx", "dy", "known"),
    [(*shift, True) for shift in SLANTED + VERTICAL] + [(*shift, False) for shift in SLANTED],
)
def test_windows_go_in_the_canonical_direction(dx, dy, known):
    frames = sliding(dx, dy)
    forwards = dx > 0 or (dx == 0 and dy > 0)
    record = {"motion": {"dx": 6.0 * dx, "dy": 6.0 * dy}} if known else {}
    source = WindowSource([window(frames, record=record)], CPU, "canonical")
    _, x = source.draw(1, 32, generator())
    assert_close(x[0], frames if forwards else frames.flip(0), atol=1 / 255, rtol=0)


def test_windows_of_random_order_go_both_ways():
    frames = sliding(2)
    source = WindowSource([window(frames)], CPU, "random")
    y, x = source.draw(16, 32, generator())
    forwards = sum(torch.allclose(w, frames, atol=1 / 255) for w in x)
    backwards = sum(torch.allclose(w, frames.flip(0), atol=1 / 255) for w in x)
    assert forwards + backwards == 16
    assert 3 <= forwards <= 13
    assert torch.equal(y[0], y[1])


def test_windows_written_by_synth_are_turned_by_their_record(tmp_path):
    clip = tmp_path / "clip"
    for number, frame in enumerate(sliding(-2), 1):  # to the left
        media.write_png(frame, clip / f"{number}.png")
    write_windows([clip], tmp_path / "windows", SynthOptions(gamma=1.0))
    (stored,) = data.windows.read_windows(tmp_path / "windows")
    source = WindowSource([stored], CPU, "canonical")
    y, x = source.draw(1, 32, generator())
    assert_close(x[0], stored.sharp().flip(0), atol=1e-6, rtol=0)
    assert sequence_motion(x[0])[0].dx > 6
    assert_close(y[0], stored.blurry(), atol=1e-6, rtol=0)


def test_windows_are_loaded_once_while_memory_reaches(monkeypatch):
    loads = []

    def counted(frames, number):
        inner = window(frames)

        def sharp():
            loads.append(number)
            return inner.sharp()

        record = {"motion": {"dx": 1.0, "dy": 0.0}}
        return StoredWindow(f"{number}", "c", 1.0, 7, inner.blurry, sharp, record)

    windows = [counted(sliding(1, seed=n), n) for n in range(2)]
    source, g = WindowSource(windows, CPU, "canonical"), generator()
    source.draw(12, 16, g)
    assert sorted(loads) == [0, 1]

    loads.clear()
    monkeypatch.setattr(data.pool, "MEMORY", 8 * 3 * 32 * 32)  # one window
    source = WindowSource(windows, CPU, "canonical")
    source.draw(12, 16, g)
    assert sorted(set(loads)) == [0, 1]
    assert len(loads) > 2
    assert min(loads.count(0), loads.count(1)) == 1


def test_windows_that_do_not_fit_are_named():
    with pytest.raises(InputError, match="no windows"):
        WindowSource([], CPU, "canonical")
    with pytest.raises(InputError, match=r"odd/000001: 5 sharp frames; training needs 7"):
        WindowSource([window(sliding(1)[:5], "odd")], CPU, "canonical")
    small = WindowSource([window(sliding(1), "small")], CPU, "canonical")
    with pytest.raises(InputError, match="small/000001: 32x32 px is smaller than the crop"):
        small.draw(1, 40, generator())
    assert small.describe() == "1 windows of 1 clips"


# mirror and augment


def batch_of(dx, dy=0.0, count=24):
    x = sliding(dx, dy).expand(count, -1, -1, -1, -1)
    return average_frames(x, 1.0), x


def test_mirror_keeps_y_the_average_of_its_frames():
    y, x = mirror(*batch_of(2, 1), generator())
    assert_close(average_frames(x, 1.0), y)
    assert len({image[0, 0, 0].item() for image in y}) == 4  # all four ways


@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (2, 2), (1, -1)])
def test_mirror_keeps_a_shift_canonical(dx, dy):
    _, x = mirror(*batch_of(dx, dy, count=8), generator())
    for frames in x:
        assert sequence_motion(frames)[0].dx == pytest.approx(6 * dx, abs=1.5)


def test_augment_shuffles_the_colours_of_a_sample_alike():
    original_y, original_x = batch_of(1, count=40)
    y, x = augment(original_y, original_x, IDEAL, generator())
    assert_close(average_frames(x, 1.0), y)
    orders = set()
    for image, frames in zip(y, x, strict=True):
        order = [
            next(i for i in range(3) if torch.equal(plane, original_y[0, i])) for plane in image
        ]
        assert torch.equal(frames, original_x[0, :, order])
        orders.add(tuple(order))
    assert len(orders) == 6


def noisy_camera(sigma):
    return replace(IDEAL, noise=(sigma, sigma))


def test_augment_adds_noise_to_y_alone():
    y = torch.full((4, 3, 32, 32), 0.5)
    x = y.unsqueeze(1).expand(-1, 7, -1, -1, -1)
    noisy, clean = augment(y, x, noisy_camera(0.01), generator())
    assert torch.equal(clean, x)
    assert (noisy - y).std().item() == pytest.approx(0.01, rel=0.05)
    assert (noisy - y).mean().item() == pytest.approx(0, abs=5e-4)
    dark, _ = augment(torch.zeros_like(y), x, noisy_camera(0.1), generator())
    assert dark.min() >= 0


def test_augment_follows_its_generator_alone():
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        results.append(augment(*batch_of(1, count=3), CameraOptions(), generator())[0])
    assert torch.equal(*results)


# stills


def png_bytes(image):
    file = io.BytesIO()
    Image.fromarray(media.to_uint8(image)).save(file, "PNG")
    return file.getvalue()


def make_tar(path, files):
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            if data is None:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def test_stills_from_files_folders_and_archives(tmp_path):
    photos = [texture(20, 24, seed) for seed in range(4)]
    media.write_png(photos[0], tmp_path / "folder/sub/a.png")
    media.write_png(photos[1], tmp_path / "folder/b.png")
    (tmp_path / "folder/notes.txt").write_text("no photo")
    media.write_png(photos[2], tmp_path / "c.png")
    archive = make_tar(
        tmp_path / "d.tar",
        {"set": None, "set/readme.md": b"no photo", "set/d.png": png_bytes(photos[3])},
    )
    found = list(read_stills([tmp_path / "folder", tmp_path / "c.png", archive]))
    expected = [(photos[i] * 255).round().to(torch.uint8) for i in (1, 0, 2, 3)]
    assert len(found) == 4
    for photo, wanted in zip(found, expected, strict=True):
        assert photo.dtype == torch.uint8
        assert torch.equal(photo, wanted)


@pytest.mark.parametrize("damage", ["no tar", "cut", "broken photo", "missing"])
def test_damaged_archives_are_named(tmp_path, damage):
    path = tmp_path / "set.tar"
    if damage == "broken photo":
        make_tar(path, {"a.png": png_bytes(texture(20, 24))[:60]})
    elif damage == "cut":
        make_tar(path, {"a.png": png_bytes(texture(60, 60))})
        path.write_bytes(path.read_bytes()[:1500])
    elif damage == "no tar":
        path.write_text("no archive" * 100)
    with pytest.raises(InputError, match=r"set\.tar"):
        list(read_stills([path]))


def test_a_pool_tells_when_its_photos_are_too_small():
    pool = StillPool([torch.zeros(3, 20, 30, dtype=torch.uint8)], CPU)
    with pytest.raises(InputError, match="every photo is smaller than"):
        pool.render(1, 32, SHORT, generator())
    with pytest.raises(InputError, match="no photos to train on"):
        StillPool([], CPU)


def test_a_pool_uses_photos_that_only_just_fit():
    side = 16 + 2 * margin((16, 16), SHORT)
    pool = StillPool([torch.zeros(3, side, side, dtype=torch.uint8)], CPU)
    rendered = pool.render(2, 16, SHORT, generator())
    assert rendered.blurry.shape == (2, 3, 16, 16)
    assert rendered.frames.shape == (2, 7, 3, 16, 16)


def test_simulated_windows_follow_their_generator():
    photo = (texture(64, 64) * 255).to(torch.uint8)
    source = SimulatedSource(StillPool([photo], CPU), SHORT)
    y, x = source.draw(2, 16, generator(5))
    again, _ = source.draw(2, 16, generator(5))
    assert torch.equal(y, again)
    assert not torch.equal(y, source.draw(2, 16, generator(6))[0])
    assert x.min() >= 0
    assert x.max() <= 1
    assert source.describe() == "simulated motion of 1 still photos"


# opening


@pytest.fixture
def photos(tmp_path):
    for seed in range(2):
        media.write_png(texture(64, 72, seed), tmp_path / f"photos/{seed}.png")
    return tmp_path / "photos"


@pytest.fixture
def windows(tmp_path):
    for number, frame in enumerate(sliding(-1), 1):
        media.write_png(frame, tmp_path / "clip" / f"{number}.png")
    write_windows([tmp_path / "clip"], tmp_path / "windows", SynthOptions())
    return tmp_path / "windows"


def test_open_photos_windows_and_both(photos, windows):
    stills = open_source([photos], OPTIONS, CPU)
    assert stills.describe() == "simulated motion of 2 still photos"
    real = open_source([windows], OPTIONS, CPU)
    assert real.describe() == "1 windows of 1 clips"
    both = open_source([photos, windows], OPTIONS, CPU)
    assert both.describe() == "1 windows of 1 clips; simulated motion of 2 still photos"
    for source in (stills, real, both):
        y, x = source.draw(2, 16, generator())
        assert y.shape == (2, 3, 16, 16)
        assert x.shape == (2, 7, 3, 16, 16)


@pytest.mark.parametrize(("order", "ways"), [("canonical", 1), ("invariant", 2)])
def test_the_order_of_time_follows_the_options(windows, order, ways):
    source = open_source([windows], TrainOptions(order=order, crop=32), CPU)
    source.source.source.flips = False  # mirroring goes with the order of time
    _, x = source.draw(16, 32, generator())
    assert len({round(frames[0].sum().item()) for frames in x}) == ways
    if order == "canonical":
        assert sequence_motion(x[0])[0].dx > 3


def test_open_source_errors(tmp_path, photos):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no photo")
    for name in ("nowhere", "empty", "text.jpg"):
        with pytest.raises(InputError):
            open_source([tmp_path / name], OPTIONS, CPU)
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        open_source([photos, tmp_path / "nowhere"], OPTIONS, CPU)


def numbered(height, width, first):
    """A photo whose pixels tell where they are, in two of the channels, and which photo it is."""
    rows = torch.arange(height).view(-1, 1).expand(height, width)
    columns = torch.arange(width).expand(height, width)
    return torch.stack([rows, columns, torch.full_like(rows, first)]).to(torch.uint8)


def test_cut_squares_lie_in_the_photo_in_all_eight_ways():
    pool = StillPool([numbered(20, 30, 1), numbered(24, 17, 2)], CPU)
    draws = torch.rand(400, 4, generator=generator())
    chosen = torch.arange(400) % 2
    crops = pool.cut(chosen, 9, draws).int()
    assert crops.shape == (400, 3, 9, 9)
    ways = set()
    for crop, photo in zip(crops, chosen.tolist(), strict=True):
        rows, columns, number = crop
        assert (number == photo + 1).all()  # of the photo asked for
        for plane, limit in ((rows, (20, 24)[photo]), (columns, (30, 17)[photo])):
            assert plane.max() - plane.min() == 8 and plane.max() < limit
        down = (int((rows[1] - rows[0])[0]), int((columns[1] - columns[0])[0]))
        right = (int((rows[:, 1] - rows[:, 0])[0]), int((columns[:, 1] - columns[:, 0])[0]))
        assert (rows.diff(dim=0) == down[0]).all() and (columns.diff(dim=1) == right[1]).all()
        ways.add((down, right))
    assert len(ways) == 8
    corners = {(int(c[0].min()), int(c[1].min())) for c in crops[::2]}
    assert {0, 11} <= {top for top, _ in corners} and {0, 21} <= {left for _, left in corners}


def test_a_cut_square_may_be_the_whole_photo():
    photo = numbered(8, 8, 1)
    crops = StillPool([photo], CPU).cut(torch.zeros(20, dtype=torch.long), 8, torch.rand(20, 4))
    ways = [p.rot90(k, (1, 2)) for p in (photo, photo.flip(2)) for k in range(4)]
    assert all(any(torch.equal(crop, way) for way in ways) for crop in crops)

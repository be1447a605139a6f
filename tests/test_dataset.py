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
from blurvid.errors import InputError
from blurvid.exposure import average_frames
from blurvid.flow import sequence_motion
from blurvid.lab.camera import IDEAL
from blurvid.lab.data import Window, measured, open_source, write_windows
from blurvid.lab.data.clips import read_stills
from blurvid.lab.data.measured import MeasuredWindows
from blurvid.lab.data.source import PrefetchSource, StillPool, TrainingSource
from blurvid.lab.options import CameraOptions, MotionOptions, SynthOptions, TrainOptions
from blurvid.lab.synth import margin

CPU = torch.device("cpu")
SHORT = MotionOptions(max_path=4, source_scale=(1.0, 1.2))
OPTIONS = TrainOptions(batch=2, crop=16, motion=SHORT)


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
    about = {"window": f"{clip}/000001", "clip": clip, "frames": list(range(len(frames)))}
    return Window({"gamma": gamma, **about, **(record or {})}, lambda: blurry, lambda: frames)


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


# batches


def pool(side=64):
    return StillPool([(texture(side, side) * 255).to(torch.uint8)], CPU)


def windows_of(*frames, records=None):
    records = records or [None] * len(frames)
    pairs = enumerate(zip(frames, records, strict=True))
    found = [window(x, f"c{i}", record=r) for i, (x, r) in pairs]
    return MeasuredWindows(found, CPU, measure=False)


def source_of(windows=None, stills=None, **options):
    return TrainingSource(windows, None, stills, None, replace(OPTIONS, **options))


def test_windows_are_cropped_alike():
    source = source_of(
        windows_of(sliding(1)), camera=IDEAL, motion=replace(SHORT, gammas=(2.2, 2.2))
    )
    y, x = source.draw(6, 12, generator())
    assert y.shape == (6, 3, 12, 12)
    assert x.shape == (6, 7, 3, 12, 12)
    assert_close(average_frames(x, 2.2), y, atol=1e-3, rtol=0)
    assert len({crop.sum().item() for crop in y}) > 1  # at random places
    again, _ = source.draw(6, 12, generator())
    assert torch.equal(again, y)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (-2, 0), (1, -1), (-1, 1), (0, 2)])
def test_windows_go_in_the_canonical_direction(dx, dy, known, monkeypatch):
    monkeypatch.setattr(measured, "FAR", 0.0)
    record = {"motion": {"dx": 6.0 * dx, "dy": 6.0 * dy}} if known else None
    source = source_of(windows_of(sliding(dx, dy), records=[record]), camera=IDEAL)
    for seed in range(8):  # mirrored and turned in all ways
        found, _ = sequence_motion(source.draw(1, 32, generator(seed))[1][0])
        assert found.dx + 0.4 * found.dy > 2


def test_windows_of_invariant_order_go_both_ways(monkeypatch):
    monkeypatch.setattr(measured, "FAR", 0.0)
    source = source_of(windows_of(sliding(2)), camera=IDEAL, order="invariant")
    _, x = source.draw(16, 32, generator())
    turned = torch.stack([(frames[0] - x[0, 0]).mean(0).abs().mean() > 0.01 for frames in x])
    assert 3 <= turned.sum() <= 13


def test_colours_are_shuffled_alike_and_noise_is_of_the_blurry_image_alone():
    camera = replace(IDEAL, noise=(0.01, 0.01))
    grey = torch.full((7, 3, 32, 32), 0.5)
    grey[:, 0] = 0.25
    source = source_of(windows_of(grey, records=[{"motion": {"dx": 1, "dy": 0}}]), camera=camera)
    y, x = source.draw(40, 32, generator())
    assert len({tuple(frames[0, :, 0, 0].tolist()) for frames in x}) == 3
    assert (y - x[:, 0]).std().item() == pytest.approx(0.01, rel=0.1)
    assert (x - x[:, :1]).abs().max() < 1e-6


def test_photos_that_are_too_small_are_told():
    with pytest.raises(InputError, match="every photo is smaller than"):
        source_of(stills=pool(20)).draw(1, 32, generator())
    with pytest.raises(InputError, match="no photos to train on"):
        StillPool([], CPU)
    side = 16 + 2 * margin(SHORT)
    y, x = source_of(stills=pool(side)).draw(2, 16, generator())
    assert y.shape == (2, 3, 16, 16) and x.shape == (2, 7, 3, 16, 16)


def test_windows_that_do_not_fit_are_named(tmp_path):
    with pytest.raises(InputError, match="no windows and no photos"):
        source_of()
    small = source_of(windows_of(sliding(1)))
    with pytest.raises(InputError, match="c0/000001: 32x32 px is smaller than the crop"):
        small.draw(1, 40, generator())


def test_batches_follow_their_generator():
    source = source_of(windows_of(sliding(1)), pool(), camera=CameraOptions())
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        results.append(source.draw(4, 16, generator(5))[0])
    assert torch.equal(*results)
    assert not torch.equal(results[0], source.draw(4, 16, generator(6))[0])


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
    media.write_still(photos[0], tmp_path / "folder/sub/a.png")
    media.write_still(photos[1], tmp_path / "folder/b.png")
    (tmp_path / "folder/notes.txt").write_text("no photo")
    media.write_still(photos[2], tmp_path / "c.png")
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


# opening


@pytest.fixture
def photos(tmp_path):
    for seed in range(2):
        media.write_still(texture(64, 72, seed), tmp_path / f"photos/{seed}.png")
    return tmp_path / "photos"


@pytest.fixture
def windows(tmp_path):
    for number, frame in enumerate(sliding(-1), 1):
        media.write_still(frame, tmp_path / "clip" / f"{number}.png")
    write_windows([tmp_path / "clip"], tmp_path / "windows", SynthOptions())
    return tmp_path / "windows"


def test_open_photos_windows_and_both(photos, windows):
    stills = open_source([photos], OPTIONS, CPU)
    assert stills.describe() == "2 still photos under simulated motion"
    real = open_source([windows], OPTIONS, CPU)
    assert real.describe() == "1 windows of 1 clips"
    both = open_source([photos, windows], OPTIONS, CPU)
    assert both.describe() == "1 windows of 1 clips and 2 still photos under simulated motion"
    for source in (stills, real, both):
        y, x = source.draw(2, 16, generator())
        assert y.shape == (2, 3, 16, 16)
        assert x.shape == (2, 7, 3, 16, 16)


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

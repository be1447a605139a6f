"""The paper's Table 2, against numpy, Pillow and scikit-image."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from blurvid import media, weights
from blurvid.cli import main
from blurvid.config import DirectSpec
from blurvid.errors import InputError
from blurvid.lab.data import clips as clips_module
from blurvid.lab.evaluate import evaluate, windows_from
from blurvid.lab.options import SynthOptions
from blurvid.networks import DirectNet
from blurvid.weights import store

SCENES = ("GOPR0384_11_00", "GOPR0854_11_00")
TRAINING = "GOPR0372_07_00"
SIZE = (80, 60)
SMALL = (36, 27)  # 45 %
FRAMES = 15  # two windows of seven, and one frame left over


def write_frames(folder, seed=0, count=FRAMES):
    """Frames of a texture that moves to the right, numbered as in GoPro's data."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (20, 40, 3), dtype=np.uint8))
    wide = coarse.resize((SIZE[0] + 2 * count, SIZE[1]), Image.Resampling.BICUBIC)
    folder.mkdir(parents=True)
    for index in range(count):
        left = 2 * (count - 1 - index)
        # the numbers of a scene need not start at 1
        wide.crop((left, 0, left + SIZE[0], SIZE[1])).save(folder / f"{4001 + index:06d}.png")


@pytest.fixture
def full_rate(tmp_path):
    """A folder like GOPRO_Large_all, with two scenes of the test set and one for training."""
    home = tmp_path / "GOPRO_Large_all"
    for seed, scene in enumerate(SCENES):
        write_frames(home / "test" / scene, seed)
    write_frames(home / "train" / TRAINING, 7)
    return home


@pytest.fixture
def paired(tmp_path):
    """A folder like GOPRO_Large, with two scenes of the test set of three images each."""
    home = tmp_path / "GOPRO_Large"
    for seed, scene in enumerate(SCENES):
        top = home / "test" / scene
        write_frames(tmp_path / "frames" / scene, seed, 33)
        frames = [pixels(path) for path in sorted((tmp_path / "frames" / scene).iterdir())]
        for number in range(3):
            window = np.stack(frames[11 * number : 11 * number + 11])
            for kind, image in (
                ("blur", window.mean(0)),
                ("blur_gamma", (window**2.2).mean(0) ** (1 / 2.2)),
                ("sharp", window[5]),
            ):
                path = top / kind / f"{number + 1:06d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((image * 255).round().astype(np.uint8)).save(path)
    return home


def pixels(path):
    return np.asarray(Image.open(path), dtype=np.float64) / 255


def small(image):
    """An image (H, W, 3) at 45 %, by Pillow's bicubic filter, in floating point."""
    planes = [Image.fromarray(image[..., c].astype(np.float32)) for c in range(3)]
    planes = [plane.resize(SMALL, Image.Resampling.BICUBIC) for plane in planes]
    return np.stack([np.asarray(plane) for plane in planes], -1).clip(0, 1)


def reference(frame, truth):
    """PSNR and SSIM of an image (H, W, 3), by scikit-image."""
    return (
        peak_signal_noise_ratio(truth, frame, data_range=1),
        structural_similarity(
            truth, frame, data_range=1, channel_axis=-1, gaussian_weights=True,
            sigma=1.5, use_sample_covariance=False,
        ),
    )  # fmt: skip


def windows_of(scene, gamma):
    """Blurry image and middle frame of each window of a scene, by numpy."""
    frames = [small(pixels(path)) for path in sorted(scene.iterdir())]
    for first in (0, 7):
        window = np.stack(frames[first : first + 7])
        yield (window**gamma).mean(0) ** (1 / gamma), window[3]


def darker(y):
    """An extractor whose frames differ: the middle one is 0.85 y."""
    return torch.stack([y * (1 - 0.05 * i) for i in range(7)])


def repeat(y):
    return y.expand(7, *y.shape)


def averages(home, gamma=1.0):
    """The first column: seven frames averaged, at 45 %."""
    return windows_from(home / "test", SynthOptions(scale=0.45, gamma=gamma))


def stored(home, *blur_folder):
    """The last column."""
    return windows_from(home / "test", SynthOptions(), *blur_folder)


def middle(score):
    """PSNR and SSIM of the middle frame."""
    at = len(score.per_frame) // 2
    return score.per_frame[at], score.ssim_per_frame[at]


# averages


@pytest.mark.parametrize("gamma", [1.0, 2.2])
def test_the_middle_of_averages_at_45_percent(full_rate, gamma):
    report = evaluate(darker, averages(full_rate, gamma))

    wanted = [pair for s in SCENES for pair in windows_of(full_rate / "test" / s, gamma)]
    assert len(report.rows) == len(wanted) == 4
    for row, (blurry, truth) in zip(report.rows, wanted, strict=True):
        assert middle(row.score) == pytest.approx(reference(0.85 * blurry, truth), abs=1e-3)
        assert middle(row.blurry) == pytest.approx(reference(blurry, truth), abs=1e-3)
    means = np.mean([reference(0.85 * blurry, truth) for blurry, truth in wanted], axis=0)
    assert middle(report.mean.score) == pytest.approx(tuple(means), abs=1e-3)
    assert report.gamma == gamma
    assert [row.window for row in report.rows[:2]] == [
        f"{SCENES[0]}/000001",
        f"{SCENES[0]}/000002",
    ]
    assert list(report.clips) == list(SCENES)


def test_the_order_of_time_does_not_matter_to_the_middle_frame(full_rate):
    turned = evaluate(lambda y: darker(y * 1.1).flip(0), averages(full_rate))
    forth = evaluate(lambda y: darker(y * 1.1), averages(full_rate))
    assert [middle(row.score) for row in turned.rows] == [middle(row.score) for row in forth.rows]


def test_images_are_loaded_when_they_are_needed(full_rate, monkeypatch):
    loaded = []
    load = clips_module.load_photo

    def count(path):
        loaded.append(path)
        return load(path)

    monkeypatch.setattr(clips_module, "load_photo", count)
    windows = averages(full_rate)
    loaded.clear()
    seen = []
    evaluate(lambda y: seen.append(len(loaded)) or repeat(y), windows)
    assert seen == [7, 14, 21, 28]


# stored images


@pytest.mark.parametrize("folder", [(), ("blur_gamma",)])
def test_the_middle_frame_of_stored_images(paired, folder):
    report = evaluate(darker, stored(paired, *folder))

    wanted = []
    for scene in SCENES:
        top = paired / "test" / scene
        for number in range(1, 4):
            name = f"{number:06d}.png"
            wanted.append((pixels(top / "".join(folder or ("blur",)) / name),
                           pixels(top / "sharp" / name)))  # fmt: skip
    assert [row.window for row in report.rows[:2]] == [
        f"{SCENES[0]}/000001",
        f"{SCENES[0]}/000002",
    ]
    for row, (blurry, truth) in zip(report.rows, wanted, strict=True):
        assert middle(row.score) == pytest.approx(reference(0.85 * blurry, truth), abs=1e-4)
        assert middle(row.blurry) == pytest.approx(reference(blurry, truth), abs=1e-4)


def test_no_other_frame_is_scored(paired):
    def odd(y):
        frames = darker(y)
        frames[[0, 1, 2, 4, 5, 6]] = 0.5
        return frames

    report, wanted = evaluate(odd, stored(paired)), evaluate(darker, stored(paired))
    assert [row.score for row in report.rows] == [row.score for row in wanted.rows]
    assert len(report.mean.score.per_frame) == 1


def test_the_truth_is_infinitely_good_and_json_has_no_infinity(paired):
    truths = [
        media.read_photo(path).pixels
        for scene in SCENES
        for path in sorted((paired / "test" / scene / "sharp").iterdir())
    ]
    answers = iter(truths)
    report = evaluate(lambda y: repeat(next(answers)), stored(paired))
    assert report.mean.score.psnr == math.inf
    assert report.mean.score.ssim == pytest.approx(1)
    whole = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert whole["mean"]["score"]["psnr"] is None
    assert whole["mean"]["blurry"]["psnr"] > 10


@pytest.mark.parametrize(
    ("extract", "message"),
    [(lambda y: y, "shape"), (lambda y: repeat(y)[:5], "shape"),
     (lambda y: repeat(y) / 0, "finite")],
)  # fmt: skip
def test_frames_that_cannot_be_scored_are_refused(paired, extract, message):
    with pytest.raises(InputError, match=message):
        evaluate(extract, stored(paired))


def test_a_pair_of_different_sizes_is_refused(paired):
    path = paired / "test" / SCENES[0] / "sharp" / "000002.png"
    Image.open(path).crop((0, 0, 40, 40)).save(path)
    with pytest.raises(InputError, match=r"GOPR0384_11_00/000002: .* differ in size"):
        evaluate(repeat, stored(paired))


def test_missing_images_are_named(paired):
    scene = paired / "test" / SCENES[1]
    (scene / "sharp" / "000003.png").unlink()
    with pytest.raises(InputError, match="not in both blur and sharp: 000003"):
        stored(paired)
    for path in (scene / "blur_gamma").iterdir():
        path.unlink()
    (scene / "blur_gamma").rmdir()
    with pytest.raises(InputError, match="GOPR0854_11_00: no folder blur_gamma"):
        stored(paired, "blur_gamma")


def test_both_kinds_at_once_are_refused(paired):
    write_frames(paired / "test" / "holiday")
    with pytest.raises(InputError, match="score them apart"):
        stored(paired)


# through the command line


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Untrained weights in the cache: the frames are the blurry photo."""
    monkeypatch.setenv("BLURVID_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BLURVID_WEIGHTS", raising=False)
    monkeypatch.setattr(weights.sets, "released_dir", lambda: tmp_path / "released")
    (tmp_path / "home/weights").mkdir(parents=True)
    return store.save(
        DirectNet(DirectSpec(channels=(8, 12), blocks=(1, 1))),
        tmp_path / "home/weights/direct",
        name="direct",
        recipe={},
        data="none",
        scores={},
        licence="MIT",
    )


def run(*words):
    quick = ("--device", "cpu", "--precision", "fp32", "--threads", "1")
    result = CliRunner().invoke(main, ["eval", *map(str, words), *quick])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_command_shows_all_frames(full_rate, tiny):
    result = run(full_rate / "test", "--clip-scale", "0.45", "--gamma", "1")
    assert result.exit_code == 0
    text = result.stdout
    assert "Model direct (weights direct), 4 windows" in text
    for words in ("GOPR0384_11", "[dB]", "pPSNR", "blurry x 7", "middle x 7"):
        assert words in text
    assert "nan" not in text
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [
        f"{scene}/{number:06d}" for scene in SCENES for number in (1, 2)
    ]


def test_the_command_shows_the_middle_frame_of_stored_images(paired, tiny):
    result = run(paired / "test", "--blur-folder", "blur_gamma", "-q")
    assert result.exit_code == 0
    windows = [
        [pixels(path.parents[1] / kind / path.name) for kind in ("blur_gamma", "sharp")]
        for path in (paired / "test").glob("*/sharp/*.png")
    ]
    mean = np.mean([reference(*pair)[0] for pair in windows])
    (ours,) = (line for line in result.stdout.splitlines() if " all " in line)
    assert f"{mean:.2f}" in ours  # an untrained network is the blurry photo
    assert "the middle frame" in result.stdout and "middle x" not in result.stdout
    whole = json.loads(run(paired / "test", "--json", "-q").stdout)
    assert (whole["model"], whole["source"]) == ("direct", str(paired / "test"))
    assert list(whole["clips"]) == list(SCENES)
    assert len(whole["rows"]) == 6

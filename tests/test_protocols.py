"""Protocols of the paper's Table 2, against numpy, Pillow and scikit-image."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from blurvid import media, weights
from blurvid.cli import main
from blurvid.config import DirectSpec
from blurvid.errors import InputError, OptionError
from blurvid.lab.data.windows import clips as clips_module
from blurvid.lab.data.windows import write_windows
from blurvid.lab.evaluate import evaluate, open_protocol, protocols
from blurvid.lab.options import PROTOCOLS, SynthOptions
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


def score(benchmark, extract):
    return evaluate(extract, benchmark.windows())


def middle(score):
    """PSNR and SSIM of the middle frame."""
    at = len(score.per_frame) // 2
    return score.per_frame[at], score.ssim_per_frame[at]


# gopro7


@pytest.mark.parametrize("gamma", [None, 2.2])
def test_gopro7_scores_the_middle_of_averages_at_45_percent(full_rate, gamma):
    report = score(open_protocol("gopro7", full_rate, gamma=gamma), darker)

    wanted = [pair for s in SCENES for pair in windows_of(full_rate / "test" / s, gamma or 1.0)]
    assert len(report.rows) == len(wanted) == 4
    for row, (blurry, truth) in zip(report.rows, wanted, strict=True):
        assert middle(row.score) == pytest.approx(reference(0.85 * blurry, truth), abs=1e-3)
        assert middle(row.blurry) == pytest.approx(reference(blurry, truth), abs=1e-3)
    means = np.mean([reference(0.85 * blurry, truth) for blurry, truth in wanted], axis=0)
    assert report.mean.score.middle == pytest.approx(tuple(means), abs=1e-3)
    assert report.gamma == (gamma or 1.0)
    assert len(report.mean.score.per_frame) == 7


def test_gopro7_takes_no_frame_twice_and_names_scenes_as_the_data_set_does(full_rate):
    benchmark = open_protocol("gopro7", full_rate)
    report = score(benchmark, repeat)

    assert benchmark.scenes == SCENES
    assert benchmark.images == len(report.rows) == 4
    assert [row.window for row in report.rows[:2]] == [
        f"{SCENES[0]}/000001",
        f"{SCENES[0]}/000002",
    ]
    assert list(report.clips) == list(SCENES)
    assert benchmark.settings["stride"] == benchmark.settings["frames"] == 7


def test_the_order_of_time_does_not_matter_to_the_middle_frame(full_rate):
    benchmark = open_protocol("gopro7", full_rate)
    turned = score(benchmark, lambda y: darker(y * 1.1).flip(0))
    forth = score(benchmark, lambda y: darker(y * 1.1))
    assert [middle(row.score) for row in turned.rows] == [middle(row.score) for row in forth.rows]


def test_images_are_loaded_when_they_are_needed(full_rate, paired, monkeypatch):
    loaded = []
    load = clips_module.load_photo

    def count(path):
        loaded.append(path)
        return load(path)

    monkeypatch.setattr(clips_module, "load_photo", count)
    benchmark = open_protocol("gopro7", full_rate)
    loaded.clear()
    seen = []
    score(benchmark, lambda y: seen.append(len(loaded)) or repeat(y))
    assert seen == [7, 14, 21, 28]


# gopro1111


@pytest.mark.parametrize("folder", [None, "blur", "blur_gamma"])
def test_gopro1111_scores_the_middle_frame_of_stored_images(paired, folder):
    report = score(open_protocol("gopro1111", paired, blur_folder=folder), darker)

    wanted = []
    for scene in SCENES:
        top = paired / "test" / scene
        for number in range(1, 4):
            name = f"{number:06d}.png"
            wanted.append((pixels(top / (folder or "blur") / name), pixels(top / "sharp" / name)))
    assert [row.window for row in report.rows[:2]] == [
        f"{SCENES[0]}/000001",
        f"{SCENES[0]}/000002",
    ]
    for row, (blurry, truth) in zip(report.rows, wanted, strict=True):
        assert middle(row.score) == pytest.approx(reference(0.85 * blurry, truth), abs=1e-4)
        assert middle(row.blurry) == pytest.approx(reference(blurry, truth), abs=1e-4)


def test_gopro1111_scores_no_other_frame(paired):
    benchmark = open_protocol("gopro1111", paired)

    def odd(y):
        frames = darker(y)
        frames[[0, 1, 2, 4, 5, 6]] = 0.5
        return frames

    report = score(benchmark, odd)
    wanted = score(benchmark, darker)
    assert [row.score for row in report.rows] == [row.score for row in wanted.rows]
    assert len(report.mean.score.per_frame) == 1


def test_gopro1111_takes_a_single_scene_too(paired):
    for source in (paired / "test" / SCENES[0], paired / "test" / SCENES[0] / "sharp"):
        benchmark = open_protocol("gopro1111", source)
        assert (benchmark.scenes, benchmark.images) == (SCENES[:1], 3)


def test_the_truth_is_infinitely_good_and_json_has_no_infinity(paired):
    truths = [
        media.read_photo(path).pixels
        for scene in SCENES
        for path in sorted((paired / "test" / scene / "sharp").iterdir())
    ]
    answers = iter(truths)
    report = score(open_protocol("gopro1111", paired), lambda y: repeat(next(answers)))
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
        score(open_protocol("gopro1111", paired), extract)


def test_a_pair_of_different_sizes_is_refused(paired):
    path = paired / "test" / SCENES[0] / "sharp" / "000002.png"
    Image.open(path).crop((0, 0, 40, 40)).save(path)
    with pytest.raises(InputError, match=r"GOPR0384_11_00/000002: .* differ in size"):
        score(open_protocol("gopro1111", paired), repeat)


# what is published, and what the data should be


def test_published_figures_are_those_of_table_2():
    figures = {
        protocol.name: {figure.method: figure.psnr for figure in protocol.published}
        for protocol in (protocols._AVERAGED, protocols._STORED)
    }
    assert figures == {
        "gopro7": {"Jin 2018": 32.20, "Nah 2017": 30.52},
        "gopro1111": {"Jin 2018": 26.98, "Nah 2017": 28.48},
    }
    assert tuple(figures) == PROTOCOLS
    assert len(set(protocols.TEST_SCENES)) == 11


def test_what_differs_from_the_paper_is_said(full_rate, paired):
    assert open_protocol("gopro7", full_rate).warnings == (
        "2 scenes, the paper has 11",
        "4 blurry images, the paper has about 1700",
        "frames of 80x60 px, GoPro's data have 1280x720",
        "1 scene that is not of the test set left out",
    )
    assert open_protocol("gopro1111", paired).warnings[:2] == (
        "2 scenes, the paper has 11",
        "6 blurry images, the paper has 1111",
    )


def test_training_scenes_alone_are_scored_with_a_warning(full_rate):
    benchmark = open_protocol("gopro7", full_rate / "train")
    assert benchmark.scenes == (TRAINING,)
    assert "none of these scenes is of the test set" in benchmark.warnings


@pytest.mark.parametrize(("images", "warned"), [(22, False), (21, False), (20, True), (25, True)])
def test_a_whole_data_set_gives_no_warning(tmp_path, monkeypatch, images, warned):
    for seed, scene in enumerate(protocols.TEST_SCENES):
        write_frames(tmp_path / scene, seed, 14)
    monkeypatch.setattr(protocols, "FRAME_SIZE", SIZE)
    monkeypatch.setattr(
        protocols, "_AVERAGED", dataclasses.replace(protocols._AVERAGED, images=images)
    )
    found = open_protocol("gopro7", tmp_path).warnings
    expected = f"22 blurry images, the paper has about {images}"
    assert found == ((expected,) if warned else ())


def test_what_the_paper_leaves_open_follows_the_options(full_rate, paired):
    for gamma, said in ((None, "as stored"), (2.2, "gamma 2.2"), ("srgb", "sRGB curve")):
        benchmark = open_protocol("gopro7", full_rate, gamma=gamma)
        assert said in benchmark.choices["camera response of the average"]
        assert benchmark.settings["gamma"] == (1.0 if gamma is None else gamma)
        assert "bicubic" in benchmark.choices["filter of the downscaling"]
    for folder, said in (("blur", "as stored"), ("blur_gamma", "gamma 2.2")):
        choices = open_protocol("gopro1111", paired, blur_folder=folder).choices
        assert choices["which stored blurry images"].startswith(f"{folder}, ")
        assert said in choices["which stored blurry images"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gopro8", {}, "gopro7 or gopro1111"),
        ("gopro7", {"blur_folder": "blur"}, "no blur folder"),
        ("gopro7", {"gamma": -1.0}, "gamma"),
        ("gopro1111", {"gamma": 2.2}, "blur or blur_gamma"),
        ("gopro1111", {"blur_folder": "sharp"}, "blur or blur_gamma"),
    ],
)
def test_options_that_a_protocol_does_not_have_are_refused(tmp_path, name, options, message):
    with pytest.raises(OptionError, match=message):
        open_protocol(name, tmp_path, **options)


# what is not the data set


def test_gopro7_refuses_frames_that_are_too_far_apart(paired):
    with pytest.raises(InputError, match=r"sharp: sharp/ of GOPRO_Large .* from GOPRO_Large_all"):
        open_protocol("gopro7", paired)


def test_gopro7_refuses_what_is_no_scene(full_rate, tmp_path):
    write_frames(tmp_path / "holiday")
    with pytest.raises(InputError, match=r"holiday: folder of frames, not .* GOPRO_Large_all"):
        open_protocol("gopro7", tmp_path / "holiday")
    write_windows([tmp_path / "holiday"], tmp_path / "made", SynthOptions())
    with pytest.raises(InputError, match="windows made earlier"):
        open_protocol("gopro7", tmp_path / "made")
    write_frames(full_rate / "test" / "extra")
    with pytest.raises(InputError, match="extra: folder of frames"):
        open_protocol("gopro7", full_rate)
    with pytest.raises(InputError, match="nowhere: no such"):
        open_protocol("gopro7", tmp_path / "nowhere")


def test_gopro7_refuses_a_scene_that_is_too_short_before_it_starts(full_rate):
    write_frames(full_rate / "test" / "GOPR0881_11_01", count=6)
    with pytest.raises(InputError, match="GOPR0881_11_01: 6 frames, a window needs 7"):
        open_protocol("gopro7", full_rate)


def test_a_scene_counts_once(full_rate):
    write_frames(full_rate / "copy" / SCENES[0])
    with pytest.raises(InputError, match="GOPR0384_11_00 is there more than once"):
        open_protocol("gopro7", full_rate)


def test_gopro1111_refuses_data_without_stored_blur(full_rate):
    with pytest.raises(InputError, match=r"GOPRO_Large_all, not a scene of GOPRO_Large; .*sharp"):
        open_protocol("gopro1111", full_rate)


def test_gopro1111_refuses_missing_images(paired):
    scene = paired / "test" / SCENES[1]
    (scene / "sharp" / "000003.png").unlink()
    with pytest.raises(InputError, match="not in both blur and sharp: 000003"):
        open_protocol("gopro1111", paired)
    for path in (scene / "blur_gamma").iterdir():
        path.unlink()
    (scene / "blur_gamma").rmdir()
    with pytest.raises(InputError, match="GOPR0854_11_00: no folder blur_gamma"):
        open_protocol("gopro1111", paired, blur_folder="blur_gamma")


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


def test_the_command_prints_ours_beside_the_published_figures(full_rate, tiny):
    result = run(full_rate, "--protocol", "gopro7")

    assert result.exit_code == 0
    text = result.stdout
    assert "Table 2, first column" in text
    assert "Model direct (weights direct), 4 images of 2 scenes" in text
    (jin,) = (line for line in text.splitlines() if "Jin 2018, published" in line)
    (nah,) = (line for line in text.splitlines() if "Nah 2017, published" in line)
    assert "32.20" in jin
    assert "30.52" in nah
    windows = [pair for s in SCENES for pair in windows_of(full_rate / "test" / s, 1.0)]
    mean = np.mean([reference(*pair)[0] for pair in windows])
    (ours,) = (
        line for line in text.splitlines() if "direct (weights direct)" in line and "│" in line
    )
    assert f"{mean:.2f}" in ours
    for words in (*SCENES, "[dB]", "pPSNR", "averaged as stored (gamma 1)", "bicubic, antialiased"):
        assert words in text
    assert "inf" not in ours
    assert "nan" not in text
    lines = result.stderr.splitlines()
    assert lines[:2] == [
        "Warning: 2 scenes, the paper has 11",
        "Warning: 4 blurry images, the paper has about 1700",
    ]
    assert [line.split(":")[0] for line in lines if line.endswith(" dB")] == [
        f"{scene}/{number:06d}" for scene in SCENES for number in (1, 2)
    ]


def test_the_command_scores_stored_images(paired, tiny):
    result = run(paired, "--protocol", "gopro1111", "--blur-folder", "blur_gamma", "-q")

    assert result.exit_code == 0
    for words in ("last column", "26.98", "28.48", "blur_gamma, averaged in light (gamma 2.2)"):
        assert words in result.stdout
    assert "pPSNR" not in result.stdout  # there is no truth for the other frames
    assert " dB" not in result.stderr


@pytest.mark.parametrize("words", [(), ("--gamma", "2.2"), ("--gamma", "srgb")])
def test_gopro7_as_json(full_rate, tiny, words):
    result = run(full_rate / "test", "--protocol", "gopro7", "--json", "-q", *words)

    assert result.exit_code == 0
    whole = json.loads(result.stdout)
    response = {"": 1.0, "2.2": 2.2, "srgb": "srgb"}[words[1] if words else ""]
    assert (whole["model"], whole["source"]) == ("direct", str(full_rate / "test"))
    assert whole["protocol"]["name"] == "gopro7"
    assert whole["protocol"]["settings"] == {
        "frames": 7, "stride": 7, "scale": 0.45, "filter": "bicubic, antialiased",
        "gamma": response, "noise": 0.0,
    }  # fmt: skip
    assert whole["protocol"]["scenes"] == list(SCENES)
    assert whole["protocol"]["images"] == 4
    assert len(whole["protocol"]["warnings"]) == 3
    assert "camera response of the average" in whole["protocol"]["left_open_by_the_paper"]
    assert whole["published"] == [
        {"method": "Jin 2018", "psnr": 32.20},
        {"method": "Nah 2017", "psnr": 30.52},
    ]
    assert whole["gamma"] == response
    mean = whole["mean"]
    assert mean["windows"] == 4
    # an untrained network is the blurry photo
    assert mean["score"]["per_frame"] == pytest.approx(mean["blurry"]["per_frame"], abs=1e-3)


def test_gopro1111_as_json(paired, tiny):
    whole = json.loads(run(paired, "--protocol", "gopro1111", "--json", "-q").stdout)

    assert whole["protocol"]["settings"] == {"blur_folder": "blur", "scale": 1.0}
    assert whole["published"][0] == {"method": "Jin 2018", "psnr": 26.98}
    assert list(whole["clips"]) == list(SCENES)
    rows = whole["rows"]
    assert len(rows) == 6
    top = paired / "test" / SCENES[0]
    wanted = reference(pixels(top / "blur/000001.png"), pixels(top / "sharp/000001.png"))
    assert (rows[0]["blurry"]["psnr"], rows[0]["blurry"]["ssim"]) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("full", "--protocol", "gopro7", "--clip-scale", "0.45"), 2, "--clip-scale does not go"),
        (("full", "--protocol", "gopro7", "--stride", "1"), 2, "--stride does not go"),
        (("full", "--protocol", "gopro7", "--blur-folder", "blur"), 2, "no blur folder"),
        (("paired", "--protocol", "gopro1111", "--gamma", "2.2"), 2, "blur or blur_gamma"),
        (("full", "--blur-folder", "blur"), 2, "--blur-folder does not go with windows alone"),
        (("full", "--protocol", "gopro9"), 2, "gopro9"),
        (("paired", "--protocol", "gopro7"), 3, "GOPRO_Large_all"),
        (("full", "--protocol", "gopro1111"), 3, "not a scene of GOPRO_Large"),
        (("nowhere", "--protocol", "gopro7"), 3, "nowhere"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_code(full_rate, paired, tiny, words, code, message):
    source = {"full": full_rate, "paired": paired}.get(words[0], Path(words[0]))
    result = run(source, *words[1:])
    assert result.exit_code == code
    assert result.stdout == ""
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("Error: "))
    assert message in line


def test_evaluation_without_a_protocol_is_what_it_was(full_rate, tiny):
    whole = json.loads(run(full_rate / "test", "--json", "-q").stdout)
    assert whole["gamma"] == 2.2
    assert whole["windows"] == 4
    assert "protocol" not in whole

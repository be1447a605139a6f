import json
import math

import pytest
import torch

from blurvid import media
from blurvid.errors import InputError, OptionError
from blurvid.exposure import average_frames
from blurvid.lab.data import Window, write_windows
from blurvid.lab.evaluate import evaluate, windows_from
from blurvid.lab.metrics import score_sequence
from blurvid.lab.options import SynthOptions

CLIPS = ("go_1", "go_2", "other")


def window(clip, seed, count=7):
    generator = torch.Generator().manual_seed(seed)
    sharp = torch.rand(count, 3, 16, 20, generator=generator)
    blurry = average_frames(sharp, 2.2)
    record = {"window": f"{clip}/000001", "clip": clip, "gamma": 2.2, "frames": [0] * count}
    return Window(record, lambda: blurry, lambda: sharp)


@pytest.fixture
def windows():
    return [window(clip, seed) for seed, clip in enumerate(CLIPS)]


def oracle(windows, turned=False):
    """Extractor that knows the truth."""
    answers = iter([w.sharp() for w in windows])
    return lambda y: next(answers).flip(0) if turned else next(answers)


def repeat(y):
    return y.expand(7, *y.shape)


def test_the_truth_scores_infinitely_and_reblurs_to_the_input(windows):
    report = evaluate(oracle(windows), windows)
    for row in report.rows:
        assert row.score.psnr == row.score.ppsnr == math.inf
        assert row.reblur > 45
        assert not row.score.reversed
    assert report.mean.score.reversed == 0


def test_the_truth_backwards_is_right_too(windows):
    report = evaluate(oracle(windows, turned=True), windows)
    assert report.mean.score.ppsnr == math.inf
    assert report.mean.score.reversed == 1
    assert all(row.reblur > 45 for row in report.rows)


def test_reblur_in_another_response_is_worse(windows):
    report = evaluate(oracle(windows), windows, 1.0)
    assert report.gamma == 1.0
    assert all(row.reblur < 45 for row in report.rows)


def test_baselines_are_the_blurry_image_and_the_middle_frame(windows):
    report = evaluate(lambda y: torch.stack([y * (i == 3) for i in range(7)]), windows)
    y, truth = windows[0].blurry(), windows[0].sharp()
    row = report.rows[0]

    assert row.blurry == score_sequence(y.expand_as(truth), truth)
    assert row.middle == row.blurry


def test_frames_out_of_range_are_clamped(windows):
    answers = iter([w.sharp() for w in windows])
    report = evaluate(lambda y: torch.where(next(answers) > 0.5, 5.0, -5.0), windows)
    answers = iter([w.sharp() for w in windows])
    clamped = evaluate(lambda y: torch.where(next(answers) > 0.5, 1.0, 0.0), windows)
    assert report == clamped


def test_groups_and_means(windows):
    seen = []
    report = evaluate(repeat, iter(windows), on_window=seen.append)

    assert tuple(seen) == report.rows
    assert {name: s.windows for name, s in report.groups.items()} == {"go": 2, "other": 1}
    first, second, third = (row.score.psnr for row in report.rows)
    assert report.groups["go"].score.psnr == pytest.approx((first + second) / 2)
    assert report.mean.score.psnr == pytest.approx((first + second + third) / 3)
    curve = report.mean.score.per_frame
    assert sum(curve) / 7 == pytest.approx(report.mean.score.ppsnr)
    assert report.mean.score == report.mean.blurry == report.mean.middle


def test_json_holds_everything_and_no_infinity(windows):
    report = evaluate(oracle(windows), windows)
    text = json.dumps(report.to_json(), allow_nan=False)
    whole = json.loads(text)

    assert (whole["gamma"], whole["windows"], list(whole["clips"])) == (2.2, 3, list(CLIPS))
    assert whole["mean"]["score"]["ppsnr"] is None
    assert len(whole["rows"][0]["blurry"]["per_frame"]) == 7
    assert whole["groups"]["go"]["windows"] == 2


def test_windows_without_seven_frames_are_refused_by_name(windows):
    with pytest.raises(InputError, match=r"long_1/000001 \(9\)"):
        evaluate(repeat, [*windows, window("long_1", 0, count=9)])


@pytest.mark.parametrize(
    ("extract", "message"),
    [
        (lambda y: y, "shape"),
        (lambda y: repeat(y)[..., 1:], "shape"),
        (lambda y: repeat(y) / 0, "finite"),
    ],
)
def test_broken_frames_are_refused(windows, extract, message):
    with pytest.raises(InputError, match=message):
        evaluate(extract, windows)


def test_no_windows_are_refused():
    with pytest.raises(InputError, match="no windows"):
        evaluate(repeat, [])


@pytest.fixture
def clip(tmp_path):
    folder = tmp_path / "street_1"
    folder.mkdir()
    image = torch.rand(3, 24, 40, generator=torch.Generator().manual_seed(0))
    for index in range(14):
        media.write_still(image.roll(index, dims=2), folder / f"{index}.png")
    return folder


def test_windows_made_on_the_fly_score_as_the_written_ones(clip, tmp_path):
    write_windows([clip], tmp_path / "out", SynthOptions())
    written = evaluate(repeat, windows_from(tmp_path / "out"))
    made = evaluate(repeat, windows_from(clip))

    assert [row.window for row in made.rows] == ["street_1/000001", "street_1/000002"]
    assert [row.window for row in written.rows] == [row.window for row in made.rows]
    assert written.mean.score.psnr == pytest.approx(made.mean.score.psnr, abs=0.02)
    assert list(made.groups) == ["street"]


def test_windows_from_refuses_other_counts(clip, tmp_path):
    with pytest.raises(OptionError, match="7 frames, not 5"):
        windows_from(clip, SynthOptions(frames=5))
    write_windows([clip], tmp_path / "out", SynthOptions(frames=5))
    with pytest.raises(InputError, match=r"street_1/000001 \(5\)"):
        windows_from(tmp_path / "out")
    with pytest.raises(InputError, match="missing"):
        windows_from(tmp_path / "missing")

"""The motion model: weight sets, and the way of a photo through it, by the command."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import write_video
from helpers import invoke
from PIL import Image
from test_trajectory import constant, texture
from torch.testing import assert_close

from blurvid import media, models, weights
from blurvid.config import DirectSpec, RunOptions
from blurvid.errors import BlurvidError, DeviceError, InputError, OptionError, WeightsError
from blurvid.exposure import TIMES, sample, to_image, to_light
from blurvid.networks import DirectNet
from blurvid.networks.motion import PIXELS, MotionNet, MotionSpec
from blurvid.networks.restore import RestoreNet, RestoreSpec
from blurvid.pipeline import extract, extractor
from blurvid.recipe import Way
from blurvid.trajectory import Course, Fit, Motion, Proposal, Restored, reblur
from blurvid.weights import sets, store

HEIGHT, WIDTH = 72, 96
WAY = 4.0
"""From the first frame to the last [px]: everything moves to the left, by -2 a."""
MOTION = MotionSpec(channels=(4, 4, 4, 4, 4), blocks=(1, 1, 1, 1), reach=2.0)
RESTORE = RestoreSpec(channels=(4, 4), blocks=(1, 1), carried=4, kernel=3)
DIRECT = DirectSpec(factor=2, channels=(4, 8), blocks=(1, 1))


def tiny():
    """An untrained model: m is the photo, frames are plain warps, all moves alike, unsurely."""
    motion, restore = MotionNet(MOTION), RestoreNet(RESTORE)
    torch.nn.init.zeros_(motion.head.weight)
    motion.head.bias.data = torch.tensor([0.08 * WAY / 2, 0, 0, 0, 1])
    return models.MotionModel(models.middle_of(DirectNet(DIRECT)), motion, restore).eval()


def save(model, directory, **extra):
    return store.save(
        model, directory, name=directory.name, recipe={}, data="noise", scores={},
        licence="MIT", extra=extra,
    )  # fmt: skip


@pytest.fixture
def released(tmp_path, surroundings, monkeypatch):
    """The sets motion, direct and maxim (of which the last is none), in an empty folder."""
    save(tiny(), tmp_path / "released" / "motion", middle="direct")
    save(DirectNet(DIRECT), tmp_path / "released" / "direct")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "released"


@pytest.fixture
def pair(released):
    """A photo of a texture that moves, and the middle frame, as files; the latter as a tensor."""
    picture = texture(HEIGHT, WIDTH)
    y = reblur(picture, Motion.straight(constant(WAY / 2, 0.0, HEIGHT, WIDTH)))
    for name, image in (("photo.png", y), ("sharp.png", picture)):
        Image.fromarray(media.to_uint8(image)[0]).save(name)
    return picture


def frames_of(folder, stem="photo"):
    count = len(list(folder.glob(f"{stem}_*.png")))
    files = [folder / f"{stem}_{i}.png" for i in range(1, count + 1)]
    return torch.stack([torch.from_numpy(np.array(Image.open(f))) for f in files]) / 255.0


# Weight sets


def test_a_set_comes_back_as_it_was(released):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = tiny()
        for parameter in (*model.motion.parameters(), *model.restoration.parameters()):
            torch.nn.init.normal_(parameter, std=0.1)
    save(model, released / "other", middle="direct")

    found = weights.find("other")
    loaded = store.load(found)

    assert loaded.spec == model.spec == store.spec_of(found)
    for part, module in models.parts(model).items():
        for name, value in models.parts(loaded)[part].state_dict().items():
            assert_close(value, module.state_dict()[name], atol=1e-3, rtol=1e-3)
    assert_close(loaded.motion.kernels, model.motion.kernels)
    assert isinstance(loaded.middle, models.middle_of(DirectNet(DIRECT)).__class__)


def test_motion_is_the_default_where_its_weights_are_there(released):
    assert weights.find().model == "motion"
    assert weights.best_middle().model == "motion"
    (released / "motion").rename(released / ".gone")
    assert weights.find().model == "direct"


def change(directory, **changes):
    path = directory / "set.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"middle": None}, "middle must be the name"),
        ({"middle": "../direct"}, "middle must be the name"),
        ({"middle": "motion"}, "cannot be by motion"),
        ({"middle": "nowhere"}, "nowhere"),
        ({"spec": {"depth": 1}}, "motion, restore"),
        ({"spec": {"motion": {}, "restore": {}}}, "does not fit"),
        (
            {"spec": {"motion": {"channels": [4] * 4, "blocks": [1] * 4, "reach": 2.0}} | {
                "restore": {}}},
            "5 levels",
        ),
        (
            {"spec": {"motion": {"channels": [4] * 5, "blocks": [1] * 4, "reach": 1e9}} | {
                "restore": {}}},
            "reach must be",
        ),
    ],
)  # fmt: skip
def test_sets_that_are_refused(released, changes, message):
    change(released / "motion", **changes)

    with pytest.raises(WeightsError, match=message):
        store.load(weights.find("motion"))


def test_the_released_set_is_whole(monkeypatch):
    monkeypatch.delenv("BLURVID_WEIGHTS", raising=False)
    found = sets.default("motion")

    found.verify()
    assert found.middle == "maxim"
    assert store.spec_of(found) == models.MotionModelSpec()


# The way of a photo


def test_frames_follow_the_motion(pair, tmp_path):
    words = (
        "photo.png",
        "-o",
        "out",
        "--format",
        "png",
        "--middle",
        "sharp.png",
        "--flow",
        "flow.npy",
        "--json",
    )
    result = invoke("extract", *words)

    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert (record["model"], record["weights"], record["middle"]) == (
        "motion", "motion", "sharp.png",
    )  # fmt: skip
    flow = np.load("flow.npy")[8:-8, 8:-8]
    found = frames_of(tmp_path / "here" / "out")
    way = constant(2.0, 0.0, HEIGHT, WIDTH)
    truth = [to_image(sample(to_light(pair), t * way, "bicubic"))[0] for t in TIMES]
    truth = torch.stack(truth).permute(0, 2, 3, 1)
    if record["motion"]["dx"] > 0:
        found, flow = found.flip(0), -flow
    assert np.abs(flow - [-WAY, 0]).mean() < 0.5
    inner = (slice(None), slice(8, -8), slice(8, -8))
    assert float((found - truth)[inner].abs().mean()) < 0.02
    y = torch.from_numpy(np.array(Image.open("photo.png"))) / 255
    assert float((y - truth)[inner].abs().mean()) > 0.03


def test_a_middle_frame_must_have_the_size_of_the_photo(pair):
    Image.new("RGB", (20, 20)).save("small.png")
    with pytest.raises(InputError, match=r"small\.png: the middle frame has 20x20 px, the photo"):
        extract("photo.png", middle="small.png")


def test_other_numbers_of_frames_are_rendered(pair):
    clip = extract("photo.png", middle="sharp.png")

    many = clip.resample(13)

    assert len(many.tensor) == 13
    assert_close(many.tensor[::2], clip.tensor, atol=1e-5, rtol=0)
    assert_close(many.resample(7).tensor, clip.tensor)


def test_frames_of_a_longer_time_are_even(pair):
    clip = extract("photo.png", middle="sharp.png")

    longer = clip.spread(2.0)

    assert_close(longer.tensor[[0, -1]], clip.resample(7, beyond=3).tensor[[0, -1]])
    assert_close(longer.tensor[3], clip.tensor[3])
    assert torch.equal(longer.resample(7).tensor, clip.tensor)
    assert longer.reblur_psnr == clip.reblur_psnr
    with pytest.raises(OptionError, match="of the motion model"):
        extract("photo.png", model="direct").spread(2.0)


def test_frames_beyond_go_on(pair):
    clip = extract("photo.png", middle="sharp.png", beyond=1)

    wide = clip.fitted.render([-4 / 3, 4 / 3], torch.empty(2, 3, HEIGHT, WIDTH))
    assert len(clip.tensor) == 9
    assert_close(clip.tensor[[0, -1]], wide)
    assert_close(clip.seven, clip.tensor[1:-1])
    with pytest.raises(OptionError, match="choose it when extracting"):
        clip.face("left")
    assert torch.equal(clip.resample(7).tensor, clip.seven)


def test_tiles_reach_as_far_as_things_go_beyond(pair, monkeypatch):
    model, far = tiny(), Motion.straight(constant(30.0, 0.0, 64, 256))
    picture = Restored(texture(64, 256), torch.zeros(1, RESTORE.carried, 32, 128))
    times, frames = [-7 / 3, 1.0, 2.0], []
    for pixels in (2**20, 1):
        monkeypatch.setattr("blurvid.models.motion.WHOLE_PIXELS", pixels)
        monkeypatch.setattr("blurvid.models.motion.TILE_SIDE", 64)
        monkeypatch.setattr("blurvid.models.motion.MARGIN", 8)
        frames.append(torch.empty(3, 3, 64, 256))
        model.render(Fit(picture, far, 1), times, frames[-1])
    assert_close(*frames, atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (1, 1)])
def test_a_line_of_pixels_can_move(pair, size):
    y = texture(40, 40)[0, :, : size[0], : size[1]]
    way = (Way(4.0, 0.0),) if size[1] > 1 else ()
    assert extract(y, motion=way).tensor.isfinite().all()


@pytest.mark.parametrize("way", [0.3, 1.2])
def test_what_counts_as_moving_does_not_depend_on_the_size(pair, way):
    clip = extract("photo.png", middle="sharp.png")
    found = []
    for width in (64, 2560):
        fit = Fit(clip.fitted.fit.restored, Motion.straight(constant(-way / 2, 0.0, 32, width)), 1)
        found.append(float(dataclasses.replace(clip.fitted, fit=fit).field().vectors[0].mean()))
    assert found[0] == pytest.approx(found[1], abs=0.05)


@pytest.mark.parametrize(("option", "count"), [("--frames=13", 13), ("--beyond=2", 11)])
def test_every_output_has_as_many(pair, option, count):
    def run(*words):
        return invoke("extract", "photo.png", "--middle=sharp.png", option, *words)

    names = [f"f/photo_{number:02d}.png" for number in range(1, count + 1)]
    record = json.loads(run("-o", "f", "--format=png", "--trust=m.png", "--json").stdout)
    assert record["outputs"] == [*names, "m.png"] and record["frames"] == count
    for kind in ("gif", "webp", "mp4", "html"):
        once = ["--seconds=0"] if kind == "mp4" else []
        assert run("-o", f"a.{kind}", "--once", *once).exit_code == 0
    assert media.video_info(Path("a.mp4")).timing.count == count
    text = Path("a.html").read_text()
    assert text.count('class="frame"') == count and option.replace("=", " ") in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--frames=50",), "50"),
        (("--beyond=5",), "5"),
        (("--frames=13", "--beyond=1"), "go with 7 within, not with 13"),
        (("--frames=13", "--fast"), "the direct model gives 7 frames"),
        (("--beyond=1", "--fast"), "the direct model gives 7 frames"),
    ],
)
def test_numbers_that_cannot_be(pair, words, message):
    result = invoke("extract", "photo.png", "-o", "z.mp4", *words)
    assert result.exit_code == 2 and message in result.stderr
    assert not Path("z.mp4").exists()


def test_a_limit_of_a_gpu_is_none_of_the_frames_on_the_host(pair, monkeypatch):
    clip = extract("photo.png", middle="sharp.png")
    asked = []
    monkeypatch.setattr("blurvid.runtime.room", lambda device, most: asked.append(most) or 1 << 30)
    for limit in (123, None):
        assert len(dataclasses.replace(clip, host_memory=limit).resample(13).tensor) == 13
    assert asked == [123, None]


def test_flow_leads_from_the_first_frame_to_the_last(pair):
    clip = extract("photo.png", middle="sharp.png")

    there, back = clip.flow(), clip.flow(reverse=True)

    assert np.abs(there + back)[8:-8, 8:-8].max() < 0.2
    assert abs(clip.motion().dx - WAY) < 0.5  # to the right, although the fit says otherwise


@pytest.mark.parametrize("way", ["right", "left"])
def test_direction_turns_the_fit_too(pair, way):
    sign = 1 if way == "right" else -1
    result = invoke("extract", "photo.png", "--middle", "sharp.png", "--direction", way,
                    "--flow", "flow.npy", "-o", "out", "--format", "png",
                    "--frames", 3)  # fmt: skip

    assert result.exit_code == 0, result.stderr
    assert sign * np.load("flow.npy")[..., 0].mean() > 0.8 * WAY


def test_facing_the_other_way_reverses_all_that_is_rendered(pair):
    clip = extract("photo.png", middle="sharp.png")
    other = clip.face("left" if clip.motion().dx > 0 else "right")

    assert_close(other.tensor, clip.tensor.flip(0))
    assert_close(other.resample(5).tensor, clip.resample(5).tensor.flip(0))
    assert np.abs(other.flow() - clip.flow(reverse=True)).max() < 1e-4


def test_flipping_a_region_turns_its_flow_and_its_frames(pair):
    clip = extract("photo.png", middle="sharp.png")
    flipped = clip.flip("0,0,48,72")

    flow, before = flipped.flow(), clip.flow()
    assert np.sign(flow[10:-10, 10:40, 0]).mean() == -np.sign(before[10:-10, 10:40, 0]).mean()
    assert_close(torch.from_numpy(flow[:, 50:]), torch.from_numpy(before[:, 50:]))
    many = flipped.resample(3).tensor
    assert_close(many[0][..., 10:-10, 8:30], clip.tensor[-1][..., 10:-10, 8:30])
    assert_close(many[0][..., 10:-10, 70:], clip.tensor[0][..., 10:-10, 70:])


def test_a_sharp_photo_comes_back_as_it_is(pair, tmp_path):
    result = invoke("extract", "sharp.png", "-o", "out", "--format", "png")

    assert result.exit_code == 0, result.stderr
    assert result.stderr == "sharp.png: no visible gain: nothing moves in it\n"
    found = frames_of(tmp_path / "here" / "out", "sharp")
    assert_close(found, torch.from_numpy(np.array(Image.open("sharp.png"))).expand_as(found) / 255)


def test_fast_is_the_direct_model(pair):
    result = invoke("extract", "photo.png", "-o", "out", "--format", "png", "--fast", "--json")

    assert json.loads(result.stdout)["model"] == "direct"
    result = invoke(
        "extract", "photo.png", "-o", "out", "--format", "png", "--fast", "--model", "cascade"
    )
    assert result.exit_code == 2
    assert "--fast is --model direct" in result.stderr


def test_deblur_writes_frame_four(pair):
    result = invoke("deblur", "photo.png", "-o", "still.png", "--json")
    clip = extract("photo.png")

    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["model"] == "motion"
    found = np.array(Image.open("still.png"))
    assert np.array_equal(found, clip.frames[3])


def test_fast_deblurring_goes_with_no_middle(pair):
    result = invoke("deblur", "photo.png", "--fast", "--middle", "direct")

    assert result.exit_code == 2
    assert "--fast is --middle maxim" in result.stderr


def test_the_middle_of_another_model(pair):
    assert extract("photo.png", middle="direct").recipe.middle.name == "direct"
    with pytest.raises(OptionError, match="its own"):
        extract("photo.png", middle="motion")


def test_hints_reach_the_fit(pair):
    words = (
        "photo.png",
        "-o",
        "out",
        "--format",
        "png",
        "--middle",
        "sharp.png",
        "--overwrite",
        "--flow",
        "f.npy",
    )
    for way in (WAY, -WAY):  # either order of time explains the photo; the hint decides
        result = invoke("extract", *words, "--motion", f"{way},0", "--still", "0,0,50%,100%")

        assert result.exit_code == 0, result.stderr
        flow = np.load("f.npy")
        assert abs(flow[8:-8, 60:-8, 0].mean() - way) < 0.5
        assert not flow[:, :40].any()


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"motion": "10,0"}, "list of blurvid.Way"),
        ({"motion": [(10, 0)]}, "list of blurvid.Way"),
        ({"still": "0,0,5,5"}, "lists of regions"),
        ({"flips": "1,2"}, "lists of regions"),
    ],
)
def test_hints_of_another_kind_are_refused(pair, choices, message):
    with pytest.raises(OptionError, match=message):
        extract("photo.png", **choices)


@pytest.mark.parametrize("region", [(), ("--region", "8,8,80,56")])
def test_things_in_a_photo_are_told_of_apart(pair, region):
    hints = ("--motion", f"{WAY},0", "--motion", f"{-WAY},0@50%,0,50%,100%")
    words = ("photo.png", "-o", "out", "--format", "png", "--flow", "f.npy")

    result = invoke("extract", *words, *hints, *region)

    assert result.exit_code == 0, result.stderr
    flow = np.load("f.npy")
    middle = flow.shape[1] // 2
    assert flow[8:-8, 4 : middle - 12, 0].mean() > WAY / 3
    assert flow[8:-8, middle + 12 : -4, 0].mean() < -WAY / 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--motion", "3"), "is not DX,DY"),
        (("--motion", "3,1@10,10"), "a rectangle or a mask"),
        (("--motion", "nan,1"), "is not DX,DY"),
        (("--still", "10,10"), "a rectangle or a mask"),
        (("--motion", "3,1", "--fast"), "for the motion model"),
        (("--flow", "-"), "go to files"),
    ],
)
def test_hints_that_are_refused(pair, words, message):
    result = invoke("extract", "photo.png", "-o", "out", "--format", "png", *words)

    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("way", ["1e9,0", "3,-72"])
def test_a_way_out_of_the_photo_is_an_input_error(pair, way):
    result = invoke("extract", "photo.png", "-o", "out", "--format", "png", f"--motion={way}")

    assert result.exit_code == 3
    assert "px in 96x72 px" in result.stderr


def test_a_still_region_outside_of_the_photo_is_an_input_error(pair):
    result = invoke(
        "extract", "photo.png", "-o", "out", "--format", "png", "--still", "500,500,9,9"
    )

    assert result.exit_code == 3
    assert "outside of the photo" in result.stderr


def test_options_that_change_nothing_are_said_once(pair):
    result = invoke("extract", "photo.png", "-o", "out", "--format", "png", "--scale", 0.5)

    assert result.exit_code == 0
    assert result.stderr.count("scale changes nothing") == 1


def test_passes_are_of_the_middle_network(pair):
    seen = []
    with extractor() as ready:
        fill = ready.network.middle.fill
        ready.network.middle.fill = lambda *words: seen.append(words) or fill(*words)
        ready("photo.png")
        once = len(seen)
    with extractor(passes=4) as ready:
        fill = ready.network.middle.fill
        ready.network.middle.fill = lambda *words: seen.append(words) or fill(*words)
        ready("photo.png")

    assert len(seen) - once == 4 * once > 0


def test_too_little_memory_is_said(pair):
    run = RunOptions(max_memory=1 << 20)

    with pytest.raises(DeviceError, match="--fast"), extractor(run=run) as ready:
        ready("photo.png")


def test_too_little_memory_is_said_before_the_photo_is_read(pair, monkeypatch):
    monkeypatch.setattr(media, "read_photo", None)
    result = invoke("extract", "photo.png", "-o", "clip.gif", "--max-memory", "1M")
    assert result.exit_code == 5
    assert "photo.png: 96 x 72 pixels take" in result.stderr and "--region" in result.stderr


def test_stages_are_told(pair):
    told = []
    with extractor() as ready:
        ready.on_progress = lambda stage, share: told.append((stage, share))
        ready("photo.png")

    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert 0 <= shares[0] < shares[-1] <= 1
    assert {"middle frame", "motion", "picture", "frames"} <= {stage for stage, _ in told}


def test_a_player_says_how_it_is_repeated(pair):
    clip = extract("photo.png", middle="sharp.png")

    (page,) = clip.save("clip.html")

    assert "--model motion --weights motion --middle sharp.png" in page.read_text()


def test_hints_are_for_the_motion_model(pair):
    with pytest.raises(OptionError, match="motion model"):
        extract("photo.png", model="direct", motion=(Way(1.0, 0.0),))


def test_a_bar_is_shown_on_terminals_only(pair, monkeypatch):
    monkeypatch.setattr("blurvid.cli.photos.PATIENCE", 0.0)
    words = ("extract", "photo.png", "-o", "out", "--format", "png", "--overwrite")
    plain = invoke(*words)
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown, quiet = invoke(*words), invoke(*words, "-q")

    assert plain.stdout == shown.stdout == quiet.stdout
    assert "\x1b[" not in plain.stderr + quiet.stderr
    assert "━" in shown.stderr
    assert any(stage in shown.stderr for stage in ("middle frame", "motion", "picture"))


@pytest.mark.parametrize("part", ["motion.head.bias", "middle.model.head.bias"])
def test_networks_that_overflow_are_a_clean_error(pair, part):
    with extractor() as ready:
        ready.network.get_parameter(part).fill_(torch.nan)

        with pytest.raises(BlurvidError, match="the motion model gave values that are not finite"):
            ready("photo.png")


def course():
    """Of a video in which things go twice as far from picture to picture as in the blur."""
    still = torch.zeros(1, 1, HEIGHT, WIDTH)
    return Course(texture(HEIGHT, WIDTH), constant(-2 * WAY, 0.0, HEIGHT, WIDTH), still)


def test_the_blur_of_a_video_is_seen_by_the_networks(released):
    with extractor() as ready:
        assert ready.sighted(course()) == (0.0, 0.0)  # not for sure
        ready.network.motion.head.bias.data = torch.tensor([WAY / 2 / PIXELS, 0, 0, 0, -2.0])

        length, places = ready.sighted(course())

    assert length == pytest.approx(0.5, abs=0.02) and places > 0.9


@pytest.mark.parametrize("problem", [OverflowError, torch.OutOfMemoryError])
def test_a_look_that_fails_leaves_it_to_the_extraction(released, problem):
    def fail(y):
        raise problem

    with extractor() as ready:
        ready.network.sharpen = fail

        assert ready.sighted(course()) == (0.0, 0.0)


@pytest.mark.parametrize("region", [None, "48,0,48,72"])
def test_expected_motion_decides_the_order_of_time(pair, region):
    a = constant(-WAY / 2, 0.0, HEIGHT // 4, WIDTH // 4) / 4
    a[..., WIDTH // 8 :] *= -1  # to the right, and in the right half to the left

    for sign in (1, -1):
        expected = Proposal(Motion.straight(sign * a), torch.full_like(a[:, :1], 0.1))
        with extractor(region=region) as ready:
            clip = ready.expecting(expected)("photo.png")
        flow = clip.flow()[16:-16, -32:-16, 0]
        assert (sign * flow < -WAY / 2).all()


@pytest.mark.parametrize("words", [(), ("--region=20,20,50,30", "--paste")])
def test_frames_of_a_video_are_told_how_it_moves(released, words):
    model = tiny()  # sees motion to the left for sure, half as long as the way to the next frame
    model.motion.head.bias.data = torch.tensor([WAY / 2 / PIXELS, 0, 0, 0, -2.0])
    save(model, released / "sure", middle="direct")
    a = constant(WAY / 2, 0.0, HEIGHT, WIDTH + 40)
    y = media.to_uint8(reblur(texture(HEIGHT, WIDTH + 40), Motion.straight(a)))[0]
    write_video("in.mp4", [y[:, 20 - x : WIDTH + 20 - x] for x in (0, 8, 16)])  # to the right

    result = invoke("extract", "in.mp4", "-o", "out.mp4", "--weights=sure", "--json", *words)

    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert (record["frames"], record["shots"], record["turned"]) == (3, 1, 0)

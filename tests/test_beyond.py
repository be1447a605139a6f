"""Frames before and after the exposure: how they are made, where they go, how they are scored."""

import json
from pathlib import Path

import pytest
import torch
from helpers import Whole, extractor_of, invoke
from test_frames import HEIGHT, WIDTH, at, clip_of, seven

import blurvid
from blurvid import flow, media, weights
from blurvid.config import CascadeSpec, DirectSpec, OrderOptions, QualityOptions
from blurvid.errors import OptionError
from blurvid.lab.metrics import psnr
from blurvid.models import GuidedCascade, build, middle_of
from blurvid.networks import OUTER_SPEC, FrameNet
from blurvid.pipeline import Runner
from blurvid.recipe import Recipe, Source

CPU = torch.device("cpu")
INNER = (slice(None), slice(6, -6), slice(20, -20))


class Known:
    """A model of no use but to be named."""

    name, count, size_multiple = "direct", 7, 1


def cascade():
    """A small cascade that answers with more than its anchor."""
    torch.manual_seed(4)
    net = build("cascade", CascadeSpec(width=0.03))
    for stage in net.stages.values():
        for part in stage.values() if hasattr(stage, "values") else [stage]:
            torch.nn.init.normal_(part.head[-1].weight, std=0.02)
    return net.eval()


def ready_with(model, **options):
    return extractor_of(model, "w", CPU, torch.float32, **options)


# how they are made


def test_motion_goes_on_on_both_sides():
    frames = seven()
    found, notes = ready_with(Known()).extended(frames, frames.mean(0), 2)
    assert found.shape == (11, 3, HEIGHT, WIDTH) and notes == ()
    assert torch.equal(found[2:-2], frames)
    for i, moment in ((0, -2), (1, -1), (9, 7), (10, 8)):
        last = frames[0 if moment < 0 else -1]
        true = at(moment)
        assert psnr(found[i][INNER], true[INNER]) > psnr(last[INNER], true[INNER]) + 10
    assert found.min() >= 0 and found.max() <= 1


def test_what_motion_does_not_tell_stays():
    # All moves right by 3 px; what comes in on the left is not known.
    image = torch.rand(3, 8, 12, generator=torch.Generator().manual_seed(1))
    back = torch.tensor([-3.0, 0.0]).view(2, 1, 1).expand(2, 8, 12)
    out, pieces = torch.empty_like(image), torch.empty_like(image)
    flow.onward(image, back, [1.0], [out], 1000)
    torch.testing.assert_close(out[..., 3:], image[..., :-3], atol=1e-5, rtol=0)
    assert torch.equal(out[..., :3], image[..., :3])
    flow.onward(image, back, [1.0], [pieces], 1)
    torch.testing.assert_close(pieces, out)


def test_the_network_sees_its_own_frames_again():
    shown = []

    class Stub(FrameNet):
        def forward(self, *images):
            shown.append([round(float(x.mean()), 3) for x in images])
            return 2 * images[-1] - images[-2]

    net = build("cascade", CascadeSpec(width=0.03))
    net.stages["17"] = Stub(OUTER_SPEC.scaled(0.03))
    frames = torch.arange(3, 10).view(7, 1, 1, 1).expand(7, 3, 20, 20) / 20
    y = torch.full((3, 20, 20), 0.3)
    made, _ = ready_with(GuidedCascade(net, middle_of(net))).extended(frames, y, 2)
    assert shown == [
        [0.3, 0.2, 0.15],
        [0.3, 0.15, 0.1],  # what it just gave is the anchor
        [0.3, 0.4, 0.45],
        [0.3, 0.45, 0.5],
    ]
    wanted = torch.arange(1, 12).view(11, 1, 1, 1).expand(11, 3, 20, 20) / 20
    torch.testing.assert_close(made, wanted)


def test_the_cascade_goes_on_as_its_last_stage_would():
    net = cascade()
    y = torch.rand(3, 30, 34, generator=torch.Generator().manual_seed(2))
    ready = ready_with(net, quality=QualityOptions(scale=1.0))
    clip = ready(y)
    more = ready_with(net, quality=QualityOptions(scale=1.0), beyond=1)(y)
    assert more.tensor.shape == (9, 3, 30, 34)
    assert torch.equal(more.tensor[1:-1], clip.tensor)
    padded = [
        torch.nn.functional.pad(x[None], (0, 6, 0, 10), mode="reflect")
        for x in (y, clip.tensor[5], clip.tensor[6])
    ]
    with torch.no_grad():
        next_one = net.stages["17"](*padded)[0, :, :30, :34].clamp(0, 1)
    torch.testing.assert_close(more.tensor[-1], next_one)
    assert more.reblur_psnr == clip.reblur_psnr and more.recipe.beyond == 1
    assert not torch.equal(more.tensor[-1], clip.tensor[-1])


def test_it_works_at_the_scale_of_the_seven_and_within_memory(monkeypatch):
    net = cascade()
    y = torch.rand(3, 80, 120, generator=torch.Generator().manual_seed(3))
    ready = ready_with(net, quality=QualityOptions(scale=0.5), beyond=2)
    seen = []
    again = Runner.frames
    monkeypatch.setattr(Runner, "frames", lambda self, y: seen.append(y.shape) or again(self, y))
    more = ready(y)
    assert more.tensor.shape == (11, 3, 80, 120) and more.scale == 0.5
    assert {shape[-2:] for shape in seen} == {(40, 60)}
    assert [shape[0] for shape in seen] == [3, 9, 9, 9, 9]

    whole = ready_with(net, quality=QualityOptions(scale=1.0))
    clip = whole(y)
    wanted, _ = whole.extended(clip.tensor, y, 1)
    monkeypatch.setattr("blurvid.pipeline.memory.SIDES", ())
    monkeypatch.setattr("blurvid.runtime.room", lambda *_: 3_000_000)  # strips, frames on disk
    torch.testing.assert_close(whole.extended(clip.tensor, y, 1)[0], wanted, atol=2e-4, rtol=0)


def test_they_follow_the_order_that_was_chosen():
    class Moving(Whole):
        name, size_multiple = "moving", 1

        def __call__(self, y):
            return seven()[None]

    plain = ready_with(Moving(), beyond=2)(seven().mean(0))
    turned = ready_with(Moving(), beyond=2, order=OrderOptions("left"))(seven().mean(0))
    torch.testing.assert_close(turned.tensor, plain.tensor.flip(0))
    assert turned.motion() == clip_of(seven()).face("left").motion()
    with pytest.raises(OptionError, match="choose it when extracting"):
        turned.flip("0,0,50%,100%")
    assert torch.equal(turned.resample(7).face("right").tensor, seven())
    assert turned.resample(13).recipe.beyond == 0


def test_numbers_that_cannot_be():
    for count in (-1, 5):
        with pytest.raises(OptionError, match="0 to 4 are possible"):
            ready_with(Known(), beyond=count)
    with pytest.raises(OptionError, match="go with 7 within, not with 13"):
        Recipe(Source("w", "direct"), frames=13, beyond=1)


# with the command


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with weights and a photo."""
    direct = build("direct", DirectSpec(channels=(8, 12), blocks=(1, 1)))
    for name, net in (("w", direct), ("c", cascade())):
        told = {"name": name, "recipe": {}, "data": "none", "licence": "MIT"}
        weights.save(net, tmp_path / name, scores={"seven_frame_psnr": 26.5}, **told)
    media.write_png(torch.rand(3, 20, 24), tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return invoke("extract", "a.png", *words, "--threads=1", "--device=cpu", "-q")


@pytest.mark.parametrize("name", ["w", "c"])
def test_every_output_has_them(here, name):
    words = ("--weights", name, "--middle=auto" if name == "w" else "--middle=own")
    sheet = ["m.png"] if name == "w" else []
    more = [f"--montage={path}" for path in sheet]
    record = json.loads(
        run("-o", "f", "--format=png", "--beyond=2", "--json", *more, *words).stdout
    )
    assert (record["frames"], record["beyond"]) == (11, 2)
    names = [f"a_{n:02d}.png" for n in range(1, 12)]
    assert record["outputs"] == [f"f/{name}" for name in names] + sheet
    run("-o", "s", "--format=png", *words)
    inner = [(here / f"f/a_{n + 2:02d}.png").read_bytes() for n in range(1, 8)]
    assert inner == [(here / f"s/a_{n}.png").read_bytes() for n in range(1, 8)]


def test_none_is_the_default_and_a_player_tells(here):
    run("-o", "s", "--format=png", "--weights=w")
    run("-o", "z", "--format=png", "--beyond=0", "--weights=w")
    assert (here / "z/a_1.png").read_bytes() == (here / "s/a_1.png").read_bytes()
    run("-o", "a.html", "--beyond=1", "--weights=w")
    text = Path("a.html").read_text()
    assert text.count('class="frame"') == 9
    assert "--beyond 1" in text and "--frames" not in text


def test_from_python_and_refusals(here):
    order = OrderOptions(flips=("0,0,50%,100%",))
    clip = blurvid.extract("a.png", weights_name="w", order=order, beyond=1)
    assert clip.frames.shape == (9, 20, 24, 3)
    with pytest.raises(OptionError):
        blurvid.extract("missing.png", weights_name="w", frames=13, beyond=1)
    result = run("-o", "z", "--frames=13", "--beyond=1", "--weights=w")
    assert result.exit_code == 2 and "go with 7 within, not with 13" in result.stderr
    assert run("-o", "z", "--beyond=5", "--weights=w").exit_code == 2
    assert not Path("z").exists()


# how they are scored

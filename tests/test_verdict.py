"""What is said of a photo: whether what moved came back."""

from __future__ import annotations

import pytest
import torch
from helpers import extractor_of, invoke
from PIL import Image
from torch.testing import assert_close

from blurvid import media
from blurvid.flow import Field
from blurvid.pipeline import verdict
from blurvid.pipeline.verdict import judge
from blurvid.trajectory import Motion, reblur
from blurvid.trajectory.sampling import blur

HEIGHT, WIDTH = 48, 64


def texture(seed: int = 0) -> torch.Tensor:
    noise = torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))
    return blur(noise, 1.0)[0]


def moved(picture: torch.Tensor, a: tuple[float, float]) -> tuple[torch.Tensor, Field]:
    """The photo of a picture that moved, and its motion from the first frame to the last."""
    field = torch.tensor(a).view(1, 2, 1, 1).expand(1, 2, HEIGHT, WIDTH).contiguous()
    y = reblur(picture[None], Motion.straight(field))[0]
    return y, Field(-2 * field[0], (HEIGHT, WIDTH))


def test_what_came_back_along_the_motion_is_gained():
    picture = texture()
    y, field = moved(picture, (4.0, 0.0))

    found = judge(picture, y, field)

    had, has = ((x.mean(0) * 1.0).diff(dim=1).square().sum() for x in (y, picture))
    assert found.level == "sharper"
    assert found.moving == 1
    assert found.gain == pytest.approx(float(has / had) - 1, rel=0.2)  # luma, not the mean
    assert str(found).startswith("sharper")


def test_the_photo_itself_gains_nothing():
    y, field = moved(texture(), (4.0, 0.0))
    assert judge(y, y, field).record() == {
        "level": "none",
        "gain": 0.0,
        "moving": 1.0,
        "text": "no visible gain: no motion was found that explains its blur; a hint of how it "
        "moved may help (--motion)",
    }
    assert (
        "the motion model, which is the default, may find it" in judge(y, y, field, ("other",)).text
    )


def test_sharpening_across_the_motion_is_no_gain():
    y, field = moved(texture(), (4.0, 0.0))
    column = texture(1).mean(dim=2, keepdim=True)  # steps from row to row
    assert judge((y + column).clamp(0, 1), y, field).level == "none"


def test_where_the_motion_was_told_none_is_asked_for_again():
    y, field = moved(texture(), (4.0, 0.0))

    text = judge(y, y, field, ("told",)).text

    assert "what was told of its motion" in text and "may help" not in text
    assert "nothing moves" in judge(y, y, field, ("still", "told")).text


def test_what_hardly_moves_does_not_count():
    picture = texture()
    y, _ = moved(picture, (4.0, 0.0))
    slow = Field(torch.full((2, HEIGHT, WIDTH), 0.5), (HEIGHT, WIDTH))
    found = judge(picture, y, slow, ("still",))
    assert (found.moving, found.gain) == (0, 0)
    assert found.text == "no visible gain: nothing moves in it"


def test_a_part_that_moves_counts_by_the_root_of_its_share():
    picture = texture()
    y, field = moved(picture, (4.0, 0.0))
    part = field.vectors.clone()
    part[:, HEIGHT // 4 :] = 0

    whole, some = judge(picture, y, field), judge(picture, y, Field(part, field.size))

    assert some.moving == 0.25
    assert some.gain == pytest.approx(whole.gain / 2, rel=0.3)


def test_rows_at_a_time_change_nothing(monkeypatch):
    picture = texture()
    y, field = moved(picture, (3.0, 2.0))
    whole = judge(picture, y, field)
    monkeypatch.setattr(verdict, "PIXELS_AT_ONCE", 5 * WIDTH)
    pieces = judge(picture, y, field)
    assert_close(pieces.gain, whole.gain)


@pytest.mark.parametrize(
    ("reasons", "words"),
    [(("defocus",), "out of focus"), (("long",), "longer than the network knows"), ((), "hint")],
)
def test_why_nothing_is_gained(reasons, words):
    y, field = moved(texture(), (4.0, 0.0))
    assert words in judge(y, y, field, reasons).text


def test_a_single_frame_or_a_tiny_photo_has_no_verdict():
    class Copies(torch.nn.Module):
        name, size_multiple = "direct", 1

        def __init__(self, count: int) -> None:
            super().__init__()
            self.count = count

        def fill(self, out, y):
            out.copy_(y.expand(out.shape[0], -1, -1, -1))

        def memory(self, *_):
            return 0

    assert extractor_of(Copies(1))(torch.rand(3, 32, 32)).verdict is None
    assert extractor_of(Copies(7))(torch.rand(3, 9, 32)).verdict is None
    clip = extractor_of(Copies(7))(torch.rand(3, 32, 32))
    assert clip.verdict is not None
    assert clip.verdict.text == "no visible gain: nothing moves in it"


def test_the_command_and_the_player_say_it(tmp_path):
    Image.fromarray(media.to_uint8(texture())).save(tmp_path / "photo.png")
    result = invoke("extract", tmp_path / "photo.png", "--fast", "-o", tmp_path / "clip.html")
    assert result.exit_code == 0
    (line,) = [line for line in result.stderr.splitlines() if "gain" in line or "sharper" in line]
    text = line.split("photo.png: ")[1]
    assert text in (tmp_path / "clip.html").read_text()
    assert "quiet" not in line
    quiet = invoke("extract", tmp_path / "photo.png", "--fast", "-q", "-o", tmp_path / "a.gif")
    assert quiet.stderr == ""

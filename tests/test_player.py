"""Clips that people look at: the player and the video, tried in a real browser."""

import base64
import io
import itertools
import re
import shutil
import subprocess
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from browser import Page, browser
from click.testing import CliRunner
from helpers import plan
from PIL import Image

from blurvid import media
from blurvid.cli import main
from blurvid.config import ClipOptions, DirectSpec
from blurvid.errors import OptionError, OutputError
from blurvid.media.flow import colored
from blurvid.media.pages import look
from blurvid.media.player import _SCRIPTS, _figure, _part
from blurvid.networks import DirectNet
from blurvid.pipeline import Clip
from blurvid.recipe import Recipe, Source
from blurvid.weights import store

__all__ = ["browser"]  # a fixture

HEIGHT, WIDTH = 100, 150
FACTS = {"model": "direct", "weights": "tiny", "re-blur PSNR": "41.5 dB"}


def clip_of(count=7, height=HEIGHT, width=WIDTH):
    """Frames that tell their number by their red and place by green and blue; a blue photo."""
    texture = torch.rand(2, height, width) * 0.5
    reds = [torch.full((1, height, width), red_of(number) / 255) for number in range(1, count + 1)]
    frames = torch.stack([torch.cat([red, texture]) for red in reds])
    photo = torch.zeros(3, height, width)
    photo[2] = 1
    return frames, media.Photo(photo, name="dir/my photo.png")


def red_of(number):
    return 255 - 30 * number


def write(path, options=ClipOptions(), maps=None, **shape):
    frames, photo = clip_of(**shape)
    media.write_frames(
        frames, path, photo=photo, options=options, notes=media.Notes(FACTS, maps=maps)
    )
    return frames


def images_in(text):
    """Class, kind of file and pixels of every image in a page."""
    found = re.findall(
        r'<img class="(\w+)" alt="[\w ]+" src="data:image/(\w+);base64,([^"]+)"', text
    )
    return [
        (name, kind, np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")))
        for name, kind, data in found
    ]


# the file


def test_a_player_is_one_file_with_all_images_unchanged(tmp_path):
    path = tmp_path / "clip.html"
    frames = write(path)

    assert list(tmp_path.iterdir()) == [path]
    text = path.read_text(encoding="utf-8")
    images = images_in(text)
    assert [(name, kind) for name, kind, _ in images] == [("blurry", "png")] + [
        ("frame", "png")
    ] * 7
    stored = np.stack([pixels for *_, pixels in images])
    assert np.array_equal(stored[1:], media.to_uint8(frames))
    assert (stored[0] == (0, 0, 255)).all()
    for word in ("my photo.png", "150 × 100", "direct", "tiny", "41.5 dB"):
        assert word in text
    assert "dir/" not in text
    rest = re.sub(r'src="data:[^"]+"', "", text)
    assert len(rest) < 100_000
    assert not re.search(r"https?:|//[a-z]+\.|\ssrc=|@import|url\(", rest)


def test_order_and_speed_are_those_of_the_options(tmp_path):
    write(tmp_path / "a.html", ClipOptions(fps=12.5, bounce=False, reverse=True))

    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert 'data-fps="12.5" data-mode="loop"' in text
    assert [pixels[0, 0, 0] for *_, pixels in images_in(text)[1:]] == [
        red_of(number) for number in range(7, 0, -1)
    ]


def test_without_a_photo_there_is_nothing_to_compare(tmp_path):
    media.write_frames(clip_of()[0], tmp_path / "a.html")
    images = images_in((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert [name for name, *_ in images] == ["frame"] * 7


def test_a_photo_of_another_size_is_refused(tmp_path):
    frames, photo = clip_of()
    with pytest.raises(ValueError, match="differ in size"):
        media.write_frames(frames[..., 1:], tmp_path / "a.html", photo=photo)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("side", "sampling"), [(720, 1), (2010, 2)])
def test_large_photos_are_embedded_as_jpeg(side, sampling):
    ramp = np.linspace(0, 255, side).round().astype(np.uint8)
    ramp = np.broadcast_to(ramp[:, None], (side, side, 3)).copy()
    text = _figure("Frame 1", "frame", ramp)

    ((_, kind, pixels),) = images_in(text)
    assert kind == "jpeg"
    assert np.abs(pixels[::20, ::20].astype(int) - ramp[::20, ::20]).max() <= 3
    data = base64.b64decode(re.search(r"base64,([^\"]+)", text)[1])
    with Image.open(io.BytesIO(data)) as image:
        assert image.layer[0][1:3] == (sampling, sampling)


def test_existing_and_failed_players(tmp_path, monkeypatch):
    path = tmp_path / "clip.html"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        write(path)
    monkeypatch.setattr("blurvid.media.player._part", lambda name: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        media.write_frames(clip_of()[0], path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["clip.html"]
    assert path.read_text() == "mine"


def test_the_parts_cannot_end_their_elements():
    for text in (look(), *map(_part, ("player.css", *_SCRIPTS))):
        assert "</" not in text


def test_players_from_python_and_from_the_command_line(tmp_path, monkeypatch):
    frames, photo = clip_of(height=20, width=32)
    clip = Clip(frames, photo, Recipe(Source("tiny", "direct")))
    assert clip.save(tmp_path / "clip.html") == [tmp_path / "clip.html"]
    text = (tmp_path / "clip.html").read_text(encoding="utf-8")
    assert "<dd>tiny</dd>" in text
    assert f"<dd>{clip.reblur_psnr:.1f} dB</dd>" in text

    net = DirectNet(DirectSpec(channels=(8, 12), blocks=(1, 1)))
    told = {"seven_frame_psnr": 26.5}
    store.save(net, tmp_path / "w", name="w", recipe={}, data="none", scores=told, licence="MIT")
    for name in ("a", "b"):
        media.write_still(photo.pixels, tmp_path / f"in/{name}.png")
    for kind in ("html", "webp"):
        words = ["extract", "in", "-o", "out", "--format", kind, "--weights", "w", "--threads", "1"]
        monkeypatch.chdir(tmp_path)
        result = CliRunner().invoke(main, [*words, "--device", "cpu"])
        assert (result.exit_code, result.stdout) == (0, f"out/a.{kind}\nout/b.{kind}\n")
    assert "<h1>b.png</h1>" in Path("out/b.html").read_text(encoding="utf-8")
    with pytest.raises(OptionError, match="one file"):
        plan(["in"], Path("clip.html"))


# the player in a browser


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("player") / "clip.html"
    write(path)
    return path


@pytest.fixture
def page(browser, clip):
    page = Page(browser)
    browser.get_log("browser"), browser.get_log("performance")
    page.screen(900, 600)  # the picture fills it, six times as large
    page.open(clip)
    yield page
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_time_by_keyboard(page):
    assert page.shown() == 4
    page.press(page.keys.ARROW_RIGHT)
    assert page.shown() == 5
    assert page.status() == "frame 5 of 7"
    page.press(page.keys.ARROW_LEFT * 3)
    assert page.shown() == 2
    page.press(page.keys.END, page.keys.ARROW_RIGHT)
    assert page.shown() == 7
    page.press(page.keys.HOME)
    assert page.shown() == 1
    assert page.find("timeline").get_attribute("aria-valuetext") == "frame 1 of 7"


def test_time_by_mouse_and_touch(page):
    # Along the slider, along the picture where there is no edge to drag, and with a finger.
    page.look("sharp")
    page.drag("timeline", (0.5, 0.5), 120)
    assert page.shown() in (6, 7)
    page.drag("timeline", (0.02, 0.5), 2)
    assert page.shown() == 1
    page.drag("stage", (0.05, 0.4), 390)
    assert page.shown() == 4  # 390 of 900 pixels are three sevenths
    page.screen(390, 844, mobile=True)
    page.touch("touchStart", (0.9, 0.5))
    page.touch("touchMove", (0.7, 0.5))
    page.touch("touchMove", (0.48, 0.5))
    page.touch("touchEnd")
    assert page.shown(0.95, 0.5) == 1


def test_reverse(page):
    assert page.shown() == 4
    page.press(page.keys.ARROW_LEFT)
    page.click("more", "reverse")
    assert page.shown() == 3  # what is looked at stays
    assert page.status() == "frame 5 of 7, time reversed"
    assert page.find("reverse").get_attribute("aria-pressed") == "true"
    page.press(page.keys.ARROW_RIGHT)
    assert page.shown() == 2
    page.press(page.keys.HOME)
    assert page.shown() == 7
    page.click("reverse")
    assert page.shown() == 7
    assert page.find("timeline").get_attribute("value") == "7"


CLOCK = """
let now = 1e6;
const waiting = [], real = window.requestAnimationFrame, clock = performance.now;
performance.now = () => now;
window.requestAnimationFrame = (callback) => waiting.push(callback);
const turn = (milliseconds) => {
  now += milliseconds;
  for (const callback of waiting.splice(0)) callback(now);
};
/** Numbers shown after so many milliseconds each. */
window.pass = (count, milliseconds) => Array.from({ length: count }, () => {
  turn(milliseconds);
  turn(0); // what has changed is drawn in the next turn
  return Number(timeline.value);
});
window.back = () => {
  performance.now = clock.bind(performance);
  window.requestAnimationFrame = real;
  waiting.splice(0).forEach((callback) => real(callback));
};
"""
"""Time that passes only when a test says so, so that busy machines change nothing."""


def play(page, mode, fps="20"):
    page.run("document.querySelector(`input[value=${arguments[0]}]`).click()", mode)
    page.run("speed.value = arguments[0]; speed.dispatchEvent(new Event('change'))", fps)
    page.pixels()  # nothing waits to be drawn
    page.run(CLOCK)
    page.click("play")


def playing(page):
    return page.find("play").get_attribute("aria-label") == "Pause"


def test_playing_back_and_forth(page):
    play(page, "bounce")
    assert page.run("return pass(13, 50)") == [5, 6, 7, 6, 5, 4, 3, 2, 1, 2, 3, 4, 5]
    assert page.run("return pass(4, 25)") == [5, 6, 6, 7]
    assert page.run("return pass(2, 100)") == [5, 3]  # what was missed is left out
    assert playing(page)
    page.run("back()")
    page.press(" ")  # the focus is on the button
    page.pixels()
    assert not playing(page)
    number = page.shown()
    assert page.status() == f"paused at frame {number} of 7"
    assert page.find("timeline").get_attribute("value") == str(number)


def test_playing_in_a_loop_and_once(page):
    play(page, "loop", "10")
    assert page.run("return pass(9, 100)") == [5, 6, 7, 1, 2, 3, 4, 5, 6]
    page.run("back()")
    page.press(page.keys.HOME)  # stepping pauses
    page.pixels()
    assert not playing(page)
    play(page, "once")
    assert page.run("return pass(8, 50)") == [2, 3, 4, 5, 6, 7, 7, 7]
    page.run("back()")
    assert page.shown() == 7
    assert not playing(page)
    assert page.status() == "paused at frame 7 of 7"
    page.run("speed.value = 5; speed.dispatchEvent(new Event('change'))")
    page.click("play")  # again from the start
    page.until(lambda: playing(page))
    page.until(lambda: not playing(page))
    assert page.shown() == 7


def test_movement_only_for_those_who_want_it(page, clip):
    time.sleep(0.3)
    assert page.find("play").get_attribute("aria-label") == "Play"
    assert page.shown() == 4
    page.open(clip, **{"prefers-reduced-motion": "no-preference"})
    page.until(lambda: page.find("play").get_attribute("aria-label") == "Pause")
    first = page.find("timeline").get_attribute("value")
    page.until(lambda: page.find("timeline").get_attribute("value") != first)


def test_comparing(page):
    assert (page.shown(0.45), page.shown(0.55)) == (0, 4)
    page.drag("stage", (0.5, 0.3), 270)  # the edge itself
    assert (page.shown(0.75), page.shown(0.85)) == (0, 4)
    page.drag("stage", (0.2, 0.3), 90)  # anywhere else will do
    assert (page.shown(0.85), page.shown(0.95)) == (0, 4)
    page.focus("wipe")
    page.press(page.keys.ARROW_LEFT * 15)
    assert (page.shown(0.55), page.shown(0.65)) == (0, 4)
    assert page.find("wipe").get_attribute("aria-valuetext") == "60 percent, from the left"
    page.press(page.keys.HOME)
    assert page.shown(0.01) == 4
    page.press(page.keys.END)
    assert page.shown(0.99) == 0
    page.look("sharp")
    assert page.shown(0.01) == 4
    assert not page.find("view").is_displayed()
    page.press("c")
    assert (page.shown(0.45), page.shown(0.55)) == (0, 4)


def test_the_edge_moves_by_itself(page):
    page.pixels()  # nothing waits to be drawn
    page.run(CLOCK)
    page.look_at_once("auto")
    script = "return Array.from({length: 60}, () => (pass(1, 100), wipe.valueAsNumber))"
    parts = page.run(script)
    assert parts[:5] == [100] * 5  # a round begins with the photo
    assert parts.count(0) >= 10  # and the frames are seen alone
    assert parts[50:55] == [100] * 5
    falling = [b - a for a, b in itertools.pairwise(parts[: parts.index(0) + 1])]
    assert max(falling) <= 0
    assert min(falling) > -15
    page.run("back()")
    page.drag("stage", (0.5, 0.3), 90)  # by hand it stays where it is put
    assert page.run("return document.querySelector('input[value=wipe]').checked")
    part = page.find("wipe").get_attribute("value")
    time.sleep(0.2)
    assert page.find("wipe").get_attribute("value") == part


def test_what_lies_over_the_picture_fades_while_it_plays(page, clip):
    page.open(clip, **{"prefers-reduced-motion": "no-preference"})
    opacity = "return Number(getComputedStyle(document.getElementById(arguments[0])).opacity)"
    page.until(lambda: page.run(opacity, "dock") == page.run(opacity, "card") == 0)
    assert page.run(REACHED, "play") is False
    page.actions().move_by_offset(3, 3).perform()
    page.until(lambda: page.run(opacity, "dock") == page.run(opacity, "card") == 1)
    page.press(" ")
    page.pixels()
    assert not playing(page)
    time.sleep(3)
    assert page.run(opacity, "dock") == 1  # of a still picture it stays
    assert page.run(REACHED, "play")


def stored_images(page):
    """Pixels of the photo and of all frames, as the page holds them."""
    path = Path(page.run("return decodeURI(location.pathname)"))
    return [pixels for *_, pixels in images_in(path.read_text(encoding="utf-8"))]


def test_zoom_shows_the_pixels_themselves(page):
    page.look("sharp")
    assert page.percent() == 600
    page.press("+" * 4)
    assert page.percent() == round(600 * 1.5**4)
    pixels = page.pixels()
    colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    stored = stored_images(page)[4]
    assert {*map(tuple, colours.tolist())} <= {*map(tuple, stored.reshape(-1, 3).tolist())}
    side = page.percent() / 100
    middle = pixels[pixels.shape[0] // 2 + 3, pixels.shape[1] // 2 + 3]
    assert tuple(middle) == tuple(stored[HEIGHT // 2, WIDTH // 2])
    assert np.median(counts) == pytest.approx(side**2, rel=0.2)
    page.press("0")
    assert page.percent() == 600


def test_a_double_click_goes_near_and_back(page):
    page.look("sharp")
    target = page.find("stage")
    for expected in (1500, 600):
        page.actions().move_to_element_with_offset(target, 100, 50).double_click().perform()
        page.pixels()
        assert page.percent() == expected
    page.screen(390, 844, mobile=True)
    page.pixels()
    for expected in (650, 260):
        for _ in range(2):
            page.touch("touchStart", (0.5, 0.5))
            page.touch("touchEnd")
        page.pixels()
        assert page.percent() == expected
        time.sleep(0.4)


def test_what_to_believe_lies_over_the_frames(page, tmp_path):
    assert not page.find("trust").is_displayed()
    error, reblur = torch.zeros(2, 12, 18)
    error[:, 9:] = 1.0
    write(tmp_path / "a.html", maps=media.TrustMaps(error, reblur))
    page.open(tmp_path / "a.html")
    page.look("sharp")
    plain = page.pixels()
    assert not page.find("legend").is_displayed()
    page.press("t")
    assert page.status() == "trust: Expected error"
    seen = page.pixels()
    assert page.find("legend-text").text == "How far off the frames may be"
    assert page.find("legend-full").text == "38 of 255"
    half = plain.shape[1] // 2
    assert np.array_equal(seen[:, : half - 60], plain[:, : half - 60])
    assert (seen[:, half + 60 :].sum(axis=2) > 450).all()
    page.run("document.querySelectorAll('input[name=map]')[1].click()")
    assert np.array_equal(page.pixels(), plain)  # there is none
    page.click("trust")
    assert page.status() == "trust off"
    assert page.find("trust").get_attribute("aria-pressed") == "false"
    page.pixels()
    assert not page.find("legend").is_displayed()


def test_the_legend_has_the_colours_of_the_maps():
    style = _part("player.css")
    stops = re.search(r"linear-gradient\(\s*90deg,(.*?)\);", style, re.DOTALL)[1]
    colours = [tuple(map(int, stop)) for stop in re.findall(r"rgb\((\d+) (\d+) (\d+)\)", stops)]
    levels = torch.linspace(0, 1, len(colours))[None]
    assert colours == [tuple(c) for c in colored(levels, 1.0)[0, :, :3].tolist()]


def test_moving_the_view(page):
    page.look("sharp")
    whole = page.pixels()
    page.press("-")
    assert np.array_equal(page.pixels(), whole)  # never smaller than the stage
    assert not page.find("fit").is_displayed()
    page.click("more", "zoom-in", "zoom-in", "close")
    before = page.pixels()
    page.drag("stage", (0.5, 0.5), -54, 27)
    moved = page.pixels()
    assert np.array_equal(before[:-27, 54:], moved[27:, :-54])
    page.press_with_shift(page.keys.ARROW_LEFT)
    assert np.array_equal(page.pixels()[:, 90:], moved[:, :-90])  # a tenth of the stage
    assert page.shown() == 4  # time stood still
    page.press_with_shift(page.keys.ARROW_LEFT * 12, page.keys.ARROW_UP * 12)
    stored = stored_images(page)[4]
    assert tuple(page.pixels()[0, 0]) == tuple(stored[0, 0])  # the corner, and no further
    page.click("fit")
    assert np.array_equal(page.pixels(), whole)


def test_a_photo_beyond_the_screen_opens_where_it_moves(page, tmp_path):
    frames = torch.full((7, 3, 1200, 1800), 0.5)
    frames[0, :, 900:1000, 1500:1600] = 1  # down to the right
    media.write_frames(frames, tmp_path / "large.html")
    page.open(tmp_path / "large.html")
    page.press(page.keys.HOME)
    assert 51 < page.percent() < 100
    pixels = page.pixels()
    rows, columns = np.nonzero(pixels[..., 0] > 200)
    assert len(rows) > 2000
    assert 300 < rows.mean() < 600
    assert 450 < columns.mean() < 900
    page.click("fit")
    page.pixels()
    assert page.percent() == 50


def test_wheel_and_pinch(page):
    page.look("sharp")
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    origin = ScrollOrigin.from_element(page.find("stage"), 231, -147)  # the middle of a pixel
    page.actions().scroll_from_origin(origin, 0, -500).perform()
    assert page.percent() > 900
    place = page.pixels()[153, 681]
    page.actions().scroll_from_origin(origin, 0, -500).perform()
    assert tuple(page.pixels()[153, 681]) == tuple(place)  # what is under the mouse stays there
    page.actions().scroll_from_origin(origin, 0, 5000).perform()
    assert page.percent() == 600
    page.screen(390, 844, mobile=True)
    page.pixels()
    before = page.percent()
    page.touch("touchStart", (0.4, 0.5), (0.6, 0.5))
    page.touch("touchMove", (0.35, 0.5), (0.65, 0.5))
    page.touch("touchMove", (0.3, 0.5), (0.7, 0.5))
    page.touch("touchEnd")
    page.pixels()
    assert page.percent() == pytest.approx(2 * before, abs=3)


def test_a_large_photo_is_looked_at_in_full(page, tmp_path):
    # Lines one pixel wide survive in the photo itself, not in the copies that are played.
    lines = torch.zeros(1, 3, 1800, 2700)
    lines[..., ::2] = 1
    media.write_frames(lines, tmp_path / "large.html")
    page.open(tmp_path / "large.html")
    page.press("+" * 7)
    page.until(lambda: page.percent() > 400)
    page.until(lambda: np.abs(page.pixels().astype(int) - 127.5).min() > 70)  # no grey


def tabbed(page):
    """What the focus goes to, until it leaves the page or comes round."""
    reached = []
    for _ in range(20):
        page.press(page.keys.TAB)
        name, ring = page.run(
            """const active = document.activeElement;
            const ringed = [active, active.closest("fieldset, .track, .view"),
              active.id === "wipe" && document.querySelector(".knob")];
            return [active.id || active.value || active.localName,
              ringed.some((e) => e && getComputedStyle(e).outlineStyle !== "none")];"""
        )
        if name in ("body", "html") or name in reached:
            break
        assert ring, f"{name} does not show that it has the focus"
        reached.append(name)
    return reached


def test_the_keyboard_is_enough(page):
    page.look("sharp")
    assert tabbed(page) == ["full", "play", "timeline", "sharp", "save", "more"]
    page.focus("more")
    page.press(page.keys.ENTER)
    drawer = ["save-frame", "save-clip", "save-wipe", "bounce", "speed", "reverse"]
    assert tabbed(page)[:8] == [*drawer, "zoom-out", "zoom-in"]
    page.find("reverse").send_keys(" ")
    page.find("zoom-in").send_keys(page.keys.ENTER)
    page.run("document.querySelector('input[value=bounce]').focus()")
    page.press(page.keys.ARROW_RIGHT)
    assert page.run("return document.querySelector('input[name=mode]:checked').value") == "loop"
    assert page.percent() == 900
    assert page.find("reverse").get_attribute("aria-pressed") == "true"
    assert page.shown() == 4  # the arrow was for the choice, Space for the button
    page.press(page.keys.ESCAPE)
    assert page.run("return document.activeElement.id") == "more"
    assert page.find("more").get_attribute("aria-expanded") == "false"
    page.focus("timeline")
    page.press(page.keys.ARROW_RIGHT)
    assert page.shown() == 3  # time is reversed


def test_everything_has_a_name(page):
    page.click("more")
    page.driver.execute_cdp_cmd("Accessibility.enable", {})
    nodes = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    wanted = {"button", "slider", "radio", "combobox", "image", "DisclosureTriangle"}
    assert [role for role, name in named if role in wanted and not name] == []
    for expected in [
        ("button", "Play"), ("slider", "Time"), ("combobox", "Speed"), ("radio", "Once"),
        ("slider", "Part of the picture that shows the blurred photo"), ("group", "How to play"),
        ("group", "Zoom"), ("group", "Compare with the blurred photo"), ("button", "Save"),
        ("image", "The photo, frame 4 of 7"), ("button", "Zoom out"), ("heading", "my photo.png"),
        ("button", "Full screen"), ("complementary", "More"), ("radio", "Auto"),
    ]:  # fmt: skip
        assert expected in named
    assert page.find("status").get_attribute("aria-live") == "polite"
    assert page.run("return document.documentElement.lang") == "en"


def luminance(rgb):
    """Relative luminance of a colour in [0, 1] as WCAG 2 defines it."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_light_and_dark(page):
    # What is read is read over black and over white pictures.
    grounds = []
    for scheme in ("light", "dark"):
        page.prefer(**{"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"})
        ground, *pairs = page.run(
            """const canvas = new OffscreenCanvas(1, 1).getContext("2d");
            const rgba = (colour) => {
              canvas.clearRect(0, 0, 1, 1);
              canvas.fillStyle = colour;
              canvas.fillRect(0, 0, 1, 1);
              return [...canvas.getImageData(0, 0, 1, 1).data];
            };
            const style = (query) => getComputedStyle(document.querySelector(query));
            const glass = style("#bar").backgroundColor;
            const chosen = style("input:checked + span");
            return [rgba(style("body").backgroundColor),
              ...[[style("h1").color, style("#card").backgroundColor],
                [style("#now").color, glass], [style("#play").color, glass],
                [style("dt").color, style("#drawer").backgroundColor],
                [chosen.color, chosen.backgroundColor],
              ].map((pair) => pair.map(rgba))];"""
        )
        for text, glass in pairs:
            for behind in (0.0, 1.0):
                share = glass[3] / 255
                shown = np.array(glass[:3]) / 255 * share + behind * (1 - share)
                low, high = sorted((luminance(np.array(text[:3]) / 255), luminance(shown)))
                assert (high + 0.05) / (low + 0.05) > 4.5, (scheme, text, glass, behind)
        grounds.append(luminance(np.array(ground[:3]) / 255))
    assert grounds[0] > 0.8
    assert grounds[1] < 0.02


@pytest.fixture(scope="module")
def movable(tmp_path_factory):
    """A player with two objects: the left quarter, and the right one with a soft edge."""
    path = tmp_path_factory.mktemp("player") / "movable.html"
    frames, photo = clip_of()
    shares = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    shares[0, :, : WIDTH // 4] = 255
    shares[1, :, -46:] = 51
    shares[1, :, -38:] = 255
    objects = [media.Movable(shares[0], "10.0%,50.0%"), media.Movable(shares[1], "90.0%,50.0%")]
    origin = media.Origin("blurvid extract 'my photo.png'", {"MP4": "'m.mp4'", "GIF": "'m.gif'"})
    notes = media.Notes(FACTS, objects=objects, origin=origin)
    media.write_frames(frames, path, photo=photo, notes=notes)
    return path


def at_quarters(page):
    """Frames shown at the left, in the middle and at the right."""
    return tuple(page.shown(x, 0.9) for x in (0.1, 0.4, 0.9))


def test_a_click_turns_an_object_around(page, movable):
    page.open(movable)
    page.look("sharp")
    page.press(page.keys.HOME)
    assert at_quarters(page) == (1, 1, 1)
    page.drag("stage", (0.9, 0.5), 0)
    assert at_quarters(page) == (1, 1, 7)
    assert page.status() == "object 2 turned around"
    page.press(page.keys.ARROW_RIGHT)
    assert at_quarters(page) == (2, 2, 6)
    page.press("r")
    assert at_quarters(page) == (2, 2, 6)
    page.press("r")
    page.drag("stage", (0.1, 0.5), 20)  # a drag through time is no click
    assert at_quarters(page) == (2, 2, 6)
    page.drag("stage", (0.5, 0.5), 0)  # no object there: it plays
    page.pixels()
    assert playing(page)
    page.press(" ", page.keys.HOME, page.keys.ARROW_RIGHT)
    assert at_quarters(page) == (2, 2, 6)
    red = page.pixels()[300, 6 * (WIDTH - 42) + 3, 0]
    assert red == pytest.approx(0.8 * red_of(2) + 0.2 * red_of(6), abs=2)
    page.press("+++", page.keys.HOME)
    page.drag("stage", (0.9, 0.5), 0)  # zoomed in to the middle: no object there
    page.press(" ", "0", page.keys.HOME, page.keys.ARROW_RIGHT)
    assert at_quarters(page) == (2, 2, 6)
    page.drag("stage", (0.9, 0.5), 0)
    assert at_quarters(page) == (2, 2, 2)


def test_objects_by_keyboard_and_the_command_that_repeats_it(page, movable):
    page.open(movable)
    page.look("sharp")
    page.press(page.keys.HOME)
    page.click("more")
    buttons = page.find("objects").find_elements("tag name", "button")
    assert [button.accessible_name for button in buttons] == [
        "Turn object 1 around", "Turn object 2 around",
    ]  # fmt: skip
    plain = page.pixels().astype(int)
    page.run("arguments[0].focus()", buttons[0])
    veiled = np.abs(page.pixels() - plain).sum(-1) > 0
    edge = 6 * (WIDTH // 4)
    assert veiled[:, : edge - 6].mean() > 0.95  # it is pointed out, and nothing else
    assert not veiled[:, edge + 6 :].any()
    buttons[0].send_keys(" ")
    assert at_quarters(page) == (7, 1, 1)
    assert buttons[0].get_attribute("aria-pressed") == "true"
    page.run("document.querySelector('.command').open = true")
    base = "blurvid extract 'my photo.png' --flip 10.0%,50.0%"
    assert page.find("command").text == f"{base} --fps 10 -o 'm.mp4'"
    buttons[1].send_keys(page.keys.ENTER)
    page.click("reverse")
    page.run("document.querySelector('input[value=once]').click()")
    page.find("kind").send_keys("G")
    page.until(lambda: page.find("command").text.endswith("'m.gif'"))
    assert page.find("command").text == (
        f"{base} --flip 90.0%,50.0% --reverse --once --fps 10 -o 'm.gif'"
    )
    page.click("copy")
    page.until(lambda: page.status() == "command copied")
    page.driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    copied = page.driver.execute_async_script(
        "const done = arguments[0]; navigator.clipboard.readText().then(done, (e) => done(`${e}`))"
    )
    assert copied == page.find("command").text


def test_without_objects_and_origin_there_is_nothing_of_them(page):
    page.click("more")
    assert not page.find("objects").is_displayed()
    assert page.run("return document.getElementById('command')") is None


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    path = tmp_path_factory.mktemp("player") / "wide.html"
    grey = torch.full((7, 3, 800, 1200), 0.5)
    photo = media.Photo(grey[0], name="IMG_20260712_193402_long_name_of_a_photo.JPG")
    maps = media.TrustMaps(torch.full((8, 12), 0.05), torch.zeros(8, 12))
    verdict = "The camera turned a little to the left; the letters can be read now."
    notes = media.Notes(FACTS, verdict, maps=maps)
    media.write_frames(grey, path, photo=photo, notes=notes)
    return path


REACHED = """
const element = document.getElementById(arguments[0]);
const { left, top, width, height } = element.getBoundingClientRect();
const hit = document.elementFromPoint(left + width / 2, top + height / 2);
return element === hit || element.contains(hit);
"""
"""Whether the middle of an element is what a finger there would touch."""

SCREENS = [(360, 740), (820, 1180), (1440, 900), (320, 568), (740, 360), (1920, 1080)]


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: "x".join(map(str, screen)))
def test_it_fits_every_screen(page, wide, screen):
    mobile = min(screen) < 900
    page.screen(*screen, mobile)
    page.open(wide)
    page.pixels()
    name = f"player-{screen[0]}x{screen[1]}"

    stage, view = page.box("#stage"), page.box("#view")
    assert (stage["width"], stage["height"]) == screen
    if min(screen[0] / 1200, screen[1] / 800) < 0.75:
        assert (view["width"], view["height"]) == pytest.approx(screen)  # it opens on a crop
        page.keep(f"{name}-opening")
        page.click("fit")
        page.pixels()
        view = page.box("#view")
    assert view["width"] == pytest.approx(min(screen[0], 1.5 * screen[1]), abs=1)
    assert view["height"] == pytest.approx(min(screen[1], screen[0] / 1.5), abs=1)
    controls = ["play", "timeline", "trust", "save", "more", "full"]
    over = [page.box(f"#{name}") for name in ("card", "dock", "full")]
    for control in controls:
        box = page.box(f"#{control}")
        assert page.run(REACHED, control), control
        assert min(box["width"], box["height"]) >= (44 if mobile else 40), control
        assert box["left"] >= 0 and box["right"] <= screen[0], control
        assert box["top"] >= 0 and box["bottom"] <= screen[1], control
    for a, b in itertools.combinations(over, 2):
        apart = a["right"] <= b["left"] or b["right"] <= a["left"]
        assert apart or a["bottom"] <= b["top"] or b["bottom"] <= a["top"]
    bar = page.box("#bar")
    assert bar["bottom"] > screen[1] - 20  # in reach of a thumb
    assert bar["height"] <= (112 if screen[0] < 672 else 60)
    covered = sum(box["width"] * box["height"] for box in [bar, *over[::2]])
    small = min(screen) < 360 or screen[1] < 400
    assert covered < (0.4 if small else 0.25) * screen[0] * screen[1]  # the picture first
    page.keep(name)

    page.click("trust")
    page.pixels()
    assert page.find("legend").is_displayed()
    assert page.box("#legend")["bottom"] <= page.box("#bar")["top"]
    page.keep(f"{name}-trust")
    page.click("save")
    drawer = page.box("#drawer")
    assert drawer["left"] >= 0 and drawer["right"] <= screen[0]
    assert drawer["top"] >= 0 and drawer["bottom"] <= screen[1]
    for control in ("save-frame", "close", "reverse", "zoom-in"):
        page.run("document.getElementById(arguments[0]).scrollIntoView()", control)
        page.run("document.getElementById('drawer').scrollBy(0, -80)")
        assert page.run(REACHED, control), control
    page.keep(f"{name}-drawer")
    page.actions().move_to_element_with_offset(
        page.find("stage"), 0, 8 - screen[1] // 2
    ).click().perform()  # beside it
    assert page.run("return document.getElementById('drawer').inert")
    assert page.run("return document.documentElement.scrollWidth") <= screen[0]


def test_nothing_is_loaded_and_nothing_can_be(page, clip):
    import json

    page.press(page.keys.ARROW_RIGHT, "+")
    page.click("play")
    page.until(lambda: page.find("play").get_attribute("aria-label") == "Pause")
    messages = [json.loads(entry["message"]) for entry in page.driver.get_log("performance")]
    asked = [
        message["message"]["params"]["request"]["url"]
        for message in messages
        if message["message"]["method"] == "Network.requestWillBeSent"
    ]
    assert len(asked) >= 9  # the page, seven frames and the photo
    assert [url[:40] for url in asked if not url.startswith("data:")] == [clip.as_uri()[:40]]
    blocked = page.driver.execute_async_script(
        """const done = arguments[0], blocked = [];
        document.addEventListener("securitypolicyviolation", (event) => {
          blocked.push(event.effectiveDirective);
          if (blocked.length === 4) done(blocked.sort());
        });
        fetch("http://127.0.0.1:9/").catch(() => {});
        new Image().src = "http://127.0.0.1:9/a.png";
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);
        const style = document.createElement("style");
        style.textContent = "body { color: red }";
        document.body.append(style);"""
    )
    assert blocked == ["connect-src", "img-src", "script-src-elem", "style-src-elem"]
    assert page.run("return window.ran") is None
    page.driver.get_log("browser")  # the refusals just asked for


def downloaded(page, folder, button):
    """The file that a button gives."""
    told = {"behavior": "allow", "downloadPath": str(folder)}
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", told)
    known = set(folder.iterdir())
    page.click(button)
    new = []

    def finished():
        new[:] = set(folder.iterdir()) - known
        return new and new[0].suffix in (".png", ".mp4", ".webm") and new[0].stat().st_size

    page.until(finished)
    return new[0]


def test_the_frame_shown_is_downloaded(page, movable, tmp_path):
    page.open(movable)
    page.press(page.keys.HOME)
    page.drag("stage", (0.9, 0.5), 0)  # an object turned around
    page.press("+++")
    page.click("save")
    path = downloaded(page, tmp_path, "save-frame")
    assert path.name == "my photo_1.png"
    first, last = stored_images(page)[1], stored_images(page)[7]
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert np.array_equal(pixels[:, : WIDTH - 46], first[:, : WIDTH - 46])
    assert np.array_equal(pixels[:, -38:], last[:, -38:])


@pytest.mark.parametrize("button", ["save-clip", "save-wipe"])
def test_clips_are_downloaded(page, tmp_path, button):
    av = pytest.importorskip("av")
    page.click("save")
    path = downloaded(page, tmp_path, button)
    assert path.stem == ("my photo" if button == "save-clip" else "my photo_wipe")
    page.until(lambda: page.status() == "saved")
    with av.open(str(path)) as file:
        pictures = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(pictures) > 20
    assert pictures[0].shape == (HEIGHT, WIDTH, 3)
    blurred = [bool(picture[20, 10, 2] > 200) for picture in pictures]  # the photo is blue
    reds = [int(np.median(picture[..., 0])) for picture in pictures]
    if button == "save-wipe":
        assert blurred[0] and blurred[-1] and not all(blurred)
    else:
        assert not any(blurred)
    assert max(reds) > red_of(2)
    assert min(reds) < red_of(6) or button == "save-wipe"


HOSTILE = (
    "</title></script><script>window.ran=1</script><img src=x onerror=ran=1>&amp;'\" \udcff.png"
)


def test_names_are_only_text(page, tmp_path):
    frames, photo = clip_of()
    photo = media.Photo(photo.pixels, name=HOSTILE.replace("/", "\u2215"))
    notes = media.Notes({"<b>": HOSTILE}, HOSTILE)
    media.write_frames(frames, tmp_path / "a.html", photo=photo, notes=notes)

    page.open(tmp_path / "a.html")

    text = HOSTILE.replace("\udcff", "?")
    assert page.driver.title == text.replace("/", "\u2215")
    assert page.find("player").is_displayed()
    assert page.run("return document.querySelector('.verdict').textContent") == text
    assert page.run("return document.querySelector('.facts').lastElementChild.textContent") == (
        f"<b> {text}"
    )
    assert page.run("return [window.ran, document.querySelectorAll('script').length]") == [None, 1]


def test_without_scripts_the_images_are_there(page, clip):
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.screen(1280, 1400)
        page.driver.get(clip.as_uri())
        picture = Image.open(io.BytesIO(page.driver.get_screenshot_as_png())).convert("RGB")
    finally:
        page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    colours = np.asarray(picture).reshape(-1, 3)
    assert (colours == (0, 0, 255)).all(1).sum() > 10_000
    for number in (1, 4, 7):
        assert (np.abs(colours[:, 0].astype(int) - red_of(number)) < 2).sum() > 10_000


def test_one_frame_without_a_photo(page, tmp_path):
    media.write_frames(clip_of(count=1)[0], tmp_path / "a.html")
    page.open(tmp_path / "a.html", **{"prefers-reduced-motion": "no-preference"})
    page.click("play")
    page.press(page.keys.ARROW_RIGHT, "+")
    assert page.shown() == 1
    assert not page.find("views").is_displayed()
    assert not page.find("view").is_displayed()


# the video


def test_the_video_is_what_every_player_knows(tmp_path):
    write(tmp_path / "clip.mp4", ClipOptions(seconds=0))
    probe = shutil.which("ffprobe")
    if probe:
        entries = "stream=codec_name,pix_fmt,width,height,nb_frames:format=format_name"
        words = ["-v", "error", "-show_entries", entries, "-of", "default=noprint_wrappers=1"]
        text = subprocess.check_output([probe, *words, tmp_path / "clip.mp4"], text=True)
        facts = dict(line.split("=", 1) for line in text.splitlines())
        assert "mp4" in facts.pop("format_name").split(",")
        assert facts == {
            "codec_name": "h264", "pix_fmt": "yuv420p", "width": "150", "height": "100",
            "nb_frames": "12",
        }  # fmt: skip
    with av.open(str(tmp_path / "clip.mp4")) as file:
        (stream,) = file.streams
        facts = stream.codec_context
        assert (facts.name, facts.pix_fmt, facts.width, facts.height) == (
            "h264",
            "yuv420p",
            150,
            100,
        )
        assert stream.average_rate == 10
    data = (tmp_path / "clip.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # starts before it is loaded


def test_a_webm_is_the_same_every_time_with_the_colours_of_the_frames(tmp_path):
    frames, _ = clip_of()
    for name in ("a", "b"):
        media.write_frames(frames, tmp_path / f"{name}.webm", options=ClipOptions(seconds=0, crf=0))
    assert (tmp_path / "a.webm").read_bytes() == (tmp_path / "b.webm").read_bytes()
    with av.open(str(tmp_path / "a.webm")) as file:
        context = file.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.colorspace) == ("vp9", "yuv420p", 1)
        pictures = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    reds = [float(picture[..., 0].mean()) for picture in pictures]
    assert reds[:7] == pytest.approx([red_of(number) for number in range(1, 8)], abs=3)


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_the_video_plays_in_a_browser(page, tmp_path, kind):
    write(tmp_path / f"clip.{kind}")
    (tmp_path / "video.html").write_text(f"<video src=clip.{kind} muted></video>")
    page.open(tmp_path / "video.html")
    page.until(lambda: page.run("return document.querySelector('video').readyState") == 4)
    facts = page.run(
        """const video = document.querySelector("video");
        return [video.duration, video.videoWidth, video.videoHeight];"""
    )
    assert facts == [pytest.approx(4.8), 150, 100]  # four times 12 frames
    page.run("document.querySelector('video').play()")
    page.until(lambda: page.run("return document.querySelector('video').currentTime") > 0.3)
    assert page.run("return document.querySelector('video').error") is None

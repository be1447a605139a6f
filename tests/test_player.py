"""Clips that people look at: the player and the video, tried in a real browser."""

import base64
import io
import re
import shutil
import subprocess
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from blurvid import batch, media, weights
from blurvid.cli import main
from blurvid.config import ClipOptions, DirectSpec
from blurvid.errors import OptionError, OutputError
from blurvid.media.player import _figure, _part
from blurvid.networks import DirectNet
from blurvid.pipeline import Clip

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--disable-dev-shm-usage --force-color-profile=srgb --window-size=1280,860"
).split()

HEIGHT, WIDTH = 100, 150  # shown at most twice as large: small pictures are quick to look at
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
    media.write_frames(frames, path, photo=photo, options=options, facts=FACTS, maps=maps)
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
    assert len(rest) < 60_000
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
    for name in ("player.css", "objects.js", "player.js"):
        assert "</" not in _part(name)


def test_players_from_python_and_from_the_command_line(tmp_path, monkeypatch):
    frames, photo = clip_of(height=20, width=32)
    clip = Clip(frames, photo, "direct", "tiny", "cpu", "float32", 0.1)
    assert clip.save(tmp_path / "clip.html") == [tmp_path / "clip.html"]
    text = (tmp_path / "clip.html").read_text(encoding="utf-8")
    assert "<dd>tiny</dd>" in text
    assert f"<dd>{clip.reblur_psnr:.1f} dB</dd>" in text

    net = DirectNet(DirectSpec(channels=(8, 12), blocks=(1, 1)))
    told = {"seven_frame_psnr": 26.5}
    weights.save(net, tmp_path / "w", name="w", recipe={}, data="none", scores=told, licence="MIT")
    for name in ("a", "b"):
        media.write_png(photo.pixels, tmp_path / f"in/{name}.png")
    for kind in ("html", "webp"):
        words = ["extract", "in", "-o", "out", "--format", kind, "--weights", "w", "--threads", "1"]
        monkeypatch.chdir(tmp_path)
        result = CliRunner().invoke(main, [*words, "--device", "cpu"])
        assert (result.exit_code, result.stdout) == (0, f"out/a.{kind}\nout/b.{kind}\n")
    assert "<h1>b.png</h1>" in Path("out/b.html").read_text(encoding="utf-8")
    with pytest.raises(OptionError, match="one file"):
        batch.plan(["in"], Path("clip.html"))


# the player in a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium that knows nothing and may do nothing in the background."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if CHROMIUM is None or CHROMEDRIVER is None:
        pytest.skip("no chromium and chromedriver here (Debian: chromium, chromium-driver)")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    driver.set_script_timeout(20)
    yield driver
    driver.quit()


class Page:
    """A player in the browser, by what a user sees and does."""

    def __init__(self, driver):
        from selenium.webdriver.common.keys import Keys

        self.driver, self.keys = driver, Keys

    def open(self, path, **features):
        """Load a page; by default nothing moves by itself."""
        self.prefer(**{"prefers-reduced-motion": "reduce", **features})
        self.driver.get(path.as_uri())
        ready = "document.querySelector('video') || !document.getElementById('player').hidden"
        self.until(lambda: self.run(f"return {ready}"))

    def prefer(self, **features):
        chosen = [{"name": name, "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": chosen})

    def screen(self, width, height, mobile=False):
        told = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", told)
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": mobile})

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def until(self, condition, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.02)

    def find(self, name):
        return self.driver.find_element("id", name)

    def click(self, *names):
        for name in names:
            self.find(name).click()

    def press(self, *keys):
        """Press keys wherever the focus is."""
        self.actions().send_keys(*keys).perform()

    def press_with_shift(self, *keys):
        self.actions().key_down(self.keys.SHIFT).send_keys(*keys).key_up(self.keys.SHIFT).perform()

    def actions(self):
        from selenium.webdriver import ActionChains

        return ActionChains(self.driver, duration=20)

    def drag(self, name, start, x, y=0):
        """Drag from a place in an element (parts of its size) by some pixels."""
        element = self.find(name)
        size = element.size
        from_x = round((start[0] - 0.5) * size["width"])
        from_y = round((start[1] - 0.5) * size["height"])
        actions = self.actions().move_to_element_with_offset(element, from_x, from_y)
        actions.click_and_hold().move_by_offset(x // 2, y // 2)
        actions.move_by_offset(x - x // 2, y - y // 2).release().perform()

    def touch(self, kind, *points):
        """Fingers at places of the stage (parts of its size)."""
        box = self.run("return document.getElementById('stage').getBoundingClientRect().toJSON()")
        told = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": i}
            for i, (x, y) in enumerate(points)
        ]
        self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": told})

    def pixels(self):
        """What the canvas shows once the browser has drawn, (H, W, 3) uint8."""
        data = self.driver.execute_async_script(
            """const done = arguments[0];
            requestAnimationFrame(() => done(document.getElementById("canvas").toDataURL()));"""
        )
        image = Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2])))
        return np.asarray(image.convert("RGB"))

    def shown(self, x=0.9, y=0.1):
        """Number of the frame at a place of the stage; 0 is the photo."""
        red, _, blue, _ = self.driver.execute_async_script(
            """const [x, y, done] = arguments, canvas = document.getElementById("canvas");
            requestAnimationFrame(() => {
              const point = new OffscreenCanvas(1, 1).getContext("2d");
              const [left, top] = [x * canvas.width, y * canvas.height].map(Math.floor);
              point.drawImage(canvas, -left, -top);
              done([...point.getImageData(0, 0, 1, 1).data]);
            });""",
            x,
            y,
        )
        return 0 if blue == 255 else round((255 - red) / 30)

    def percent(self):
        return int(self.find("percent").text.removesuffix("%"))

    def status(self):
        return self.find("status").get_attribute("textContent")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("player") / "clip.html"
    write(path)
    return path


@pytest.fixture
def page(browser, clip):
    page = Page(browser)
    browser.get_log("browser"), browser.get_log("performance")
    page.screen(1280, 800)
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
    # Along the slider, along the picture, and with a finger.
    page.drag("timeline", (0.5, 0.5), 2000 // 5)
    assert page.shown() in (6, 7)
    page.drag("timeline", (0.02, 0.5), 2)
    assert page.shown() == 1
    page.drag("stage", (0.05, 0.2), 130)
    assert page.shown() == 4  # 130 of 300 pixels are three sevenths
    page.screen(390, 844, mobile=True)
    page.touch("touchStart", (0.9, 0.2))
    page.touch("touchMove", (0.7, 0.2))
    page.touch("touchMove", (0.48, 0.2))
    page.touch("touchEnd")
    assert page.shown(0.95) == 1


def test_reverse(page):
    assert page.shown() == 4
    page.press(page.keys.ARROW_LEFT)
    page.click("reverse")
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
    assert not playing(page)
    number = page.shown()
    assert page.status() == f"paused at frame {number} of 7"
    assert page.find("timeline").get_attribute("value") == str(number)


def test_playing_in_a_loop_and_once(page):
    play(page, "loop", "10")
    assert page.run("return pass(9, 100)") == [5, 6, 7, 1, 2, 3, 4, 5, 6]
    page.run("back()")
    page.press(page.keys.HOME)  # stepping pauses
    assert not playing(page)
    play(page, "once")
    assert page.run("return pass(8, 50)") == [2, 3, 4, 5, 6, 7, 7, 7]
    page.run("back()")
    assert page.shown() == 7
    assert not playing(page)
    assert page.status() == "paused at frame 7 of 7"
    page.click("play")  # again from the start
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
    page.drag("stage", (0.5, 0.5), 90)  # the edge itself
    assert (page.shown(0.75), page.shown(0.85)) == (0, 4)
    page.find("wipe").send_keys(page.keys.ARROW_LEFT * 10)
    assert (page.shown(0.55), page.shown(0.65)) == (0, 4)
    assert page.find("wipe").get_attribute("aria-valuetext") == "60 percent, from the left"
    page.find("wipe").send_keys(page.keys.HOME)
    assert page.shown(0.01) == 4
    page.find("wipe").send_keys(page.keys.END)
    assert page.shown(0.99) == 0
    page.click("compare")
    assert page.shown(0.01) == 4
    assert not page.find("wipe").is_displayed()
    page.click("compare")
    assert page.shown(0.99) == 0


def stored_images(page):
    """Pixels of the photo and of all frames, as the page holds them."""
    path = Path(page.run("return decodeURI(location.pathname)"))
    return [pixels for *_, pixels in images_in(path.read_text(encoding="utf-8"))]


def test_zoom_shows_the_pixels_themselves(page):
    page.click("compare")
    assert page.percent() == 200
    page.press("+" * 5)
    assert page.percent() == round(200 * 1.5**5)
    pixels = page.pixels()
    colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    stored = stored_images(page)[4]
    assert {*map(tuple, colours.tolist())} <= {*map(tuple, stored.reshape(-1, 3).tolist())}
    side = page.percent() / 100
    middle = pixels[pixels.shape[0] // 2 + 3, pixels.shape[1] // 2 + 3]
    assert tuple(middle) == tuple(stored[HEIGHT // 2, WIDTH // 2])
    assert np.median(counts) == pytest.approx(side**2, rel=0.2)
    page.press("0")
    assert page.percent() == 200


def test_what_to_believe_lies_over_the_frames(page, tmp_path):
    assert not page.find("trust").is_displayed()
    error, reblur = torch.zeros(2, 12, 18)
    error[:, 9:] = 1.0
    write(tmp_path / "a.html", maps=media.TrustMaps(error, reblur))
    page.open(tmp_path / "a.html")
    page.click("compare")
    plain = page.pixels()
    page.press("t")
    assert page.status() == "expected error"
    assert page.find("tag-map").text == "expected error, 0 to 38 of 255"
    seen = page.pixels()
    half = plain.shape[1] // 2
    assert np.array_equal(seen[:, : half - 30], plain[:, : half - 30])
    assert (seen[:, half + 30 :].sum(axis=2) > 500).all()
    page.click("trust")
    assert page.status() == "re-blur error"
    assert np.array_equal(page.pixels(), plain)  # there is none
    page.press("t")
    assert page.status() == "no map"
    assert page.find("trust").get_attribute("aria-pressed") == "false"


def test_moving_the_view(page):
    page.click("compare")
    whole = page.pixels()
    page.press("-")
    assert np.array_equal(page.pixels(), whole)  # never smaller than the stage
    page.click("zoom-in", "zoom-in")
    before = page.pixels()
    page.drag("stage", (0.5, 0.5), -50, 30)
    moved = page.pixels()
    assert np.array_equal(before[:-30, 50:], moved[30:, :-50])
    page.press_with_shift(page.keys.ARROW_LEFT)
    assert np.array_equal(page.pixels()[:, 30:], moved[:, :-30])  # a tenth of the stage
    assert page.shown() == 4  # time stood still
    page.press_with_shift(page.keys.ARROW_LEFT * 12, page.keys.ARROW_UP * 12)
    stored = stored_images(page)[4]
    assert tuple(page.pixels()[0, 0]) == tuple(stored[0, 0])  # the corner, and no further
    page.click("fit")
    assert np.array_equal(page.pixels(), whole)


def test_wheel_and_pinch(page):
    page.click("compare")
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    corner = ScrollOrigin.from_element(page.find("stage"), -139, -89)  # the middle of a pixel
    page.actions().scroll_from_origin(corner, 0, -500).perform()
    assert page.percent() > 300
    place = page.pixels()[11, 11]
    page.actions().scroll_from_origin(corner, 0, -500).perform()
    assert tuple(page.pixels()[11, 11]) == tuple(place)  # what is under the mouse stays there
    page.actions().scroll_from_origin(corner, 0, 5000).perform()
    assert page.percent() == 200
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
    page.press("+" * 6)
    assert page.percent() > 200
    page.until(lambda: np.abs(page.pixels().astype(int) - 127.5).min() > 70)  # no grey


def test_the_keyboard_is_enough(page):
    reached = []
    for _ in range(20):
        page.press(page.keys.TAB)
        name, ring = page.run(
            """const active = document.activeElement;
            const ringed = [active, active.closest("fieldset"), document.querySelector(".knob")];
            return [active.id || active.value || active.localName,
              ringed.some((e) => e && getComputedStyle(e).outlineStyle !== "none")];"""
        )
        if name in ("body", "html") or name in reached:
            break
        assert ring, f"{name} does not show that it has the focus"
        reached.append(name)
    assert reached == [
        "wipe", "play", "timeline", "bounce", "speed", "reverse", "compare", "zoom-out", "zoom-in",
        "fit", "summary",
    ]  # fmt: skip
    page.find("timeline").send_keys(page.keys.ARROW_RIGHT)
    assert page.shown() == 5
    page.find("reverse").send_keys(" ")
    page.find("zoom-in").send_keys(page.keys.ENTER)
    page.run("document.querySelector('input[value=bounce]').focus()")
    page.press(page.keys.ARROW_RIGHT)
    assert page.run("return document.querySelector('input:checked').value") == "loop"
    assert page.shown() == 5  # the arrow was for the choice, Space for the button
    assert page.percent() == 300
    assert page.find("reverse").get_attribute("aria-pressed") == "true"


def test_everything_has_a_name(page):
    page.driver.execute_cdp_cmd("Accessibility.enable", {})
    nodes = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    wanted = {"button", "slider", "radio", "combobox", "image", "DisclosureTriangle"}
    assert [role for role, name in named if role in wanted and not name] == []
    assert {role for role, _ in named} >= {"button", "slider", "radio", "combobox", "image"}
    for expected in [
        ("button", "Play"), ("slider", "Time"), ("combobox", "Speed"), ("radio", "Once"),
        ("slider", "Part of the picture that shows the blurry photo"), ("group", "How to play"),
        ("group", "Zoom"),
        ("image", "The photo, frame 4 of 7"), ("button", "Zoom out"), ("heading", "my photo.png"),
    ]:  # fmt: skip
        assert expected in named
    assert page.find("status").get_attribute("aria-live") == "polite"
    assert page.run("return document.documentElement.lang") == "en"


def luminance(colour):
    """Relative luminance of `rgb(...)` as WCAG 2 defines it."""
    values = np.array([float(value) for value in re.findall(r"[\d.]+", colour)[:3]]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_light_and_dark(page):
    grounds = []
    for scheme in ("light", "dark"):
        page.prefer(**{"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"})
        pairs = page.run(
            """const style = (query) => getComputedStyle(document.querySelector(query));
            const ground = style("body").backgroundColor;
            return [[style("h1").color, ground], [style("dt").color, ground],
              [style("#reverse").color, style("#reverse").backgroundColor],
              [style("#compare").color, style("#compare").backgroundColor],
              [style("#play").color, style("#play").backgroundColor]];"""
        )
        for text, ground in pairs:
            low, high = sorted((luminance(text), luminance(ground)))
            assert (high + 0.05) / (low + 0.05) > 4.5, (scheme, text, ground)
        grounds.append(luminance(pairs[0][1]))
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
    media.write_frames(frames, path, photo=photo, facts=FACTS, objects=objects, origin=origin)
    return path


def at_quarters(page):
    """Frames shown at the left, in the middle and at the right."""
    return tuple(page.shown(x, 0.9) for x in (0.1, 0.4, 0.9))


def test_a_click_turns_an_object_around(page, movable):
    page.open(movable)
    page.click("compare")
    page.press(page.keys.HOME)
    assert at_quarters(page) == (1, 1, 1)
    page.drag("stage", (0.9, 0.5), 0)
    assert at_quarters(page) == (1, 1, 7)
    assert page.status() == "object 2 turned around"
    page.press(page.keys.ARROW_RIGHT)
    assert at_quarters(page) == (2, 2, 6)
    page.click("reverse")
    assert at_quarters(page) == (2, 2, 6)
    page.click("reverse")
    page.drag("stage", (0.5, 0.5), 0)  # no object there
    page.drag("stage", (0.1, 0.5), 20)  # a drag through time is no click
    assert at_quarters(page) == (2, 2, 6)
    red = page.pixels()[50, 2 * (WIDTH - 42), 0]
    assert red == pytest.approx(0.8 * red_of(2) + 0.2 * red_of(6), abs=2)
    page.press("+++")
    page.drag("stage", (0.5, 0.5), 0)  # zoomed in to the middle
    page.press("0")
    assert at_quarters(page) == (2, 2, 6)
    page.drag("stage", (0.9, 0.5), 0)
    assert at_quarters(page) == (2, 2, 2)


def test_objects_by_keyboard_and_the_command_that_repeats_it(page, movable):
    page.open(movable)
    page.click("compare")
    page.press(page.keys.HOME)
    buttons = page.find("objects").find_elements("tag name", "button")
    assert [button.accessible_name for button in buttons] == [
        "Turn object 1 around", "Turn object 2 around",
    ]  # fmt: skip
    plain = page.pixels().astype(int)
    page.run("arguments[0].focus()", buttons[0])
    veiled = np.abs(page.pixels() - plain).sum(-1) > 0
    assert veiled[:, : 2 * (WIDTH // 4) - 2].mean() > 0.95  # it is pointed out, and nothing else
    assert not veiled[:, 2 * (WIDTH // 4) + 2 :].any()
    buttons[0].send_keys(" ")
    assert at_quarters(page) == (7, 1, 1)
    assert buttons[0].get_attribute("aria-pressed") == "true"
    page.run("document.querySelector('.save').open = true")
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
    assert not page.find("objects").is_displayed()
    assert page.run("return document.getElementById('command')") is None


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    path = tmp_path_factory.mktemp("player") / "wide.html"
    grey = torch.full((7, 3, 800, 1200), 0.5)
    media.write_frames(grey, path, photo=media.Photo(grey[0], name="IMG_1.JPG"), facts=FACTS)
    return path


@pytest.mark.parametrize("screen", [(320, 568), (390, 844), (844, 390), (768, 1024), (1920, 1080)])
def test_it_fits_every_screen(page, wide, screen):
    mobile = min(screen) < 600
    page.screen(*screen, mobile)
    page.open(wide)
    boxes = page.run(
        """const parts = "h1, dl, #stage, button, select, fieldset, #timeline";
        return [...document.querySelectorAll(parts)]
          .filter((part) => part.checkVisibility())
          .map((part) => [part.id || part.localName, part.getBoundingClientRect().toJSON()]);"""
    )
    assert len(boxes) == 12
    for name, box in boxes:
        assert box["left"] >= 0, name
        assert box["right"] <= screen[0], name
        if mobile and name not in ("h1", "dl", "stage"):
            assert box["height"] >= 42, name
        if screen not in [(320, 568)]:
            assert box["bottom"] <= screen[1], name
    stage = dict(boxes)["stage"]
    assert stage["width"] / stage["height"] == pytest.approx(1.5, abs=0.02)
    assert stage["width"] >= min(screen[0] - 25, 400)
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


HOSTILE = (
    "</title></script><script>window.ran=1</script><img src=x onerror=ran=1>&amp;'\" \udcff.png"
)


def test_names_are_only_text(page, tmp_path):
    frames, photo = clip_of()
    photo = media.Photo(photo.pixels, name=HOSTILE.replace("/", "\u2215"))
    media.write_frames(frames, tmp_path / "a.html", photo=photo, facts={"<b>": HOSTILE})

    page.open(tmp_path / "a.html")

    text = HOSTILE.replace("\udcff", "?")
    assert page.driver.title == text.replace("/", "\u2215")
    assert page.find("player").is_displayed()
    assert page.run("return document.querySelector('.facts').lastElementChild.textContent") == (
        f"<b> {text}"
    )
    assert page.run("return [window.ran, document.querySelectorAll('script').length]") == [None, 1]


def test_without_scripts_the_images_are_there(page, clip):
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
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
    assert not page.find("compare").is_displayed()
    assert not page.find("wipe").is_displayed()


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


def test_the_video_plays_in_a_browser(page, tmp_path):
    write(tmp_path / "clip.mp4")
    (tmp_path / "video.html").write_text("<video src=clip.mp4 muted></video>")
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

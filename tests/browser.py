"""A real browser, and a page in it by what a user sees and does."""

import base64
import io
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--disable-dev-shm-usage --force-color-profile=srgb --window-size=1280,860"
).split()


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
        ready = "document.querySelector('video') || document.getElementById('loading').hidden"
        self.until(lambda: self.run(f"return {ready}"))

    def prefer(self, **features):
        chosen = [{"name": name, "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": chosen})

    def screen(self, width, height, mobile=False):
        told = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", told)
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": mobile})

    def keep(self, name):
        """Keep a picture of the screen, to be looked at, where somebody asks for it."""
        if folder := os.environ.get("PLAYER_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(folder, f"{name}.png")))

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

    def focus(self, name):
        self.run("document.getElementById(arguments[0]).focus()", name)

    def press(self, *keys):
        """Press keys wherever the focus is."""
        self.actions().send_keys(*keys).perform()

    def press_with_shift(self, *keys):
        self.actions().key_down(self.keys.SHIFT).send_keys(*keys).key_up(self.keys.SHIFT).perform()

    def actions(self):
        from selenium.webdriver import ActionChains

        return ActionChains(self.driver, duration=20)

    def look(self, view):
        """Choose how the frames are compared with the photo."""
        self.look_at_once(view)
        self.pixels()

    def look_at_once(self, view):
        self.run("document.querySelector(`input[value=${arguments[0]}]`).click()", view)

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
        box = self.box("#stage")
        told = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": i}
            for i, (x, y) in enumerate(points)
        ]
        self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": told})

    def box(self, query):
        """Where an element is."""
        script = "return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()"
        return self.run(script, query)

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
        return int(self.find("percent").get_attribute("textContent").removesuffix("%"))

    def status(self):
        return self.find("status").get_attribute("textContent")

"""The page about a batch."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import Page, browser
from helpers import invoke
from PIL import Image

from blurvid import media
from blurvid.batch import write_contact
from blurvid.config import DirectSpec
from blurvid.networks import DirectNet
from blurvid.planning import Job, Outcome
from blurvid.weights import store

__all__ = ["browser"]  # a fixture


def strip_of(folder, name="a", height=40, width=60, count=7):
    """A blue photo, and frames that tell their number by their red."""
    frames = torch.zeros(count, 3, height, width)
    frames[:, 0] = torch.linspace(0.2, 1, count)[:, None, None]
    photo = torch.zeros(3, height, width)
    photo[2] = 1
    path = folder / f"{name}.webp"
    media.save_strip(frames, path, media.Photo(photo))
    return path


def test_a_strip_holds_the_photo_and_at_most_seven_frames(tmp_path):
    for count, cells in ((3, 4), (7, 8), (25, 8)):
        with Image.open(strip_of(tmp_path, f"{count}", count=count)) as strip:
            assert strip.size == (60, 40 * cells)
            pixels = np.asarray(strip.convert("RGB"), int)
        assert pixels[20, 30] == pytest.approx((0, 0, 255), abs=12)
        reds = pixels[60::40, 30, 0]
        assert reds == pytest.approx(np.linspace(51, 255, cells - 1), abs=12)
    with Image.open(strip_of(tmp_path, "large", 900, 1200)) as strip:
        assert strip.size == (480, 360 * 8)


@pytest.fixture
def batch(tmp_path, surroundings, monkeypatch):
    """A folder with photos, one of them broken, and a small network."""
    net = DirectNet(DirectSpec(channels=(8, 12), blocks=(1, 1)))
    told = {"seven_frame_psnr": 26.5}
    store.save(net, tmp_path / "w", name="w", recipe={}, data="none", scores=told, licence="MIT")
    for name in ("b", "a & <b>"):
        media.write_still(torch.rand(3, 48, 64), tmp_path / f"in/{name}.png")
    (tmp_path / "in/c.png").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)
    return "extract", "in", "-o", "out", "--weights", "w", "--threads", 1, "--device", "cpu"


def test_the_command_writes_a_page_about_all(batch):
    words = (*batch, "--format", "gif", "--contact", "out/all.html")
    result = invoke(*words)
    assert result.exit_code == 3  # of the photo that failed
    assert result.stdout == "out/a & <b>.gif\nout/b.gif\nout/all.html\n"
    text = Path("out/all.html").read_text(encoding="utf-8")
    assert "<title>2 photos, 1 failed</title>" in text
    assert re.findall(r"<h2 [^>]*>(.*?)</h2>", text) == ["a &amp; &lt;b&gt;.png", "b.png", "c.png"]
    assert text.count('class="card failed"') == 1
    assert 'href="a%20%26%20%3Cb%3E.gif"' in text
    sources = set(re.findall(r'<img src="([^"]+)" loading="lazy"', text))
    assert len(sources) == 2
    assert {Path(source).parent.name for source in sources} == {"all_files"}
    assert len(list(Path("out/all_files").iterdir())) == 2
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text)

    assert invoke(*words).exit_code == 6  # it is there already
    again = invoke(*words, "--skip-existing", "--json")
    assert [json.loads(line).get("skipped") for line in again.stdout.splitlines()] == [
        *(True, True, None)
    ]
    assert "Was there already" in Path("out/all.html").read_text(encoding="utf-8")


def test_a_page_that_cannot_be_is_refused_at_once(batch):
    result = invoke(*batch, "--contact", "sheet.pdf")
    assert result.exit_code == 2
    assert ".html" in result.stderr
    assert not Path("out").exists()


def test_photos_play_wipe_and_are_sorted(browser, tmp_path):
    outcomes = []
    for name, gain, seconds in (("a", 20.0, 3.0), ("b", 30.0, 1.0), ("c", None, 2.0)):
        besides = {"contact": (strip_of(tmp_path, name),)}
        job = Job(Path(f"{name}.jpg"), tmp_path / f"{name}.gif", name, "gif", besides=besides)
        verdict = {"text": name, "level": "some", "gain": gain}
        outcomes.append(Outcome(job, facts={"verdict": verdict, "seconds": seconds}))
    path = write_contact(outcomes, tmp_path / "all.html")
    page = Page(browser)
    browser.get_log("browser")
    page.prefer(**{"prefers-reduced-motion": "no-preference"})
    page.screen(900, 700)
    browser.get(path.as_uri())
    page.until(lambda: page.run("return [...document.images].every((it) => it.complete)"))

    def names():
        return page.run("return [...document.querySelectorAll('h2')].map((it) => it.textContent)")

    def at():
        return page.run("return document.querySelector('.window').style.getPropertyValue('--at')")

    assert names() == ["a.jpg", "b.jpg", "c.jpg"]
    for key, order in (("gain", "bac"), ("seconds", "acb"), ("name", "abc")):
        page.run("document.querySelector(`input[value=${arguments[0]}]`).click()", key)
        assert names() == [f"{name}.jpg" for name in order]

    page.keep("contact-900x700")
    middle = at()
    page.run("document.querySelector('.window').focus()")
    page.until(lambda: at() != middle)
    page.press(page.keys.ARROW_RIGHT)
    assert page.run("return document.querySelector('.window').style.getPropertyValue('--x')") == (
        "55.0%"
    )
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []

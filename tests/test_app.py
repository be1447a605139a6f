"""The page of `blurvid app`: who may ask, what may come, what becomes of it, and how it ends."""

import asyncio
import base64
import io
import json
import threading
import time
import zipfile
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from browser import Page, browser
from helpers import invoke, save_tiny
from PIL import Image

from blurvid import app as served
from blurvid.app import desk as desks
from blurvid.app import pages as answers
from blurvid.config import RunOptions
from blurvid.errors import InputError, OptionError

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
from blurvid.app.pages import Guard, Pages, Windows
from blurvid.app.tasks import Asked, clean

__all__ = ["browser"]  # a fixture

TOKEN, HOST = "secret", "127.0.0.1:4321"
RUN = RunOptions(device="cpu", threads=1)


def photo(height=64, width=96, suffix=".png"):
    """A photo as the bytes of a file."""
    across = np.linspace(0, 255, width).astype(np.uint8)
    pixels = np.stack([np.tile(across, (height, 1))] * 3, axis=-1)
    pixels[20:30, 40:60] = (200, 40, 40)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, Image.registered_extensions()[suffix])
    return stream.getvalue()


@pytest.fixture
def tiny(surroundings, tmp_path):
    """A small network in the place of the released ones."""
    save_tiny(tmp_path / "released" / "tiny", score=26.5)


class Client:
    """Asks the app as uvicorn does, without a network."""

    def __init__(self, desk, windows):
        self.desk, self.windows = desk, windows
        self.app = Guard(Pages(desk, windows).app, TOKEN, (HOST,))

    def ask(self, method, path, body=b"", token=TOKEN, gone=False, **headers):
        """Status, headers and body of an answer; who has `gone` does not wait for all of it."""
        return asyncio.run(self._ask(method, f"/{token}/{path}", body, headers, gone))

    async def _ask(self, method, target, body=b"", headers=(), gone=False):
        path, _, query = target.partition("?")
        told = {"host": HOST} | dict(headers)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.encode(), v.encode()) for k, v in told.items()],
            "client": ("127.0.0.1", 5),
            "server": ("127.0.0.1", 4321),
        }
        pieces = [body[i : i + 65536] for i in range(0, len(body), 65536)] or [b""]
        waiting = [{"type": "http.request", "body": p, "more_body": True} for p in pieces]
        waiting[-1]["more_body"] = False
        sent = []

        async def receive():
            if not waiting and not gone:
                await asyncio.Event().wait()
            return waiting.pop(0) if waiting else {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        await self.app(scope, receive, send)
        answer = b"".join(message.get("body", b"") for message in sent[1:])
        given = {k.decode().lower(): v.decode() for k, v in sent[0]["headers"]}
        return sent[0]["status"], given, answer

    def bring(self, data, name="a.png", **wanted):
        query = "".join(f"&{key}={value}" for key, value in wanted.items())
        status, _, body = self.ask("POST", f"photos?name={quote(name)}{query}", data)
        return status, json.loads(body)

    def jobs(self):
        return {job["id"]: job for job in self.desk.record()}

    def until(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.01)

    def done(self, number):
        self.until(lambda: self.jobs()[number]["state"] in ("done", "failed"))
        assert self.jobs()[number]["error"] == ""
        return self.jobs()[number]


@pytest.fixture
def client(tiny, tmp_path):
    folder = tmp_path / "desk"
    folder.mkdir()
    desk = desks.Desk(folder, RUN)
    yield Client(desk, Windows(0.0, lambda: None))
    desk.close()


# who may ask


@pytest.mark.parametrize(
    "changes",
    [
        {"token": "other"},
        {"token": ""},
        {"token": "secretly"},
        {"host": "evil.example:4321"},
        {"host": "127.0.0.1:80"},
        {"host": ""},
        {"origin": "http://evil.example"},
        {"origin": "null"},
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "app.js"), ("POST", "photos")])
def test_strangers_are_refused(client, changes, method, path):
    status, _, body = client.ask(method, path, **changes)
    assert status == 403
    assert TOKEN.encode() not in body
    assert client.jobs() == {}


def test_without_a_token_nothing_is_answered(client):
    for path in ("/", "/app.js", "/favicon.ico", f"/{TOKEN}"):
        status, *_ = asyncio.run(client._ask("GET", path))
        assert status == 403


@pytest.mark.parametrize(
    "path", ["", "look.css", "app.css", "app.js", "part.js", "drop.js", "words.js"]
)
def test_the_page_is_of_this_machine_alone(client, path):
    status, headers, body = client.ask("GET", path, origin=f"http://{HOST}")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert b"http:" not in body and b"https:" not in body and b"//cdn" not in body


@pytest.mark.parametrize("path", ["nothing.js", "index.txt", "..%2fdesk.py", "__init__.py"])
def test_there_is_nothing_else(client, path):
    assert client.ask("GET", path)[0] == 404


# what may come


@pytest.mark.parametrize(
    ("name", "data", "status", "word"),
    [
        ("a.txt", photo(), 415, "not the name of a photo"),
        ("", photo(), 415, "not the name of a photo"),
        ("a.png", b"", 415, "empty"),
        ("a.png", b"no picture", 415, "a.png"),
        ("a.png", photo()[:60], 415, "a.png"),
        ("a.png", b"\x1a\x45\xdf\xa3" + bytes(300), 415, "video"),
        ("a.png", photo(16, 16), 415, "too few"),
    ],
)
def test_what_is_no_photo_is_refused_and_not_kept(client, name, data, status, word):
    found, told = client.bring(data, name)
    assert found == status
    assert word in told["error"]
    assert list(client.desk.folder.iterdir()) == []


@pytest.mark.parametrize(
    "wanted",
    [{"model": "big"}, {"quality": "9"}, {"direction": "in"}, {"frames": "1"}, {"frames": "x"}],
)
def test_settings_that_mean_nothing_are_refused(client, wanted):
    assert client.bring(photo(), **wanted)[0] == 400


def test_limits(client, monkeypatch):
    monkeypatch.setattr(answers, "MOST_BYTES", 70_000)
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "png")
    status, told = client.bring(stream.getvalue())
    assert (status, "MB" in told["error"]) == (413, True)
    monkeypatch.setattr(desks, "MOST_PHOTOS", 1)
    assert client.bring(photo())[0] == 201
    status, told = client.bring(photo())
    assert (status, told["error"]) == (400, "1 photos are here already; remove some first")
    assert len(client.desk.pictures) == 1


def test_names_lead_nowhere():
    assert clean("../../etc/a.jpg") == "a.jpg"
    assert clean("C:\\x\\b\r\n.JPG") == "b.JPG"
    assert len(clean("n" * 500 + ".png")) == 104
    for name in ("", "..", ".png", "a.exe", "a.html"):
        with pytest.raises(InputError):
            clean(name)


@pytest.mark.parametrize(
    "part", [[0, 0, 8, 64], [-1, 0, 40, 40], [0, 0, 40], "0,0", [0, 0, 1, None]]
)
def test_parts_that_are_none(part):
    with pytest.raises(OptionError):
        Asked.of({"part": part})


# what becomes of it


def test_files_are_those_of_the_command(client, tmp_path, monkeypatch):
    status, told = client.bring(photo(), "my photo.png", direction="left")
    assert status == 201
    job = client.done(told["id"])
    assert (job["name"], job["frames"], job["width"]) == ("my photo.png", 7, 96)
    assert job["level"] in ("sharper", "some", "none") and job["verdict"]

    monkeypatch.chdir(tmp_path)
    Path("my photo.png").write_bytes(photo())
    words = ["extract", "my photo.png", "--direction", "left", "--threads", 1]
    for kind in ("mp4", "gif", "webp", "html"):
        assert invoke(*words, "-o", f"clip.{kind}").exit_code == 0
        status, headers, body = client.ask("GET", f"jobs/{job['id']}/{kind}")
        assert status == 200
        assert headers["content-disposition"].startswith("attachment; filename")
        assert quote(f"my photo.{kind}") in headers["content-disposition"]
        assert body == Path(f"clip.{kind}").read_bytes()
    assert invoke(*words, "-o", "frames", "--format", "png").exit_code == 0
    _, _, body = client.ask("GET", f"jobs/{job['id']}/png")
    with zipfile.ZipFile(io.BytesIO(body)) as bundle:
        found = {name: bundle.read(name) for name in bundle.namelist()}
    assert found == {path.name: path.read_bytes() for path in Path("frames").iterdir()}
    assert client.ask("GET", f"jobs/{job['id']}/wipe")[2][4:8] == b"ftyp"
    assert client.ask("GET", f"jobs/{job['id']}/exe")[0] == 404

    status, headers, body = client.ask("GET", f"jobs/{job['id']}/player")
    assert headers["content-security-policy"].startswith("sandbox allow-scripts")
    assert body == Path("clip.html").read_bytes()
    preview = client.ask("GET", f"photos/{job['photo']}")[2]
    assert Image.open(io.BytesIO(preview)).size == (96, 64)


def test_a_part_is_worked_on_at_once(client, monkeypatch):
    go, real = threading.Event(), desks.Desk._do

    def slow(self, job):
        while job.asked.part is None and not go.is_set():
            job.tell("motion", 0.5)
            time.sleep(0.001)
        real(self, job)

    monkeypatch.setattr(desks.Desk, "_do", slow)
    _, whole = client.bring(photo())
    client.until(lambda: client.jobs()[whole["id"]]["share"] == 0.5)
    assert client.jobs()[whole["id"]]["left"] is not None
    number = client.jobs()[whole["id"]]["photo"]
    for part, status in ([60, 0, 40, 40], 400), ([10, 10, 40, 32], 201):
        body = json.dumps({"photo": number, "part": part}).encode()
        found, _, told = client.ask("POST", "jobs", body)
        assert found == status
    job = client.done(json.loads(told)["id"])
    assert job["part"] == (10, 10, 40, 32)
    assert "40 × 32" in client.ask("GET", f"jobs/{job['id']}/player")[2].decode()
    go.set()
    client.done(whole["id"])  # which began anew


def test_what_fails_is_told_and_the_next_goes_on(client, monkeypatch):
    real = desks.Desk._ready
    monkeypatch.setattr(desks.Desk, "_ready", lambda *_: 1 / 0)
    _, one = client.bring(photo())
    client.until(lambda: client.jobs()[one["id"]]["state"] == "failed")
    assert "ZeroDivisionError" in client.jobs()[one["id"]]["error"]
    assert client.ask("GET", f"jobs/{one['id']}/mp4")[0] == 409
    monkeypatch.setattr(desks.Desk, "_ready", real)
    _, two = client.bring(photo())
    client.done(two["id"])


def test_what_is_removed_is_deleted(client):
    _, told = client.bring(photo())
    client.done(told["id"])
    client.ask("GET", f"jobs/{told['id']}/mp4")
    assert list(client.desk.folder.iterdir())
    assert client.ask("DELETE", f"jobs/{told['id']}")[0] == 204
    assert list(client.desk.folder.iterdir()) == []
    assert client.jobs() == {} and client.desk.pictures == {}
    for method, path in (("DELETE", "jobs/1"), ("GET", "jobs/1/mp4"), ("GET", "photos/1")):
        assert client.ask(method, path)[0] == 404
    assert client.ask("POST", "jobs", b'{"photo": 1}')[0] == 404


# how it ends


def test_closing_the_last_window_ends_all():
    async def watch(opened):
        ended = asyncio.Event()
        windows = Windows(0.01, ended.set)
        with windows:
            with windows:
                pass
            await asyncio.sleep(0.05)
            assert not ended.is_set()
            if not opened:
                return
        await asyncio.wait_for(ended.wait(), 10)

    asyncio.run(watch(True))
    asyncio.run(watch(False))


def test_a_page_hears_of_the_work_until_it_is_closed(client, monkeypatch):
    monkeypatch.setattr(answers, "TICK", 0.0)
    status, headers, body = client.ask("GET", "events", gone=True)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert body.startswith(b"retry:") or body == b""
    assert client.windows.count == 0


def test_closing_the_desk_stops_its_work(tiny, tmp_path, monkeypatch):
    at_work = threading.Event()

    def endless(self, wanted):
        job = next(iter(self.tasks.values()))

        def run(photo):
            at_work.set()
            while True:
                job.tell("motion", 0.1)
                time.sleep(0.001)

        return run

    monkeypatch.setattr(desks.Desk, "_ready", endless)
    desk = desks.Desk(tmp_path, RUN)
    client = Client(desk, Windows(0.0, lambda: None))
    client.bring(photo())
    at_work.wait(60)
    desk.close()
    assert not desk._thread.is_alive()


def test_without_its_packages_the_app_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    result = invoke("app", "--no-browser")
    assert result.exit_code == 2
    assert "pip install 'blurvid[app]'" in result.stderr


# all of it, in a browser

DROP = """
const [name, data] = arguments;
const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
const carried = new DataTransfer();
carried.items.add(new File([bytes], name, { type: "image/png" }));
for (const kind of ["dragenter", "dragover", "drop"]) {
  document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: carried, bubbles: true }));
}
"""


@pytest.fixture
def address(tiny, monkeypatch):
    """An app that is served; ended by closing its window."""
    monkeypatch.setattr(served, "GRACE", 0.2)
    found, told = threading.Event(), []

    def ready(address):
        told.append(address)
        found.set()

    thread = threading.Thread(target=served.serve, args=(RUN, ready))
    thread.start()
    assert found.wait(60)
    yield told[0]
    thread.join(60)
    assert not thread.is_alive()


def test_drop_wait_play_download(browser, address, tmp_path, monkeypatch):
    folders = set(Path(served.tempfile.gettempdir()).glob("blurvid-app-*"))
    assert folders
    page = Page(browser)
    browser.get_log("browser")
    page.screen(1200, 800)
    browser.get(address)
    page.until(lambda: page.find("choose").is_displayed())
    page.run(DROP, "my photo.png", base64.b64encode(photo()).decode())
    page.until(lambda: page.find("player").is_displayed())
    assert page.find("name").text == "my photo.png"

    browser.switch_to.frame(page.find("player"))
    page.until(lambda: page.run("return document.getElementById('loading').hidden"))
    page.until(lambda: page.run("return document.getElementById('timeline').value") != "4")
    assert page.run("try { return parent.document.title } catch { return 'kept apart' }") == (
        "kept apart"
    )
    browser.switch_to.default_content()

    place = tmp_path / "downloads"
    place.mkdir()
    told = {"behavior": "allow", "downloadPath": str(place)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", told)
    page.click("save", "save-gif")
    page.until((place / "my photo.gif").exists)
    monkeypatch.chdir(tmp_path)
    Path("my photo.png").write_bytes(photo())
    assert invoke("extract", "my photo.png", "-o", "clip.gif", "--threads", 1).exit_code == 0
    assert (place / "my photo.gif").read_bytes() == Path("clip.gif").read_bytes()

    # A part, chosen by keys alone.
    page.run("document.getElementById('saves').hidePopover()")
    page.focus("part")
    page.press(page.keys.ENTER)
    page.until(lambda: page.find("asking").is_displayed())
    assert page.find("part-size").text == "38 × 32"
    page.press(page.keys.ARROW_LEFT)
    page.press_with_shift(page.keys.ARROW_RIGHT)
    assert "40 by 32 pixels, 27 from the left" in page.find("box").get_attribute("aria-label")
    page.press(page.keys.ENTER)
    page.until(lambda: page.find("name").text == "my photo.png, a part")
    page.until(lambda: page.find("player").is_displayed())
    assert len(browser.find_elements("css selector", ".item")) == 2

    # A folder, of which the photos are taken.
    (tmp_path / "folder/inner").mkdir(parents=True)
    (tmp_path / "folder/inner/x.png").write_bytes(photo())
    (tmp_path / "folder/notes.txt").write_text("no photo")
    page.find("folder").send_keys(str(tmp_path / "folder"))
    page.until(lambda: page.find("name").text == "x.png")
    page.until(lambda: page.find("player").is_displayed())
    assert page.find("notes").text == ""
    assert len(browser.find_elements("css selector", ".item")) == 3

    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    browser.get("about:blank")  # the window is closed
    page.until(lambda: not any(folder.exists() for folder in folders))


@pytest.mark.parametrize(("width", "height"), [(360, 740), (820, 1180), (1440, 900)])
def test_all_is_in_reach_on_any_screen(browser, address, width, height):
    page = Page(browser)
    page.screen(width, height, mobile=width < 1000)
    browser.get(address)
    page.until(lambda: page.find("choose").is_displayed())
    page.keep(f"app-{width}x{height}-welcome")
    page.run(DROP, "a.png", base64.b64encode(photo()).decode())
    page.until(lambda: page.find("player").is_displayed())
    page.keep(f"app-{width}x{height}")
    page.click("settings")
    for name in ("add", "settings", "part", "again", "save", "model"):
        box = page.box(f"#{name}")
        assert box["width"] >= 30 and box["height"] >= 30, name
        assert box["left"] >= 0 and box["right"] <= width, name
        assert box["top"] >= 0 and box["bottom"] <= height, name
    assert page.run("return document.documentElement.scrollWidth") == width
    unnamed = """return [...document.querySelectorAll("button, select, input, iframe")].filter(
      (it) => !(it.textContent.trim() || it.ariaLabel || it.title || it.labels?.length)).length"""
    assert page.run(unnamed) == 0
    page.keep(f"app-{width}x{height}-settings")
    browser.get("about:blank")

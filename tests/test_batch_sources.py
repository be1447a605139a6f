"""Which photos a batch is made of: patterns, lists, names of results, shares."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from helpers import plan
from PIL import Image

from blurvid import files, media
from blurvid.errors import InputError, OptionError


def make_photos(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path, format="PNG")
    return [folder / name for name in names]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def targets(jobs):
    return [job.target.as_posix() for job in jobs]


# patterns


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("in/*.jpg", ["a", "c"]),
        ("in/**/*.jpg", ["a", "c", "x/b", "x/y/d"]),
        ("in/**", ["a", "c", "x/b", "x/e", "x/y/d"]),
        ("in/**/*", ["a", "c", "x/b", "x/e", "x/y/d"]),
        ("in/*/[be].*", ["x/b", "x/e"]),
        ("in/?/y", ["x/y/d"]),  # a folder is searched
        ("in/*/y/d.jpg", ["x/y/d"]),
        ("i*/x/b.jpg", ["in/x/b"]),
        ("./in/**/y/*", ["x/y/d"]),
    ],
)
def test_patterns_keep_the_tree_below_their_first_wildcard(here, pattern, expected):
    make_photos(here, *(f"in/{name}.jpg" for name in ("a", "c", "x/b", "x/y/d")), "in/x/e.png")
    (here / "in/x/.hidden.jpg").touch()
    (here / "in/x/notes.txt").touch()
    (here / "in/x/round").symlink_to(here / "in")
    jobs = plan([pattern], Path("out"), "gif")
    assert targets(jobs) == [f"out/{name}.gif" for name in expected]


def test_a_file_of_that_very_name_wins_over_a_pattern(here):
    make_photos(here, "a[1].jpg", "a1.jpg")
    (job,) = plan(["a[1].jpg"], Path("out"))
    assert job.photo == Path("a[1].jpg")
    (job,) = plan(["a[1-2].jpg"], Path("out"))
    assert job.photo == Path("a1.jpg")


def test_a_pattern_that_matches_nothing(here):
    make_photos(here, "a.png")
    with pytest.raises(InputError, match=r"\*\.jpg: no such file or folder, and no photo that"):
        plan(["*.jpg"], Path("out"))
    good, bad = plan(["a.png", "*.jpg"], Path("out"))
    assert (good.error, bad.error is None) == (None, False)


def test_a_pattern_that_goes_up_does_not_lead_out_of_the_output_folder(here):
    make_photos(here, "b.png", "in/x/c.png")
    assert targets(plan(["in/*/../../*.png"], Path("out"), "gif")) == ["out/b.gif"]
    assert targets(plan(["in/*/../x/c.png"], Path("out"), "gif")) == ["out/x/c.gif"]


def test_one_photo_of_a_pattern_is_not_written_to_a_file(here):
    make_photos(here, "a.png")
    with pytest.raises(OptionError, match="name a folder"):
        plan(["*.png"], Path("clip.gif"))


# folders


def test_an_empty_name_is_not_the_current_folder(here):
    make_photos(here, "a.png")
    with pytest.raises(InputError, match="no such file"):
        plan([""], Path("out"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_pipes_in_a_folder_are_no_photos(here):
    """Reading one would wait for ever; a pipe that is named itself may be meant."""
    make_photos(here, "in/a.png")
    os.mkfifo(here / "in/b.png")
    (here / "in/c.png").symlink_to("nowhere")
    for source in ("in", "in/*.png"):
        jobs = plan([source], Path("out"), "gif")
        assert targets(jobs) == ["out/a.gif", "out/c.gif"]  # a broken link is not passed over
    assert len(plan(["in/b.png"], Path("out"))) == 1


def test_the_output_folder_is_no_source(here):
    make_photos(here, "in/a.jpg", "in/out/a_1.png", "in/out/deep/b.png")
    for source in ("in", "in/**/*.*", "in/**"):
        jobs = plan([source], Path("in/out"), "png", trusts=[Path("in/sheets")])
        assert [job.photo for job in jobs] == [Path("in/a.jpg")]
    with pytest.raises(OptionError, match="taken for photos the next time"):
        plan(["in/out"], Path("in/out"), "gif")


def test_a_folder_that_cannot_be_read_does_not_stop_the_others(here, monkeypatch):
    make_photos(here, "in/a.png", "in/locked/b.png", "in/z/c.png")
    listing = Path.iterdir

    def iterdir(path):
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    for source in ("in", "in/**/*.png"):
        jobs = plan([source], Path("out"), "gif", name="{stem}")
        if source == "in":  # which Path.glob does not list by iterdir
            assert targets(job for job in jobs if not job.error) == ["out/a.gif", "out/c.gif"]
        assert [str(job.error) for job in jobs if job.error] == ["in/locked: permission denied"]
    with pytest.raises(InputError, match="locked"):
        media.list_photos(here / "in", recursive=True)


def test_the_same_photo_is_done_once(here):
    make_photos(here, "in/a.png")
    assert len(plan(["in", "in/a.png", "in/../in/a.png", "in"], Path("out"))) == 1
    listed = [Path("in/a.png"), Path("in/../in/a.png"), here / "in/a.png", Path("in")]
    assert targets(plan([], Path("out"), "gif", listed=listed)) == ["out/in/a.gif"]
    assert len(plan(["-", "-"], Path("out"))) == 1


# lists


def test_a_list_keeps_the_folders_of_its_photos(here, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    photos = make_photos(here, "x/a.png", "x/b.png", "y/c.png") + make_photos(elsewhere, "d.png")
    listed = [Path("x/a.png"), Path("x/../y"), here / "x/b.png", photos[3], Path("x/a.png")]
    jobs = plan([], Path("out"), "gif", listed=listed)
    where = elsewhere.relative_to(elsewhere.anchor).as_posix()
    assert targets(jobs) == ["out/x/a.gif", "out/y/c.gif", "out/x/b.gif", f"out/{where}/d.gif"]
    os.chdir("x")
    (job,) = plan([], Path("out"), "gif", listed=[Path("../y/c.png")])
    assert targets([job]) == ["out/y/c.gif"]


def test_what_a_list_names_is_no_pattern(here):
    make_photos(here, "a1.png", "-")
    jobs = plan([], Path("out"), "gif", listed=[Path("a[1].png"), Path("-"), Path("a1.png")])
    assert [bool(job.error) for job in jobs] == [True, False, False]
    assert jobs[1].photo == Path("-")


@pytest.mark.parametrize(
    ("data", "null", "names"),
    [
        (b"a.png\nb c.png\n\n", False, ["a.png", "b c.png"]),
        (b"\xef\xbb\xbfa.png\r\n\xc3\xbc.png", False, ["a.png", "ü.png"]),
        (b"a\nb.png\0c.png\0", True, ["a\nb.png", "c.png"]),
    ],
)
def test_lists_are_read(tmp_path, data, null, names):
    (tmp_path / "list").write_bytes(data)
    assert files.read_list(tmp_path / "list", null) == [Path(name) for name in names]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode there")
def test_names_in_lists_need_not_be_text(tmp_path):
    (tmp_path / "list").write_bytes(b"caf\xe9.png\n")
    (path,) = files.read_list(tmp_path / "list")
    assert os.fsencode(path) == b"caf\xe9.png"


@pytest.mark.parametrize(
    ("data", "problem"),
    [(b"", "names no photos"), (b"\n\n", "names no photos"), (b"a\0b\0", "use --null")],
)
def test_lists_that_are_none(tmp_path, data, problem):
    (tmp_path / "list").write_bytes(data)
    with pytest.raises(InputError, match=problem):
        files.read_list(tmp_path / "list")
    with pytest.raises(InputError, match="no such file"):
        files.read_list(tmp_path / "other")


# names


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{stem}_{model}", ["a_direct", "b_direct"]),
        ("{parent}/{stem}", ["a", "x/y/b"]),
        ("{index:04d}", ["0001", "0002"]),
        ("{weights}/{stem}-{suffix}", ["w/a-jpg", "w/b-jpg"]),
        ("{{{stem:.1}}}", ["{a}", "{b}"]),
    ],
)
def test_name_templates(here, template, expected):
    make_photos(here, "in/a.jpg", "in/x/y/b.jpg")
    for kind in ("gif", "png"):
        jobs = plan(["in"], Path("out"), kind, name=template, model="direct", weights="w")
        found = [job.target / job.stem if kind == "png" else job.target for job in jobs]
        ends = "" if kind == "png" else ".gif"
        assert [path.as_posix() for path in found] == [f"out/{name}{ends}" for name in expected]


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{name}", r"is none: there are \{stem\}, \{suffix\}"),
        *((word, "is none") for word in ("", "{}", "{stem", "{stem!r}", "{stem.__class__}")),
        ("{index:{stem}}", "is none"),
        ("{index:999999999d}", "is none"),
        ("{stem:04d}", "Unknown format code"),
        ("../{stem}", "leads out of"),
        ("/tmp/{stem}", "leads out of"),
        ("{stem}/..", "leads out of"),
        ("{stem}/", "gives no name"),
        ("{parent}/{index:.0s}", "Precision not allowed|gives no name|Unknown format"),
        ("{model}", "gives a.jpg and x/b.jpg the same name, direct; add"),
        ("{model}{stem:.0}", "the same name"),
    ],
)
def test_name_templates_that_cannot_be(here, template, problem):
    make_photos(here, "in/a.jpg", "in/x/b.jpg")
    with pytest.raises(OptionError, match=problem):
        plan(["in"], Path("out"), name=template, model="direct", weights="w")


def test_a_name_template_does_not_lead_out_by_what_it_is_filled_with(here):
    make_photos(here, "in/a.jpg")
    for weights in ("..", "../..", "x/../../y"):
        with pytest.raises(OptionError, match=r"leads out of the output folder for a\.jpg"):
            plan(["in"], Path("out"), name="{weights}/{stem}", weights=weights)


def test_a_name_template_needs_a_folder(here):
    make_photos(here, "a.jpg")
    with pytest.raises(OptionError, match="needs a folder"):
        plan(["a.jpg"], Path("a.gif"), name="{stem}")

from pathlib import Path

import pytest

from blurvid import media
from blurvid.errors import InputError

pytestmark = pytest.mark.quick


def test_kinds_by_suffix():
    assert media.is_photo(Path("a.JPG"))
    assert media.is_photo("a.tiff")
    assert not media.is_photo("a.mp4")
    assert media.is_video("clip.MOV")
    assert not media.is_video("clip.gif")
    assert not media.is_photo("jpg")


def test_natural_order():
    names = ["frame_10", "frame_2", "Frame_1", "a", "b10c", "b9c", "007", "10", "9"]
    assert sorted(names, key=media.natural_key) == [
        *("007", "9", "10", "a", "b9c", "b10c", "Frame_1", "frame_2", "frame_10")
    ]


def test_list_photos(tmp_path):
    (tmp_path / "10" / "deep").mkdir(parents=True)
    (tmp_path / "folder.jpg").mkdir()
    for name in ("x_10.png", "x_2.png", "note.txt", ".hidden.png", "ä b.JPEG"):
        (tmp_path / name).touch()
    (tmp_path / "10" / "deep" / "y.png").touch()
    (tmp_path / "10" / "z.png").touch()
    (tmp_path / "loop").symlink_to(tmp_path)

    def names(**options):
        return [str(p.relative_to(tmp_path)) for p in media.list_photos(tmp_path, **options)]

    assert names() == ["x_2.png", "x_10.png", "ä b.JPEG"]
    assert names(recursive=True) == ["10/deep/y.png", "10/z.png", *names()]


def test_list_photos_refuses(tmp_path):
    with pytest.raises(InputError, match="no such"):
        media.list_photos(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file"):
        media.list_photos(tmp_path / "file")

"""Hostile input, one test for each way in that was found open; and numbers that are not finite."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
import zlib

import numpy as np
import pytest
import torch
from fuzz_seeds import SHAPES, TINY, photos, weight_set
from helpers import extractor_of, invoke
from PIL import Image
from safetensors.torch import save_file
from torch.testing import assert_close

from blurvid import media, weights
from blurvid.errors import BlurvidError, InputError, OptionError, OutputError, WeightsError
from blurvid.lab.data import open_source, read_windows, write_windows
from blurvid.lab.data.clips import read_stills
from blurvid.lab.losses import VGGFeatures, load_vgg
from blurvid.lab.options import SynthOptions, TrainOptions
from blurvid.lab.train.learner import Learner
from blurvid.lab.train.settings import change_settings
from blurvid.lab.train.state import load_state
from blurvid.lab.train.trainer import Trainer
from blurvid.media import video
from blurvid.models import GuidedCascade, build, middle_of
from blurvid.networks.direct import relu_
from blurvid.weights import store
from blurvid.weights.pickles import read_checkpoint

CPU = torch.device("cpu")
MIB = 2**20


def changed_set(folder, description=None, tensors=None):
    """A weight set whose description or tensors were changed, with digests that are right."""
    weight_set(folder)
    listed = folder / "set.json"
    info = json.loads(listed.read_text())
    path = folder / info["files"]["direct"]["file"]
    if tensors is not None:
        data = tensors(path.read_bytes())
        path.write_bytes(data)
        info["files"]["direct"] |= {
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
        }
    listed.write_text(json.dumps(info | (description or {})))
    return folder


# Weights


def test_a_tensor_of_100_gigabytes_in_a_header_of_one_kilobyte_is_refused(tmp_path):
    count = 25 * 10**9
    entry = {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}

    def bomb(_):
        header = json.dumps({"head.bias": entry}).encode()
        return len(header).to_bytes(8, "little") + header

    with pytest.raises(WeightsError, match="not a valid safetensors file"):
        store.load(weights.find(changed_set(tmp_path / "set", tensors=bomb)))
    path = tmp_path / "vgg.safetensors"
    entry["data_offsets"][0] = 2
    path.write_bytes(bomb(b""))
    with pytest.raises(WeightsError, match="cannot read VGG16 weights"):
        load_vgg(path)


def test_numbers_of_any_size_in_a_description_do_no_harm(tmp_path):
    found = weights.find(changed_set(tmp_path / "set", {"scores": {"seven_frame_psnr": 10**400}}))
    assert found.score is None


@pytest.mark.parametrize(
    "change",
    [
        {"model": "1" * 5000},
        {"format": 10**4000},
        {"files": {"direct": {"file": "x" * 5000}}},
    ],
)
def test_refusals_of_a_description_are_short(tmp_path, change):
    with pytest.raises(WeightsError) as caught:
        weights.find(changed_set(tmp_path / "set", change))
    assert len(str(caught.value)) < 1000


def test_a_network_of_hundreds_of_blocks_is_not_set_up(tmp_path):
    spec = {"factor": 16, "channels": [2048] * 8, "blocks": [64] * 8}
    with pytest.raises(WeightsError, match="at most 128 in all"):
        store.load(weights.find(changed_set(tmp_path / "set", {"spec": spec})))


def test_weights_for_the_perceptual_loss_are_finite(tmp_path):
    state = {name: value.clone() for name, value in VGGFeatures().state_dict().items()}
    state["conv1_2.bias"][3] = torch.nan
    save_file(state, tmp_path / "vgg.safetensors")
    with pytest.raises(WeightsError, match="holds values that are not finite"):
        load_vgg(tmp_path / "vgg.safetensors")


class Asking:
    """Has a pickle call a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def archive(path, pickled):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", "3\n")
        file.writestr("archive/byteorder", "little")
        file.writestr("archive/data/0", bytes(16))
    return path


def test_checkpoints_cannot_ask_for_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = archive(tmp_path / "x.pt", pickle.dumps(Asking(os.mkdir, "made"), protocol=2))
    with pytest.raises(WeightsError, match=r"asks for .* nothing of it was run"):
        read_checkpoint(path)
    with pytest.raises(InputError, match="cannot read this checkpoint"):
        load_state(path)
    assert not (tmp_path / "made").exists()


def test_old_strings_in_a_checkpoint_bring_no_warning(tmp_path):
    path = archive(tmp_path / "x.pt", b"(S'\\\x00'\nI1\nd.")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(WeightsError, match="damaged"):
            read_checkpoint(path)
        with pytest.raises(InputError, match="cannot read this checkpoint"):
            load_state(path)
    assert not said


def test_a_view_larger_than_its_checkpoint_is_refused(tmp_path):
    value = torch.ones(4)
    path = tmp_path / "x.pt"
    torch.save({"a": value}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    shape = b"K\x04\x85"  # (4,): BININT1, TUPLE1
    assert data.count(shape) == 1
    path.write_bytes(data.replace(shape, b"J" + struct.pack("<i", 10**9) + b"\x85"))
    with pytest.raises(WeightsError):
        read_checkpoint(path)


class Nothing:
    """A source of windows that is never asked."""

    def describe(self):
        return "nothing"


@pytest.fixture
def trainer(tmp_path):
    options = TrainOptions(model="direct", crop=16, batch=1, max_steps=1, direct=TINY)
    return Trainer(Learner(options, CPU, torch.float32), Nothing(), tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"step": 10**400},
        {"step": float("inf")},
        {"step": -1},
        {"seconds": float("nan")},
        {"history": "[" * 100_000},
        {"history": "3"},
        {"options": "3"},
        {"options": "9" * 5000},
        {"model": []},
        {"optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}},
        {"optimizer": {"state": {0: 3}}},
        {"optimizer": {"param_groups": []}},
    ],
)
def test_checkpoints_with_other_values_are_refused(trainer, change):
    with pytest.raises(InputError, match="not a checkpoint of this run"):
        trainer.load(trainer.state() | change)


def test_a_checkpoint_cannot_ask_for_a_huge_network(tmp_path, capsys):
    options = {"model": "direct", "direct": {"channels": [10**9], "blocks": [1]}}
    torch.save({"options": json.dumps(options)}, tmp_path / "state.pt")
    (tmp_path / "a.png").write_bytes(photos()["png"])
    result = invoke(
        *("train", "--model", "direct", "--data", tmp_path / "a.png", "--out", tmp_path),
        *("--resume", "--steps", "1", "--device", "cpu"),
    )
    assert result.exit_code == 3
    assert "channels must be" in result.stderr


def test_a_log_that_is_no_text_does_not_keep_a_run_from_going_on(trainer):
    (trainer.out / "log.jsonl").write_bytes(b"\xff\xfe\n" + b"[" * 100_000 + b'\n{"step": 0}\n')
    trainer.load(trainer.state())
    assert (trainer.out / "log.jsonl").read_text() == '{"step": 0}\n'


# Archives


def tar(*members, **options):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **options) as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return bytearray(out.getvalue())


def with_field(data, at, value):
    """A tar archive with another value in its first header."""
    data[at : at + len(value)] = value
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return data


@pytest.mark.parametrize(
    "data",
    [
        with_field(tar(("a.png", photos()["png"])), 124, b"77777777777\0"),
        with_field(tar(("a.png", photos()["png"])), 124, b"\xff" * 12),
        with_field(tar(("a.png", photos()["png"])), 124, b"\x80" + b"\xff" * 11),
        with_field(tar(("a.png", b"")), 156, b"x"),
        b"".join(bytes(with_field(tar(("a", b"")), 156, b"L"))[:512] for _ in range(3000)),
        zlib.compress(bytes(10 * MIB)),
    ],
    ids=["long", "negative", "huge", "pax", "nested", "packed"],
)
def test_archives_of_photos_that_lie_are_refused(tmp_path, data):
    (tmp_path / "photos.tar").write_bytes(data)
    with pytest.raises(InputError, match=r"archive|no photos") as caught:
        list(read_stills([tmp_path / "photos.tar"])) or pytest.fail("nothing was found wrong")
    assert "\n" not in str(caught.value)


def test_photos_in_a_sound_archive_are_read_whatever_their_names(tmp_path):
    data = tar(("../../a.png", photos()["png"]), ("/abs/b.png", photos()["png"]))
    (tmp_path / "photos.tar").write_bytes(data)
    assert len(list(read_stills([tmp_path / "photos.tar"]))) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["photos.tar"]


# Photos


@pytest.mark.parametrize(
    "marks",
    [
        b"<xmp:Thumbnails>" * 60_000,
        b" xmpNote:HasExtendedXMP='" * 40_000,
    ],
)
def test_marks_in_xmp_that_are_never_closed_take_no_time(marks):
    """Each would have been looked for to the end: minutes for a megabyte."""
    out = io.BytesIO()
    xmp = b"<x:xmpmeta><rdf:RDF " + marks + b"</rdf:RDF></x:xmpmeta>"
    Image.new("RGB", (8, 8)).save(out, "WEBP", xmp=xmp)
    photo = media.read_photo(io.BytesIO(out.getvalue()))
    assert photo.pixels.shape == (3, 8, 8)


def test_a_jpeg_of_more_scans_than_any_photo_is_refused():
    out = io.BytesIO()
    Image.new("L", (512, 512)).save(out, "JPEG", progressive=True)
    data = out.getvalue()[:-2]
    scan = data[data.rindex(b"\xff\xda") :]
    with pytest.raises(InputError, match="scans are more than any photo of this size needs"):
        media.read_photo(io.BytesIO(data + scan * 500 + b"\xff\xd9"))


def tiff(width, height, samples, planar=1):
    """Head of an unpacked TIFF of 16 bits a sample, without its pixels."""
    tags = [
        *((256, 4, width), (257, 4, height), (258, 3, 16), (259, 3, 1), (262, 3, 2)),
        *((273, 4, 8), (277, 3, samples), (278, 4, height), (279, 4, 4), (284, 3, planar)),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("planar", [1, 2])
def test_a_tiff_of_65535_channels_is_refused(planar, capfd):
    with pytest.raises(InputError, match="65535 x 16 bits"):
        media.read_photo(io.BytesIO(tiff(100, 100, 65535, planar)))
    assert capfd.readouterr().err == ""


def test_a_large_deep_tiff_is_no_bomb(monkeypatch):
    """Pillow counts each of its bytes as a pixel; 30 megapixels in RGB were too many for it."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    for name in ("tiff 16", "tiff 16 tiles", "tiff 16 planes", "tiff raw", "tiff jpeg"):
        assert media.read_photo(io.BytesIO(photos()[name])).pixels.numel() == 3 * 24 * 32


def test_a_photo_without_end_is_not_taken_into_memory(monkeypatch):
    class Endless(io.RawIOBase):
        taken = 0

        def readable(self):
            return True

        def read(self, size=-1):
            assert size >= 0, "all of it was asked for"
            self.taken += size
            return bytes(size)

    monkeypatch.setattr(media.read, "MAX_BYTES", MIB)
    with pytest.raises(InputError, match="too large for a photo"):
        media.read_photo(Endless())


# Videos


@pytest.fixture
def clip(tmp_path):
    media.write_frames(torch.rand(7, 3, 32, 48), tmp_path / "clip.mp4", stem="clip", kind="mp4")
    return tmp_path / "clip.mp4"


@pytest.mark.parametrize(
    "playlist",
    [
        "ffconcat version 1.0\nfile clip.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n",
    ],
)
def test_a_playlist_that_poses_as_a_video_is_not_followed(clip, playlist):
    posing = clip.with_name("holiday.mp4")
    posing.write_text(playlist)
    for read in (video.video_info, lambda path: next(video.read_video(path))):
        with pytest.raises(InputError):
            read(posing)


@pytest.mark.parametrize("name", ["-i", "%d", "a|b", "concat:a|b", "data:,x", "a\nb", "pipe:0"])
def test_names_mean_nothing_to_ffmpeg(clip, name, monkeypatch):
    monkeypatch.chdir(clip.parent)
    (path := clip.with_name(f"{name}.mp4")).write_bytes(clip.read_bytes())
    assert next(video.read_video(path.relative_to(clip.parent))).shape == (32, 48, 3)
    target = clip.parent / "out" / f"{name}.mp4"
    media.write_frames(torch.rand(7, 3, 32, 48), target, stem="x", kind="mp4")
    assert [entry.name for entry in target.parent.iterdir()] == [target.name]


def test_a_pipe_is_no_video(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match="not a file"):
        video.video_info(tmp_path / "pipe.mp4")


def test_videos_end(clip, monkeypatch):
    monkeypatch.setattr(video, "MAX_FRAMES", 5)
    with pytest.raises(InputError, match="more than 5 frames"):
        list(video.read_video(clip))


def test_frames_that_are_too_large_are_refused_before_they_are_decoded(clip, monkeypatch):
    monkeypatch.setattr(video, "MAX_PIXELS", 32 * 48 - 1)
    for read in (video.video_info, lambda path: next(video.read_video(path))):
        with pytest.raises(InputError):
            read(clip)


# Windows


RECORD = {"window": "clip/000001", "clip": "clip", "frames": list(range(7)), "gamma": 2.2}


def manifest(folder, **change):
    folder.mkdir(exist_ok=True)
    line = json.dumps(RECORD | change)
    (folder / "manifest.jsonl").write_text(line.replace('"@"', "[" * 100_000) + "\n")
    return folder


@pytest.mark.parametrize(
    "change",
    [
        {"window": "../up/000001"},
        {"window": "/abs/000001"},
        {"window": "C:\\up\\000001"},
        {"window": "a\0b/000001"},
        {"window": 3},
        {"clip": ".."},
        {"frames": 7},
        {"frames": [0] * 10_001},
        {"gamma": "film"},
        {"gamma": float("nan")},
        {"gamma": 10**400},
        {"gamma": [2.2]},
        {"motion": {"dx": "right", "dy": 0}},
        {"motion": {"dx": 1e999, "dy": 0}},
        {"motion": []},
        {"warnings": "@"},
    ],
)
def test_manifests_of_other_values_are_refused(tmp_path, change):
    with pytest.raises(InputError, match=r"manifest\.jsonl") as caught:
        read_windows(manifest(tmp_path / "windows", **change))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "listing",
    [
        '{"samples": ' + "[" * 100_000,
        '{"samples": [{"clip": "../../x", "frames": [0]}]}',
        '{"samples": [{"clip": "a", "frames": [0], "blurry": "../x.png"}]}',
        '{"gamma": "film", "samples": []}',
        '{"samples": [{"clip": "a", "frames": [true]}]}',
        '{"samples": [{"clip": "a", "frames": [99999999999999999999]}]}',
    ],
)
def test_listings_of_other_values_are_refused(tmp_path, listing):
    (tmp_path / "clips" / "a" / "frames").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "clips" / "a" / "frames" / "0.png")
    (tmp_path / "samples.json").write_text(listing)
    with pytest.raises(InputError, match=r"samples\.json"):
        read_windows(tmp_path)


def test_a_link_among_windows_leads_to_no_file_being_changed(tmp_path):
    outside = tmp_path / "outside" / "000001"
    outside.mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(outside / "sharp_1.png")
    folder = tmp_path / "windows"
    folder.mkdir()
    (folder / "link").symlink_to(outside.parent, target_is_directory=True)
    (tmp_path / "link").mkdir()
    for number in range(7):
        Image.new("RGB", (32, 32)).save(tmp_path / "link" / f"{number}.png")
    with pytest.raises(OutputError, match="leads out of"):
        write_windows([tmp_path / "link"], folder, SynthOptions(), resume=True)
    assert [path.name for path in outside.iterdir()] == ["sharp_1.png"]


def test_a_clip_whose_name_is_no_text_is_written_and_read(tmp_path):
    frames = tmp_path / os.fsdecode(b"clip\xff")
    frames.mkdir()
    values = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    for number in range(7):
        Image.fromarray(values).save(frames / f"{number}.png")
    write_windows([frames], tmp_path / "out", SynthOptions())
    (window,) = read_windows(tmp_path / "out")
    assert os.fsdecode(b"clip\xff") in window.name
    source = open_source([tmp_path / "out"], TrainOptions(), CPU)
    assert source.draw(1, 16, torch.Generator())[0].shape == (1, 3, 16, 16)


# Words


def test_errors_are_short_whatever_the_values():
    for setting in (
        "lr=1" + "0" * 400,
        "crop=" + "9" * 4400,
        "x" * 4000 + "=1",
        "=" * 4000,
        "crop=" + "[" * 100_000,
    ):
        with pytest.raises(OptionError) as caught:
            change_settings(TrainOptions(), [setting])
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["a\nb", "a\r\x85\u2028b", "x" * 50_000])
def test_errors_are_one_short_line_whatever_names_a_listing_holds(tmp_path, name):
    (tmp_path / "clips" / "street" / "frames").mkdir(parents=True)
    (tmp_path / "clips" / "street" / "frames" / "a.png").write_bytes(photos()["png"])
    sample = {"clip": "street", "frames": [0], "blurry": name}
    (tmp_path / "samples.json").write_text(json.dumps({"samples": [sample]}))
    (window,) = read_windows(tmp_path)
    with pytest.raises(InputError) as caught:
        window.blurry()
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 3000


# Numbers


def lively(model):
    """A model whose parameters are none of them zero."""
    torch.manual_seed(0)
    net = build(model, SHAPES[model])
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def models():
    return {model: lively(model) for model in SHAPES}


@contextlib.contextmanager
def filled(net, name, value):
    """One parameter of a model with another value."""
    parameter = net.get_parameter(name)
    before = parameter.clone()
    parameter.fill_(value)
    yield
    parameter.copy_(before)


WEIGHTS = {
    "cascade": "stages.26.head.4.weight",
    "direct": "head.weight",
    "bdirnet": "reconstruct.head.weight",
}


@pytest.mark.parametrize(
    ("model", "value", "passes"),
    [
        *((model, 3e38, 1) for model in WEIGHTS),
        ("cascade", torch.nan, 1),
        ("cascade", torch.inf, 2),
        ("direct", torch.nan, 2),
    ],
)
def test_what_is_not_finite_is_told(models, model, value, passes):
    net = models[model]
    extract = extractor_of(net, "x", CPU, torch.float32, passes=passes, scale=1.0)
    photo = media.as_photo(torch.rand(3, 20, 20))
    message = f"^the {model} model gave values that are not finite"
    with filled(net, WEIGHTS[model], value), pytest.raises(BlurvidError, match=message) as caught:
        extract(photo)
    assert type(caught.value) is BlurvidError  # exit code 1


def test_another_deblurrer_that_is_not_finite_is_told(models):
    guided = GuidedCascade(models["cascade"], middle_of(models["bdirnet"]))
    extract = extractor_of(guided, "x", CPU, torch.float32, scale=1.0)
    photo = media.as_photo(torch.rand(3, 20, 20))
    with filled(models["bdirnet"], WEIGHTS["bdirnet"], 3e38), pytest.raises(BlurvidError):
        extract(photo)


def test_a_network_that_overflows_ends_with_1_and_writes_nothing(models, tmp_path, surroundings):
    net = models["cascade"]
    with filled(net, "stages.26.head.4.weight", 3e38):
        store.save(
            net, tmp_path / "set", name="x", recipe={}, data="", scores={}, licence="",
            dtype=torch.float32,
        )  # fmt: skip
    values = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    result = invoke(
        *("extract", tmp_path / "a.png", "-o", tmp_path / "out.gif", "--scale", "1"),
        *("--weights", tmp_path / "set", "--device", "cpu", "--threads", "1"),
    )
    assert result.exit_code == 1
    assert "the cascade model gave values that are not finite" in result.stderr
    assert not (tmp_path / "out.gif").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_overflows_in_half_precision_only_is_redone(dtype, monkeypatch):
    """Features of 1e5 and more: beyond float16; bfloat16 is made to end there, too."""
    net = lively("direct")
    net.stem.weight.mul_(3e5)
    net.head.weight.div_(3e5)
    y = torch.rand(3, 32, 32)
    expected = extractor_of(net, "x", CPU, torch.float32).frames(y).frames
    convolve = torch.nn.functional.conv2d

    def half(*values, **options):
        out = convolve(*values, **options)
        return out.half().to(out.dtype) if torch.is_autocast_enabled("cpu") else out

    monkeypatch.setattr(torch.nn.functional, "conv2d", half)
    monkeypatch.setattr(torch.nn.Conv2d, "_conv_forward", lambda self, x, w, b: half(
        x, w, b, self.stride, self.padding, self.dilation, self.groups))  # fmt: skip
    found = extractor_of(net, "x", CPU, dtype).frames(y)
    assert found.dtype == torch.float32
    assert found.warnings == ("half precision overflowed; done in float32",)
    assert_close(found.frames, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_minus_infinity_does_not_become_a_zero(dtype):
    x = torch.tensor([-torch.inf, torch.inf, torch.nan, -2.0, 0.0, 3.0] * 5, dtype=dtype)
    found = relu_(x.clone())
    assert found.isnan().view(5, 6).sum(0).tolist() == [5, 0, 5, 0, 0, 0]
    assert_close(found[3:6], x.relu()[3:6])

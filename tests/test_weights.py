"""Weight sets: saved, found, verified, loaded."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from blurvid import weights
from blurvid.config import CascadeSpec, DirectSpec
from blurvid.errors import OutputError, WeightsError
from blurvid.models import Cascade
from blurvid.networks import DirectNet
from blurvid.weights import store

TINY = DirectSpec(factor=2, channels=(4, 8), blocks=(1, 1))


pytestmark = pytest.mark.usefixtures("surroundings")


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = DirectNet(TINY)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.1)
    return net


def save(net, directory, score=None, name=None, **options):
    return store.save(
        net,
        directory,
        name=name or directory.name,
        recipe={"steps": 3},
        data="noise",
        scores={} if score is None else {"seven_frame_psnr": score},
        licence="MIT",
        **options,
    )


def relabel(directory, model):
    """Turn the description of a direct set into that of another model's."""
    info = json.loads((directory / "set.json").read_text())
    entry = info["files"]["direct"]
    parts = {"direct": ["direct"], "cascade": ["middle", "35", "26", "17"]}[model]
    info.update(model=model, files={part: entry for part in parts})
    (directory / "set.json").write_text(json.dumps(info))


def edit(directory, change):
    info = json.loads((directory / "set.json").read_text())
    change(info)
    (directory / "set.json").write_text(json.dumps(info))


def replace_file(entry, data):
    """Change the file of a direct set, and its description with it."""
    entry.file("direct").write_bytes(data)

    def change(info):
        info["files"]["direct"].update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))

    edit(entry.path, change)
    return weights.find(entry.path)


def refused(action, *args, match):
    with pytest.raises(WeightsError, match=match) as caught:
        action(*args)
    assert "\n" not in str(caught.value)


def test_what_is_saved_is_found_and_loaded_bit_exactly(net, tmp_path):
    saved = save(net, tmp_path / "my set", 27.5)
    found = weights.find(tmp_path / "my set", "direct")
    loaded = store.load(found)

    assert found == saved
    assert (found.name, found.model, found.score, found.origin) == (
        "my set",
        "direct",
        27.5,
        "path",
    )
    assert found.info["recipe"] == {"steps": 3}
    assert isinstance(loaded, DirectNet)
    assert loaded.spec == TINY
    assert not loaded.training
    for name, value in net.state_dict().items():
        parameter = loaded.get_parameter(name)
        assert parameter.dtype == torch.float32
        assert not parameter.requires_grad
        assert torch.equal(parameter, value.half().float())
    y = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(loaded(y), net(y), atol=1e-3, rtol=0)


def test_the_cascade_has_four_files_which_cannot_be_swapped(tmp_path):
    torch.manual_seed(0)

    cascade = store.skeleton("cascade").to_empty(device="cpu")
    with torch.no_grad():
        for parameter in cascade.parameters():
            parameter.normal_(0, 0.02)
    saved = save(cascade, tmp_path / "c")
    names = sorted(path.name for path in saved.path.iterdir())
    assert [name.partition("-")[0] for name in names] == ["17", "26", "35", "middle", "set.json"]
    assert max(entry["bytes"] for entry in saved.info["files"].values()) < 16 * 2**20
    loaded = store.load(saved).state_dict()
    for name, value in cascade.state_dict().items():
        assert torch.equal(loaded[name], value.half().float())

    def swap(info):
        files = info["files"]
        files["26"], files["17"] = files["17"], files["26"]

    edit(saved.path, swap)
    refused(store.load, weights.find(saved.path), match="holds 17 of the cascade model")


def test_unknown_keys_are_kept(net, tmp_path):
    saved = save(net, tmp_path / "a", extra={"motto": "ß"})
    assert saved.info["motto"] == "ß"
    edit(saved.path, lambda info: info.update(future=[1]))
    assert weights.find(saved.path).info["future"] == [1]


@pytest.mark.parametrize("score", [None, "28", True, float("nan")])
def test_a_score_that_is_no_number_is_missing(net, tmp_path, score):
    saved = save(net, tmp_path / "a")
    edit(saved.path, lambda info: info["scores"].update(seven_frame_psnr=score))
    assert weights.find(saved.path).score is None


def test_saving_replaces_only_weight_sets_and_only_when_told(net, tmp_path):
    saved = save(net, tmp_path / "a", 1.0)
    with pytest.raises(OutputError, match="exists already"):
        save(net, tmp_path / "a", 2.0)
    assert save(net, tmp_path / "a", 2.0, overwrite=True).score == 2.0
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    store.load(saved)  # the same weights make the same file

    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(OutputError, match="not a weight set"):
        save(net, tmp_path / "photos", overwrite=True)
    with pytest.raises(OutputError, match="not written"):
        save(net, tmp_path / "photos" / "cat.jpg" / "a")


def test_saving_again_removes_the_files_of_the_set_before_and_no_others(net, tmp_path):
    saved = save(net, tmp_path / "a")
    old = saved.file("direct")
    (tmp_path / "a" / "mine.safetensors").write_bytes(b"the user's")
    with torch.no_grad():
        next(net.parameters()).add_(1)
    again = save(net, tmp_path / "a", overwrite=True)

    assert not old.exists()
    names = {again.file("direct").name, "set.json", "mine.safetensors"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == names


def test_a_failed_save_leaves_what_was_there(net, tmp_path, monkeypatch):
    save(net, tmp_path / "a", 1.0)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="the disk is full"):
        save(net, tmp_path / "a", 2.0, overwrite=True)
    assert weights.find(tmp_path / "a").score == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("value", "match"), [(float("nan"), "not finite"), (1e6, "save it as fp32")]
)
def test_values_that_cannot_be_stored_are_refused(net, tmp_path, value, match):
    with torch.no_grad():
        net.head.bias[0] = value
    refused(save, net, tmp_path / "a", match=match)
    assert list(tmp_path.iterdir()) == []


def test_fp32_sets_lose_nothing(net, tmp_path):
    with torch.no_grad():
        net.head.bias[0] = 1e6
    loaded = store.load(save(net, tmp_path / "a", dtype=torch.float32))
    for name, value in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_order_of_the_search(net, tmp_path, monkeypatch):
    released, cache = tmp_path / "released", tmp_path / "home" / "weights"
    refused(weights.find, match=r"no weights in .* \(there are no sets\)")

    save(net, released / "direct", 27.0)
    assert weights.find().origin == "released"
    save(net, cache / "mine", 99.0)
    assert weights.find().origin == "released"  # only a set named like the model is a default
    save(net, cache / "direct", 26.0)
    assert weights.find().origin == "cache"
    assert weights.find(model="direct").score == 26.0
    assert weights.find("direct").origin == "cache"
    assert weights.find("mine").score == 99.0

    save(net, tmp_path / "elsewhere", 1.0)
    monkeypatch.setenv("BLURVID_WEIGHTS", str(tmp_path / "elsewhere"))
    assert (weights.find().origin, weights.find().score) == ("env", 1.0)
    monkeypatch.setenv("BLURVID_WEIGHTS", "mine")
    assert (weights.find().origin, weights.find().score) == ("env", 99.0)
    assert weights.find(tmp_path / "elsewhere").origin == "path"
    assert weights.find("direct").score == 26.0

    listed = [(entry.name, entry.origin) for entry in weights.list_sets()]
    assert listed == [("direct", "cache"), ("mine", "cache")]


def test_a_word_is_a_name_first_and_a_directory_with_a_dot(net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(net, tmp_path / "home" / "weights" / "a", 1.0)
    save(net, tmp_path / "a", 2.0)
    save(net, tmp_path / "b", 3.0)
    assert weights.find("a").score == 1.0
    assert weights.find("./a").score == 2.0
    assert weights.find(Path("a")).score == 2.0
    assert weights.find("b").score == 3.0
    assert weights.find("a/set.json").score == 2.0


@pytest.mark.parametrize(
    ("direct", "cascade", "chosen"),
    [
        (26.0, 27.0, "cascade"),
        (27.0, 26.0, "direct"),
        (26.0, 26.0, "direct"),
        (None, 20.0, "cascade"),
        (None, None, "direct"),
    ],
)
def test_auto_takes_the_better_model(net, tmp_path, direct, cascade, chosen):
    save(net, tmp_path / "released" / "x", cascade)
    relabel(tmp_path / "released" / "x", "cascade")
    save(net, tmp_path / "released" / "y", direct)
    save(net, tmp_path / "released" / "z", None)
    assert weights.find().model == chosen
    assert weights.find(model="cascade").name == "x"


def test_a_set_of_another_model_is_refused(net, tmp_path, monkeypatch):
    save(net, tmp_path / "a")
    refused(weights.find, tmp_path / "a", "cascade", match="belongs to the direct model")
    monkeypatch.setenv("BLURVID_WEIGHTS", str(tmp_path / "a"))
    refused(weights.find, None, "cascade", match="named by BLURVID_WEIGHTS")
    refused(weights.find, None, "unet", match="no model named 'unet'")


def test_what_is_not_there_is_named(net, tmp_path, monkeypatch):
    save(net, tmp_path / "home" / "weights" / "mine")
    refused(weights.find, "yours", match=r"'yours' .*home/weights.*released.*there are mine")
    refused(weights.find, tmp_path / "no" / "dir", match="neither a directory")
    refused(weights.find, tmp_path, match="has no set.json")
    refused(weights.find, None, "cascade", match="no weights of the cascade model")
    (tmp_path / "center_v3.pth").touch()
    refused(weights.find, tmp_path / "center_v3.pth", match="weights import")
    monkeypatch.setenv("BLURVID_WEIGHTS", "yours")
    refused(weights.find, match="which BLURVID_WEIGHTS names")


def test_a_corrupted_byte_is_seen_before_the_file_is_opened(net, tmp_path, monkeypatch):
    saved = save(net, tmp_path / "a")
    saved.verify()
    path = saved.file("direct")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)

    monkeypatch.setattr(safetensors.torch, "load", lambda data: pytest.fail("opened"))
    refused(store.load, saved, match=r"direct-\w+\.safetensors does not have the SHA-256")
    refused(saved.verify, match="SHA-256")
    path.write_bytes(data[:-10])
    refused(store.load, saved, match="incomplete")
    refused(saved.verify, match="incomplete")
    path.write_text("version https://git-lfs.github.com/spec/v1\nsize 1\n")
    refused(store.load, saved, match="git lfs pull")
    refused(saved.verify, match="git lfs pull")
    path.unlink()
    refused(store.load, saved, match="is missing")
    refused(saved.verify, match="is missing")


def header(entries, body=b""):
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + body


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "out of range"),
        (b"\xff" * 64, "not a valid safetensors file"),
        ((3).to_bytes(8, "little") + b"{{{", "not a valid safetensors file"),
        (
            header({"stem.weight": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
            "not a valid safetensors file",
        ),
        (header({"__metadata__": {"part": "17"}}), "holds 17"),
    ],
)
def test_files_that_are_no_weights_are_refused(net, tmp_path, data, match):
    saved = save(net, tmp_path / "a")
    if not data:
        edit(saved.path, lambda info: info["files"]["direct"].update(bytes=0))
        refused(weights.find, saved.path, match="bytes is missing")
        return
    refused(store.load, replace_file(saved, data), match=match)


def test_tensors_that_do_not_fit_are_refused(net, tmp_path):
    saved = save(net, tmp_path / "a")
    good = {name: value.half() for name, value in net.state_dict().items()}

    def stored(**changes):
        return safetensors.torch.save({**good, **changes})

    other = {"head.bias": torch.zeros(3)}
    refused(store.load, replace_file(saved, stored(**other)), match="head.bias has the shape")
    refused(store.load, replace_file(saved, stored(extra=other["head.bias"])), match="unknown")
    nan = {"head.bias": torch.full_like(good["head.bias"], torch.nan)}
    refused(store.load, replace_file(saved, stored(**nan)), match="not finite")
    double = {"head.bias": good["head.bias"].double()}
    refused(store.load, replace_file(saved, stored(**double)), match=r"type torch\.float64")
    overlapping = header(
        {
            name: {"dtype": "F16", "shape": list(value.shape), "data_offsets": [0, 2]}
            for name, value in good.items()
        },
        b"\0\0",
    )
    refused(store.load, replace_file(saved, overlapping), match="not a valid safetensors file")


@pytest.mark.parametrize(
    "file",
    [
        "../a.safetensors",
        "/etc/a.safetensors",
        "b/a.safetensors",
        "b\\a.safetensors",
        "C:a.safetensors",
        ".a.safetensors",
        "a.pth",
        "",
        7,
        None,
    ],
)
def test_files_outside_of_the_set_are_refused(net, tmp_path, file):
    saved = save(net, tmp_path / "a")
    edit(saved.path, lambda info: info["files"]["direct"].update(file=file))
    refused(weights.find, saved.path, match="not the plain name")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format": 2}, "upgrade blurvid"),
        ({"format": None}, "no known format"),
        ({"name": "a\nb"}, "no name"),
        ({"model": "unet"}, "model is 'unet'"),
        ({"model": []}, "model is"),
        ({"files": {}}, "has the files direct"),
        ({"files": {"direct": 1}}, "not an object"),
        ({"files": {"direct": {"file": "a.safetensors"}}}, "sha256"),
    ],
)
def test_a_damaged_description_is_refused(net, tmp_path, change, match):
    saved = save(net, tmp_path / "home" / "weights" / "direct")
    edit(saved.path, lambda info: info.update(change))
    refused(weights.find, "direct", match=match)
    refused(weights.find, match=match)
    assert weights.list_sets() == []


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "{", "[" * 100_000, "version https://git-lfs.github.com/spec/v1", "1" * 2**21],
)
def test_a_description_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "set.json").write_text(text)
    refused(weights.find, tmp_path, match=r"JSON|describe|git lfs pull|too large")


@pytest.mark.parametrize(
    "spec",
    [
        [],
        {"factor": 10**9},
        {"channels": [True, 8]},
        {"blocks": [1]},
        {"blocks": []},
        {"channels": [4] * 9, "blocks": [1] * 9},
        {"factor": [2]},
        {"depth": 3},
        {"block": "resnet"},
        {"block": ["naf"]},
        {"kernel": 4},
        {"kernel": 1001},
        {"kernel": True},
    ],
)
def test_a_spec_that_cannot_be_is_refused(net, tmp_path, spec):
    saved = save(net, tmp_path / "a")
    full = {"factor": 2, "channels": [4, 8], "blocks": [1, 1]}
    edit(saved.path, lambda info: info.update(spec={**full, **spec} if spec else spec))
    refused(store.load, weights.find(saved.path), match="spec")


@pytest.mark.parametrize(
    "spec",
    [[], {"width": 0}, {"width": True}, {"width": "1"}, {"width": 9}, {"width": [1]},
     {"contexts": "all"}, {"contexts": None}, {"channels": [4]}],
)  # fmt: skip
def test_a_spec_of_the_cascade(tmp_path, spec):
    torch.manual_seed(0)
    saved = save(Cascade(CascadeSpec(width=0.0625)), tmp_path / "c")
    assert store.spec_of(saved) == CascadeSpec(width=0.0625)
    edit(saved.path, lambda info: info.update(spec=spec))
    refused(store.load, weights.find(saved.path), match="spec")
    for old in (None, {}):  # while there was but one shape
        edit(saved.path, lambda info, old=old: info.update(spec=old))
        assert store.spec_of(weights.find(saved.path)) == CascadeSpec()
    refused(store.load, weights.find(saved.path), match="does not fit the cascade model")


def test_the_cache_is_where_the_platform_wants_it(monkeypatch):
    monkeypatch.delenv("BLURVID_HOME")
    assert weights.cache_dir().name == "blurvid"
    monkeypatch.setenv("BLURVID_HOME", "~/somewhere")
    assert weights.cache_dir() == Path.home() / "somewhere"


@pytest.mark.skipif(os.name == "nt", reason="Windows asks other places")
@pytest.mark.parametrize("home", [None, "~/somewhere"])
def test_released_weights_need_no_home(net, tmp_path, monkeypatch, home):
    shutil.copytree(save(net, tmp_path / "direct").path, tmp_path / "released" / "direct")
    for name in ("BLURVID_HOME", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if home is not None:
        monkeypatch.setenv("BLURVID_HOME", home)

    def no_entry(uid):
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", no_entry)
    assert weights.find().origin == "released"
    assert [entry.origin for entry in weights.list_sets()] == ["released"]
    refused(weights.find, "~/elsewhere", match="neither a directory nor a set in .*released")
    refused(weights.cache_dir, match="set HOME, or BLURVID_HOME")


def test_a_cache_that_may_not_be_looked_into_is_none(net, tmp_path, monkeypatch):
    shutil.copytree(save(net, tmp_path / "direct").path, tmp_path / "released" / "direct")
    shutil.copytree(tmp_path / "direct", tmp_path / "home" / "weights" / "direct")
    assert weights.find().origin == "cache"
    locked = tmp_path / "home" / "weights"
    monkeypatch.setattr(weights.sets.os, "access", lambda path, mode: path != locked)
    assert weights.find().origin == "released"

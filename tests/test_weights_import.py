"""Import of the authors' checkpoints: good, swapped, damaged and hostile files."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import pytest
import torch

from blurvid import weights
from blurvid.errors import OutputError, WeightsError
from blurvid.weights import authors, pickles, store

STAGES = ("middle", "35", "26", "17")
NETWORKS = {
    "middle": {"": ""},
    "35": {"generateFrame3.": "3.", "generateFrame5.": "5."},
    "26": {"generateFrame2_6.": ""},
    "17": {"generateFrame1_7.": ""},
}
BLOCK = {"norm1": "norm1", "conv1": "conv1", "norm2": "norm2", "conv2": "conv2"}
RESIDUAL = {**BLOCK, "norm4": "norm3", "conv4": "conv3"}

pytestmark = pytest.mark.usefixtures("surroundings")


class LegacyStorage:
    """Stands for a storage; written as a persistent id."""

    def __init__(self, key, numbers):
        self.key, self.numbers = key, numbers


class LegacyPickler(pickle._Pickler):
    """Writes what torch 0.3 wrote under Python 2.7, opcode by opcode."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_int(self, number):
        if -(2**31) <= number < 2**31:
            self.save_long(number)
        else:  # beyond 32 bits Python 2 fell back to text
            self.write(pickle.INT + str(number).encode() + b"\n")

    dispatch[int] = save_int

    def save_string(self, text):
        data = text.encode()
        if len(data) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(text)

    dispatch[str] = save_string

    def reducer_override(self, value):
        if isinstance(value, torch.Tensor):
            key = str(94_000_000_000_000 + len(self.storages))
            storage = self.storages[key] = LegacyStorage(key, value.contiguous())
            return torch._utils._rebuild_tensor, (storage, 0, tuple(value.shape), value.stride())
        if isinstance(value, OrderedDict):
            return OrderedDict, ([[key, item] for key, item in value.items()],)
        return NotImplemented

    def persistent_id(self, value):
        if isinstance(value, LegacyStorage):
            kind = torch.cuda.FloatStorage
            return "storage", kind, value.key, "cuda:0", value.numbers.numel(), None
        return None


def save_as_torch_03(payload, path):
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4, "long": 8}}
    with path.open("wb") as file:
        file.write(pickles.LEGACY_MAGIC)
        for value in (1001, system):
            pickle.dump(value, file, 2)
        pickler = LegacyPickler(file, 2)
        pickler.storages = {}
        pickler.dump(payload)
        keys = LegacyPickler(file, 2)
        keys.storages = {}
        keys.dump(sorted(pickler.storages))
        for _, storage in sorted(pickler.storages.items()):
            file.write(struct.pack("<q", storage.numbers.numel()))
            file.write(storage.numbers.numpy().tobytes())


def layers(groups, blocks, global_block, extract):
    """Their names and ours of the layers of a network."""
    names = {theirs: f"extract.{i}" for i, theirs in enumerate(extract)}
    for group in range(groups):
        for block in range(blocks[group]):
            for theirs, ours in RESIDUAL.items():
                names[f"LocalGrad{group + 1}.{block}.{theirs}"] = f"refine.{group}.{block}.{ours}"
        for theirs, ours in BLOCK.items():
            names[f"fuse{group + 1}.0.{theirs}"] = f"fuse.{group}.{ours}"
    for theirs, ours in global_block.items():
        names[f"GlobalGrad.0.{theirs}"] = f"head.1.{ours}"
    return {**names, "conv2": "head.0", "norm3": "head.2", "conv3": "head.4"}


def authors_state(stage, module):
    """A stage's parameters under the names that the authors gave them."""
    state = module.state_dict()
    if stage == "middle":
        names = layers(4, (3, 3, 3, 3), RESIDUAL, ["conv1_B"])
    else:
        blocks = (4, 4, 4) if stage == "35" else (2, 4, 2)
        names = layers(3, blocks, BLOCK, ["conv1_B", "conv1_S1", "conv1_S2"])
    renamed = OrderedDict()
    for theirs, ours in NETWORKS[stage].items():
        for name, our_name in names.items():
            weight = renamed[f"{theirs}{name}.weight"] = state.pop(f"{ours}{our_name}.weight")
            if "norm" in name:
                renamed[f"{theirs}{name}.bias"] = state.pop(f"{ours}{our_name}.bias")
                renamed[f"{theirs}{name}.running_mean"] = torch.full_like(weight, 7)
                renamed[f"{theirs}{name}.running_var"] = torch.full_like(weight, 7)
                renamed[f"{theirs}{name}.num_batches_tracked"] = torch.tensor(3)
    assert not state
    return renamed


@pytest.fixture(scope="module")
def cascade():
    """A cascade with random parameters; its own initialization is slow."""
    torch.manual_seed(0)
    model = store.skeleton("cascade").to_empty(device="cpu")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 4:
                parameter.normal_(0, parameter[0].numel() ** -0.5)
            else:
                parameter.normal_(1 if name.endswith("weight") else 0, 0.1)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def states(cascade):
    return {stage: authors_state(stage, cascade.stages[stage]) for stage in STAGES}


@pytest.fixture(scope="module")
def files(states, tmp_path_factory):
    """The four files, each written in another way."""
    folder = tmp_path_factory.mktemp("authors")
    paths = {stage: folder / authors.FILE_NAMES[stage] for stage in STAGES}
    count = {key: value for key, value in states["26"].items() if key.endswith("tracked")}
    legacy = OrderedDict((k, v) for k, v in states["26"].items() if k not in count)
    optimizer = {
        "state": {139_872_345_678_912: {"step": 5, "exp_avg": torch.ones(3)}},
        "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999), "params": [139_872_345_678_912]}],
    }
    payload = {"epoch": 7, "log": "x" * 300, "state_dict_G": legacy, "optimizer_G": optimizer}
    save_as_torch_03(payload, paths["26"])
    torch.save(
        {"state_dict_G": states["middle"], "state_dict_D": {"conv.weight": torch.ones(1)}},
        paths["middle"],
        _use_new_zipfile_serialization=False,
    )
    torch.save(states["35"], paths["35"])
    parallel = {f"module.{key}": value for key, value in states["17"].items()}
    torch.save({"state_dict_G": parallel}, paths["17"], _use_new_zipfile_serialization=False)
    return paths


def refused(paths, match):
    with pytest.raises(WeightsError, match=match) as caught:
        authors.import_authors(paths)
    assert "\n" not in str(caught.value)
    assert not (weights.cache_dir() / "weights" / "jin2018").exists()


def test_the_four_files_become_the_same_cascade(cascade, files, tmp_path):
    order = [files[stage] for stage in ("17", "middle", "26", "35")]
    made = authors.import_authors(order)
    found = weights.find("jin2018")
    loaded = store.load(found)

    assert made == found
    assert found.path == tmp_path / "home" / "weights" / "jin2018"
    assert (found.model, found.origin, found.score) == ("cascade", "cache", None)
    assert list(found.info["recipe"]["files"]) == list(STAGES)
    assert not any(file["published"] for file in found.info["recipe"]["files"].values())
    stored = loaded.state_dict()
    for name, value in cascade.state_dict().items():
        assert torch.equal(stored[name], value), name
    y = torch.rand(1, 3, 40, 20)
    frames = cascade(y)
    assert (frames - y.unsqueeze(1)).abs().mean() > 0.1  # they do say something
    assert torch.equal(loaded(y), frames)

    with pytest.raises(OutputError, match="exists already"):
        authors.import_authors(order)


def test_renamed_files_land_in_their_stage_and_published_ones_are_known(
    cascade, files, tmp_path, monkeypatch
):
    swapped = {"middle": "F35_N8.pth", "35": "center_v3.pth", "26": "a", "17": "b"}
    for stage, name in swapped.items():
        (tmp_path / name).symlink_to(files[stage])
    digest = hashlib.sha256(files["middle"].read_bytes()).hexdigest()
    monkeypatch.setitem(authors.PUBLISHED, "middle", digest)
    made = authors.import_authors([tmp_path / name for name in swapped.values()], "mine")
    told = made.info["recipe"]["files"].values()
    assert [file["name"] for file in told] == list(swapped.values())
    assert [file["published"] for file in told] == [True, False, False, False]
    loaded = store.load(weights.find("mine", "cascade"))
    assert torch.equal(
        loaded.stages["middle"].head[4].weight, cascade.stages["middle"].head[4].weight
    )


def test_what_python_2_wrote_is_read(tmp_path):
    values = {"state": {2**40: True, -(2**62): "x" * 300}, "flat": torch.arange(6.0).view(2, 3)}
    save_as_torch_03(values, tmp_path / "x.pth")
    read, _ = pickles.read_checkpoint(tmp_path / "x.pth")
    assert read["state"] == values["state"]
    assert torch.equal(read["flat"], values["flat"])


def test_twice_the_same_or_too_few_are_refused(files):
    refused([files["26"], files["26"]], r"are both the stage 26 \(F26_N9_from_F35_N8\.pth\)")
    refused([files["26"]], r"missing.*: center_v3\.pth, F35_N8\.pth, F17_N9")
    refused([], "missing")
    with pytest.raises(WeightsError, match="cannot be the name"):
        authors.import_authors([], "../up")


def small(**changes):
    """The least that is recognised as the middle network."""
    return {"state_dict_G": {"conv1_B.weight": torch.ones(144, 16, 5, 5), **changes}}


@pytest.mark.parametrize(
    ("payload", "match"),
    [
        (small(), "does not fit the middle frame's network .*lacks"),
        (small(**{"conv9.weight": torch.ones(1)}), "unknown parameter 'conv9.weight'"),
        (small(**{"conv3.weight": torch.ones(1, dtype=torch.int64)}), "floating-point"),
        (small(**{"conv3.weight": torch.ones(2).to_sparse()}), "not a plain tensor"),
        (small(**{"conv3.weight": torch.ones(2, device="meta")}), "not a plain tensor"),
        (small(**{"generateFrame3.conv2.weight": torch.ones(1)}), "unknown parameter"),
        ({"state_dict_G": {"generateFrame3.conv2.weight": torch.ones(1)}}, "none of the authors'"),
        ({"layer.weight": torch.ones(1)}, "none of the authors'"),
        ({"state_dict_G": {"conv1_B.weight": 3}}, "not one of the authors' files"),
        ({"state_dict_G": [1]}, "no state_dict_G"),
        ({}, "no state_dict_G"),
        (torch.ones(3), "no state_dict_G"),
    ],
)
def test_other_checkpoints_are_refused(tmp_path, payload, match):
    torch.save(payload, tmp_path / "x.pth")
    refused([tmp_path / "x.pth"], match)


def test_parameters_of_another_shape_or_not_finite_are_refused(states, files, tmp_path):
    path = tmp_path / "x.pth"
    key = "generateFrame1_7.LocalGrad2.3.conv4.weight"
    torch.save({**states["17"], key: torch.ones(3)}, path)
    refused([path], r"refine\.1\.3\.conv3\.weight has the shape \(3,\)")
    torch.save({**states["17"], key: states["17"][key] * torch.nan}, path)
    refused([path, files["middle"], files["35"], files["26"]], "not finite")


class Shell:
    """Writes a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("where", ["optimizer", "state", "value"])
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle", "torch 0.3", "protocol 4"])
def test_hostile_pickles_are_refused_and_not_run(tmp_path, where, form):
    hostile, path = Shell(tmp_path / "ran"), tmp_path / "x.pth"
    payload = {
        "optimizer": {**small(), "optimizer": hostile},
        "state": {"state_dict_G": hostile},
        "value": small(**{"conv3.weight": hostile}),
    }[where]
    if form == "zip":
        torch.save(payload, path)
    elif form == "legacy":
        torch.save(payload, path, _use_new_zipfile_serialization=False)
    elif form == "pickle":
        path.write_bytes(pickle.dumps({"state_dict_G": hostile}, 2))
    elif form == "protocol 4":
        torch.save(payload, path, pickle_protocol=4)
    else:
        save_as_torch_03(payload, path)
    refused([path], "nothing of it was run|not a PyTorch checkpoint")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("pickle_index", [0, 1, 2, 4])
def test_no_part_of_a_legacy_file_runs_anything(tmp_path, pickle_index):
    stream = io.BytesIO()
    for index in range(5):
        value = Shell(tmp_path / "ran") if index == pickle_index else 1001
        stream.write(pickle.dumps(value, 2) if index else pickles.LEGACY_MAGIC)
    if pickle_index == 0:
        stream = io.BytesIO(pickle.dumps(Shell(tmp_path / "ran"), 2) + stream.getvalue())
    (tmp_path / "x.pth").write_bytes(stream.getvalue())
    refused([tmp_path / "x.pth"], "not a PyTorch checkpoint|damaged|nothing of it was run")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("stage", ["26", "35"])
@pytest.mark.parametrize("share", [0.0001, 0.001, 0.5, 0.99999])
def test_truncated_files_are_refused(files, tmp_path, stage, share):
    data = files[stage].read_bytes()
    (tmp_path / "x.pth").write_bytes(data[: int(len(data) * share)])
    refused([tmp_path / "x.pth"], "is damaged, .* download it again")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n", "git lfs pull"),
        (b"\r\n <!DOCTYPE html><html><title>Dropbox</title></html>", "is a web page"),
        (b"PK\x05\x06" + bytes(18), "damaged"),
        (b"\x89PNG\r\n", "not a PyTorch checkpoint"),
        (pickles.LEGACY_MAGIC, "damaged"),
        (pickles.LEGACY_MAGIC + b"I" + b"1" * 10_000 + b"\n.", "damaged"),
        (pickles.LEGACY_MAGIC + b"((((" * 100_000, "damaged"),
    ],
)
def test_what_is_saved_in_the_place_of_a_file_is_named(tmp_path, data, match):
    (tmp_path / "center_v3.pth").write_bytes(data)
    refused([tmp_path / "center_v3.pth"], match)


def test_files_that_cannot_be_read_are_named(tmp_path):
    refused([tmp_path / "none.pth"], "does not exist")
    refused([tmp_path], "Is a directory")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused([tmp_path / "a.zip"], "damaged")

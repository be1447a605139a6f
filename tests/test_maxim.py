"""MAXIM: its layers, its shipped weights, and the import of the published ones."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from helpers import invoke
from torch.testing import assert_close

from blurvid import weights
from blurvid.config import MaximSpec
from blurvid.errors import OptionError, OutputError, WeightsError
from blurvid.models import build, middle_of
from blurvid.networks import Maxim, axes
from blurvid.networks.maxim import spans
from blurvid.weights import store, tfjs
from blurvid.weights.maxim import import_maxim, published

pytestmark = pytest.mark.usefixtures("surroundings")
RELEASED = weights.sets.released_dir()
TINY = MaximSpec(features=4)
EDGE = [
    0.1977,
    0.2015,
    0.2013,
    0.2141,
    0.2012,
    0.2007,
    0.4338,
    0.7743,
    0.8111,
    0.8024,
    0.8007,
    0.8011,
]
"""What the shipped weights make of a step from 0.2 to 0.8, blurred over 7 px."""


def awake(spec=TINY, scale=0.3):
    """A network all of whose parameters are seeded and matter, whatever torch starts with."""
    net = Maxim(spec)
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in net.named_parameters():
            noise = torch.randn(value.shape, generator=numbers)
            is_norm = "norm" in name and name.endswith("weight")
            value.copy_(1 + 0.1 * noise if is_norm else noise * scale / value[0].numel() ** 0.5)
    return net.eval().requires_grad_(False)


def picture(height=64, width=128):
    """Smooth waves and squares in [0, 1], (1, 3, H, W)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = 0.5 + 0.3 * torch.sin(x / 5 + y / 9)
    squares = ((x // 12 + y // 8) % 2).float()
    return torch.stack([waves, 0.8 * squares + 0.1, 1 - waves])[None]


# The network


def test_an_untrained_network_returns_its_input():
    y = picture()
    assert_close(build("maxim", TINY)(y)[:, 0], y)


@pytest.mark.parametrize(
    ("stages", "golden"), [(1, [0.51503, 0.10736, -0.26721]), (3, [-0.04682, 0.02538, 0.48628])]
)
def test_golden_output(stages, golden):
    out = awake(MaximSpec(stages, 4))(picture())
    assert out.shape == (1, 1, 3, 64, 128)
    assert_close(out[0, 0, :, 17, 100], torch.tensor(golden), rtol=0, atol=2e-4)


def test_far_and_near_mixing_are_those_of_the_paper():
    """A grid of 2 x 2 cells mixes places 4 rows or 6 columns apart, blocks of 2 their four."""
    x = torch.arange(8 * 12.0).view(1, 8, 12, 1)
    for far, others in ((True, (4, 6)), (False, (1, 1))):
        mix = axes.Mix(2, far)
        with torch.no_grad():
            mix.weight.zero_()
            mix.weight[0] = torch.tensor([0.0, 1.0, 10.0, 100.0])
            mix.bias.zero_()
        down, across = others
        expected = x[0, 0, across] + 10 * x[0, down, 0] + 100 * x[0, down, across]
        mixed = mix.places(mix(mix.cells(x)), x.shape)
        assert mixed[0, 0, 0] == expected
        assert mixed[0, 0, across] == 0


def test_batches_and_gradients():
    net = awake().requires_grad_(True)
    y = torch.cat([picture(64, 64), picture(64, 64).flip(-1)]).requires_grad_(True)
    both = net(y)
    assert_close(both[1:], net(y[1:]), rtol=1e-4, atol=1e-5)
    both.sum().backward()
    for name, value in [*net.named_parameters(), ("y", y)]:
        assert value.grad is not None and value.grad.isfinite().all(), name


def test_bf16_is_near():
    net, y = awake(), picture()
    with torch.autocast("cpu", torch.bfloat16):
        out = net(y)
    assert out.dtype == torch.float32
    assert (out - net(y)).abs().max() < 0.05


@pytest.mark.parametrize("spec", [MaximSpec(0), MaximSpec(4), MaximSpec(features=2)])
def test_shapes_that_there_are_not(spec):
    with pytest.raises(OptionError, match="1 to 3 stages"):
        Maxim(spec)


def test_the_middle_part_is_the_model_itself():
    net = awake()
    assert middle_of(net) is net
    out = torch.empty(1, 3, 64, 128)
    net.fill(out, picture())
    assert_close(out, net(picture())[0])


@pytest.mark.parametrize("length", [64, 384, 448, 704, 768, 1280, 4032])
def test_weights_of_tiles_add_up_to_one(length):
    total = torch.zeros(length)
    for begin, weight in spans(length):
        total[begin : begin + len(weight)] += weight
    assert_close(total, torch.ones(length))


def test_a_large_image_is_seen_in_tiles(monkeypatch):
    net, y = awake(), picture(64, 192)
    monkeypatch.setattr("blurvid.networks.maxim.TILES", (128,))
    monkeypatch.setattr("blurvid.networks.maxim.OVERLAP", 64)
    out = torch.empty(1, 3, 64, 192)
    net.fill(out, y)
    left, right = net(y[..., :128])[0], net(y[..., 64:])[0]
    assert_close(out[..., :64], left[..., :64])
    assert_close(out[..., 128:], right[..., 64:])
    share = (torch.arange(64) + 0.5) / 64
    blended = left[..., 64:] * (1 - share) + right[..., :64] * share
    assert_close(out[..., 64:128], blended)


# The shipped weights


@pytest.mark.weights
def test_the_shipped_weights_sharpen_an_edge():
    net = store.load(weights.find(RELEASED / "maxim"))
    assert isinstance(net, Maxim) and net.spec == MaximSpec()
    sharp = torch.full((1, 3, 64, 64), 0.2)
    sharp[..., 32:] = 0.8
    blurry = sum(sharp.roll(i - 3, -1) for i in range(7)) / 7
    out = net(blurry)[0, 0, 0, 32, 26:38]
    assert_close(out, torch.tensor(EDGE), rtol=0, atol=2e-3)


# Import


def flax_arrays(stages=3, features=4, layout="flax", prefix="", separator="."):
    """Parameters as google-research has them (or `tf`, as tf.js), and the network they make."""
    net = awake(MaximSpec(stages, features))
    arrays = {}
    for ours, theirs in published(net):
        layer = net.get_submodule(ours)
        kernel = layer.weight.numpy()
        leaf = "scale" if isinstance(layer, torch.nn.LayerNorm) else "kernel"
        if isinstance(layer, torch.nn.ConvTranspose2d):
            kernel = kernel.transpose(2, 3, 1, 0)  # h, w, out, in
            if layout == "flax":
                kernel = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
        elif isinstance(layer, torch.nn.Conv2d):
            kernel = kernel.transpose(2, 3, 1, 0)
        elif kernel.ndim == 2:
            kernel = kernel.T
            if any(part in theirs.rpartition(".")[2] for part in ("Conv_", "input_proj")):
                kernel = kernel[None, None]
        for name, value in ((leaf, kernel), ("bias", layer.bias.numpy())):
            arrays[prefix + f"{theirs}.{name}".replace(".", separator)] = value
    return arrays, net


def write_tfjs(folder, arrays, shards=3):
    """A folder as tf.js writes it, its parameters named by nothing but their uses."""
    folder.mkdir()
    ends = {"kernel": "/Conv2D", "scale": "/jit_fn_/Mul_4", "bias": "/jit_fn_/AddV2_1"}
    nodes, entries, parts = [], [], []
    for i, (key, value) in enumerate(arrays.items()):
        layer, _, leaf = key.rpartition(".")
        end = "/conv2d_transpose" if "Transpose" in layer and leaf == "kernel" else ends[leaf]
        nodes.append({"name": f"c{i}", "op": "Const"})
        path = tfjs.SCOPE + layer.replace(".", "/") + end
        nodes.append({"name": path, "op": "x", "input": ["data", f"c{i}:0"]})
        shape = list(value.shape if leaf == "kernel" else (1, 1, 1, *value.shape))
        entries.append({"name": f"c{i}", "shape": shape, "dtype": "float32"})
        parts.append(np.ascontiguousarray(value, "<f4").tobytes())
    entries.append({"name": "axes", "shape": [2], "dtype": "int32"})
    data = b"".join(parts) + bytes(8)
    names = [f"group1-shard{i + 1}of{shards}.bin" for i in range(shards)]
    size = -(-len(data) // shards)
    for i, name in enumerate(names):
        (folder / name).write_bytes(data[i * size : (i + 1) * size])
    model = {
        "modelTopology": {"node": nodes},
        "weightsManifest": [{"paths": names, "weights": entries}],
    }
    (folder / "model.json").write_text(json.dumps(model))
    return folder


def same(found, net):
    model = store.load(found)
    assert model.spec == net.spec
    mine, theirs = model.state_dict(), net.state_dict()
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        assert torch.equal(mine[name], value), name


@pytest.mark.parametrize("layout", ["flax", "tf"])
@pytest.mark.parametrize("prefix", ["", "opt/target/"])
def test_an_npz_is_imported(tmp_path, prefix, layout):
    arrays, net = flax_arrays(layout=layout, prefix=prefix, separator="/")
    if prefix:
        arrays["opt/state/step"] = np.array(7)
    np.savez(tmp_path / "a.npz", **arrays)
    found = import_maxim(tmp_path / "a.npz")
    assert found.name == "maxim-3s"
    same(found, net)


def test_a_graph_of_tfjs_is_imported(tmp_path):
    arrays, net = flax_arrays(layout="tf", features=8)
    folder = write_tfjs(tmp_path / "models", arrays)
    result = invoke("weights", "import", folder, "--name", "three")
    assert result.exit_code == 0, result.output
    same(weights.find("three"), net)
    assert import_maxim(folder / "model.json", "four").model == "maxim"


def test_one_stage_is_kept(tmp_path):
    arrays, net = flax_arrays()
    np.savez(tmp_path / "a.npz", **arrays)
    result = invoke("weights", "import", tmp_path / "a.npz", "--stages", "1")
    assert result.exit_code == 0, result.output
    first = store.load(weights.find("maxim-1s"))
    assert first.spec == TINY
    y = picture()
    handed = {}
    net.stages[0].supervised[0].image.register_forward_hook(
        lambda _, __, out: handed.setdefault("residual", out)
    )
    net(y)
    assert_close(first(y)[:, 0], y + handed["residual"])


def test_import_does_not_replace_a_set(tmp_path):
    arrays, _ = flax_arrays(1, layout="tf")
    arrays["stage_0_supervised_attention_module_0.Conv_1.kernel"][:] = 0
    np.savez(tmp_path / "a.npz", **arrays)
    import_maxim(tmp_path / "a.npz", stages=1)
    with pytest.raises(OutputError, match="exists already"):
        import_maxim(tmp_path / "a.npz", stages=1)
    import_maxim(tmp_path / "a.npz", stages=1, overwrite=True)


def damaged(tmp_path, change):
    """An .npz of one stage after a change."""
    arrays, _ = flax_arrays(1)
    change(arrays)
    np.savez(tmp_path / "a.npz", **arrays)
    return tmp_path / "a.npz"


KEY = "stage_0_input_conv_1.kernel"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda a: a.pop(KEY), f"lacks '{KEY}'"),
        (lambda a: a.pop("stage_0_input_conv_0.kernel"), "does not hold the parameters of MAXIM"),
        (lambda a: a.update({KEY: a[KEY][..., :-1]}), "has the shape"),
        (lambda a: a.update({KEY: a[KEY].astype(int)}), "has the shape"),
        (lambda a: a.update({KEY: a[KEY] * np.nan}), "not finite"),
        (lambda a: a.update({KEY: np.array([{}], object)}), "not an .npz of plain arrays"),
    ],
)
def test_an_npz_that_does_not_fit(tmp_path, change, told):
    result = invoke("weights", "import", damaged(tmp_path, change), "--stages", "1")
    assert result.exit_code == 4
    assert told in result.stderr and result.stderr.count("\n") == 1


def test_files_that_are_no_npz(tmp_path):
    missing, text, bomb = tmp_path / "a.npz", tmp_path / "b.npz", tmp_path / "c.npz"
    text.write_text("hello")
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 60,)}
        )
        archive.writestr("x.npy", header.getvalue())
    for path, told in (
        (missing, "does not exist"),
        (text, "not an .npz"),
        (bomb, "not an .npz"),
    ):
        with pytest.raises(WeightsError, match=told):
            import_maxim(path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m, f: m.pop("weightsManifest"), "not a graph of tf.js"),
        (lambda m, f: m["modelTopology"].update(node=7), "not a graph of tf.js"),
        (lambda m, f: m["weightsManifest"][0]["weights"][0].update(shape=[-1]), "not a graph"),
        (lambda m, f: m["weightsManifest"][0]["weights"][0].update(shape=[9]), "tells of"),
        (
            lambda m, f: m["weightsManifest"][0]["weights"][0].update(
                quantization={"dtype": "uint8"}
            ),
            "quantised",
        ),
        (lambda m, f: m["weightsManifest"][0]["paths"].append("../x"), "not the plain name"),
        (lambda m, f: m["weightsManifest"][0]["paths"].append("no.bin"), "cannot be read"),
        (lambda m, f: (f / "group1-shard2of3.bin").write_bytes(b""), "damaged"),
    ],
)
def test_a_graph_that_does_not_fit(tmp_path, change, told):
    folder = write_tfjs(tmp_path / "models", flax_arrays(1, layout="tf")[0])
    model = json.loads((folder / "model.json").read_text())
    change(model, folder)
    (folder / "model.json").write_text(json.dumps(model))
    result = invoke("weights", "import", folder, "--stages", "1")
    assert result.exit_code == 4
    assert told in result.stderr and result.stderr.count("\n") == 1


def test_folders_without_a_graph(tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        import_maxim(tmp_path)
    (tmp_path / "model.json").write_text("[" * 100_000)
    with pytest.raises(WeightsError, match="not valid JSON"):
        import_maxim(tmp_path)


def test_arguments_that_do_not_go_together(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(1))
    (tmp_path / "a.pth").write_bytes(b"")
    for words in ((tmp_path / "a.npz", tmp_path / "a.pth"), (tmp_path / "a.pth", "--stages", 1)):
        assert invoke("weights", "import", *words).exit_code == 2
    with pytest.raises(WeightsError, match="name of a set"):
        import_maxim(tmp_path / "a.npz", "../x")
    with pytest.raises(WeightsError, match="1 to 3 stages"):
        import_maxim(tmp_path / "a.npz", stages=4)

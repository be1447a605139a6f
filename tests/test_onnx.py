"""Weight sets as ONNX files, run by onnxruntime as another program would."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from helpers import invoke

from blurvid.config import (
    BDIRSpec,
    CascadeSpec,
    DirectSpec,
    MaximSpec,
    MotionModelSpec,
    MotionSpec,
    RestoreSpec,
)
from blurvid.errors import OutputError
from blurvid.models import MotionModel, build
from blurvid.networks import Maxim
from blurvid.networks.motion import MotionNet
from blurvid.networks.restore import RestoreNet
from blurvid.weights import onnx as exporting
from blurvid.weights import store

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.slow

SPECS = {
    "direct": DirectSpec(channels=(8, 12), blocks=(1, 1)),
    "bdirnet": BDIRSpec(channels=(8, 12), blocks=(1, 1), rec_blocks=1, window=24),
    "maxim": MaximSpec(features=4),
}


def shaken(model):
    """A model whose last layers do something, as they do not before training."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if not parameter.any():
            parameter.data.normal_(0, 0.1, generator=generator)
    return model.eval().requires_grad_(False)


def tiny(name):
    if name == "motion":
        spec = MotionModelSpec(
            MotionSpec(channels=(4, 4, 4, 4, 4), blocks=(1, 1, 1, 1), reach=2.0),
            RestoreSpec(channels=(8, 8), blocks=(1, 1), carried=4, kernel=3),
        )
        networks = MotionNet(spec.motion), RestoreNet(spec.restore)
        return shaken(MotionModel(Maxim(SPECS["maxim"]), *networks))
    return shaken(build(name, SPECS[name]))


def saved(model, folder):
    return store.save(
        model, folder, name="tiny", recipe={}, data="", scores={}, licence="MIT",
        dtype=torch.float32,
    )  # fmt: skip


def run(data, *inputs):
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    named = zip(session.get_inputs(), inputs, strict=True)
    return session.run(None, {given.name: np.asarray(x) for given, x in named})


@pytest.mark.parametrize("name", ["direct", "bdirnet"])
def test_one_network_is_one_file_for_images_of_any_size(name, tmp_path):
    model = tiny(name)
    saved(model, tmp_path / "set")
    result = invoke("weights", "export", tmp_path / "set", "--onnx", tmp_path / "net.onnx")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'net.onnx'}\n"), result.stderr
    assert "differs from torch by" in result.stderr
    for size in ((32, 48), (64, 32), (48, 80)):
        y = torch.rand(1, 3, *size)
        (found,) = run(tmp_path / "net.onnx", y)
        wanted = model(y) if name == "direct" else model(y)[:, 0]
        np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=0)
        assert abs(wanted - y[:, None] if name == "direct" else wanted - y).max() > 0.01

    again = invoke("weights", "export", tmp_path / "set", "--onnx", tmp_path / "net.onnx")
    assert (again.exit_code, again.stdout) == (6, "")
    assert (
        again.stderr == f"Error: {tmp_path / 'net.onnx'}: exists already; --overwrite replaces it\n"
    )


def test_the_networks_of_the_motion_model_are_four_files():
    model = tiny("motion")
    parts = {part.name: part for part in exporting.parts_of(model)}
    assert list(parts) == ["middle", "motion", "solve", "frame"]
    entry = dataclasses.make_dataclass("Entry", ["name", "model", "info"])("tiny", "motion", {})
    files = {name: exporting.export_onnx(part, entry)[0] for name, part in parts.items()}
    y, fields = torch.rand(1, 3, 64, 128), torch.randn(1, 4, 64, 128)
    (middle,) = run(files["middle"], y)
    np.testing.assert_allclose(middle, model.middle(y)[:, 0], atol=1e-4, rtol=0)
    m = torch.from_numpy(middle)
    (told,) = run(files["motion"], m, y)
    np.testing.assert_allclose(told, model.motion(m, y), atol=1e-4, rtol=0)
    picture, features = run(files["solve"], y, m, fields)
    wanted = model.restoration.solve(y, m, fields)
    np.testing.assert_allclose(picture, wanted[0], atol=1e-4, rtol=0)
    for t in (-1.0, 0.25):
        (frame,) = run(files["frame"], picture, features, fields, np.float32(t))
        shown = model.restoration.frame(*wanted, fields, t)
        np.testing.assert_allclose(frame, shown, atol=1e-4, rtol=0)


@pytest.mark.usefixtures("tiny_cascade")
def test_the_networks_of_the_cascade_are_a_file_each(tmp_path):
    model = shaken(build("cascade", CascadeSpec()))
    saved(model, tmp_path / "set")
    result = invoke("weights", "export", tmp_path / "set", "--onnx", tmp_path / "c.onnx")
    names = ["c_middle.onnx", "c_3.onnx", "c_5.onnx", "c_26.onnx", "c_17.onnx"]
    assert result.stdout.splitlines() == [str(tmp_path / name) for name in names], result.stderr
    y = torch.rand(1, 3, 40, 60)
    (m,) = run(tmp_path / "c_middle.onnx", y)
    (third,) = run(tmp_path / "c_3.onnx", y, m, m)
    (fifth,) = run(tmp_path / "c_5.onnx", y, third, m)
    (second,) = run(tmp_path / "c_26.onnx", y, m, third)
    frames = model(y)[0]
    for found, i in ((m, 4), (third, 3), (fifth, 5), (second, 2)):
        np.testing.assert_allclose(found[0], frames[i - 1], atol=1e-4, rtol=0)


@pytest.mark.weights
def test_a_released_network_is_exported(tmp_path):
    result = invoke("weights", "export", "direct", "--onnx", tmp_path / "direct.onnx")
    assert result.exit_code == 0, result.stderr
    session = onnxruntime.InferenceSession(tmp_path / "direct.onnx")
    about = session.get_modelmeta().custom_metadata_map
    assert (about["set"], about["part"], about["multiple"]) == ("direct", "direct", "16")


def test_a_file_that_differs_from_torch_is_not_given_out(tmp_path):
    def call(net, y):
        return 2 * y if torch.compiler.is_exporting() else 2 * y + 1e-3

    part = exporting.Part("wrong", torch.nn.Identity(), {"y": exporting.Given()}, ("z",), 4, call)
    found = saved(tiny("direct"), tmp_path / "set")
    with pytest.raises(OutputError, match=r"ONNX file of wrong differs from torch by 1\.0e-03"):
        exporting.export_onnx(part, found)


def test_without_the_packages_the_line_says_what_to_install(tmp_path, monkeypatch):
    saved(tiny("direct"), tmp_path / "set")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    result = invoke("weights", "export", tmp_path / "set", "--onnx", tmp_path / "net.onnx")
    assert result.exit_code == 2
    assert "pip install 'blurvid[onnx]'" in result.stderr

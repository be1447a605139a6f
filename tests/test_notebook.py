"""Clips in notebooks: what Jupyter shows is what the kernel of a notebook gives it."""

import base64
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import blurvid
from blurvid.config import DirectSpec
from blurvid.media.clip import NOTEBOOK_SIDE as LONGEST_SIDE
from blurvid.networks import DirectNet
from blurvid.weights import store

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A set of weights that every process of this test takes."""
    net = DirectNet(DirectSpec(channels=(8, 12), blocks=(1, 1)))
    torch.nn.init.uniform_(net.head.bias, -0.3, 0.3)
    folder = tmp_path / "weights"
    store.save(net, folder, name="tiny", recipe={}, data="", scores={}, licence="MIT")
    monkeypatch.setenv("BLURVID_WEIGHTS", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder


def played(text):
    """The animation inside of what a notebook shows."""
    (kind, data) = re.fullmatch(
        r'<figure><img alt="[^"]+" src="data:image/(\w+);base64,([^"]+)">'
        r"<figcaption>[^<]+</figcaption></figure>",
        text,
    ).groups()
    assert kind == "webp"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.usefixtures("tiny")
def test_a_clip_plays_forth_and_back_at_a_bounded_size(tmp_path):
    pixels = torch.rand(90, 3 * LONGEST_SIDE, 3).mul(255).byte().numpy()
    Image.fromarray(pixels).save(tmp_path / "<wide> & .png")
    clip = blurvid.extract(tmp_path / "<wide> & .png")
    text = clip._repr_html_()
    shown = played(text)
    assert shown.size == (LONGEST_SIDE, 30)
    assert shown.n_frames == 12  # 1 to 7, 6 to 2
    assert shown.info["loop"] == 0
    first = torch.from_numpy(clip.frames[0]).float().mean((0, 1))
    seen = torch.from_numpy(np.array(shown.convert("RGB"))).float().mean((0, 1))
    torch.testing.assert_close(seen, first, atol=2, rtol=0)
    assert "<wide>" not in text and "&lt;wide&gt; &amp; .png: 7 frames" in text


def test_the_example_runs_and_its_clip_plays(tiny, tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    (tmp_path / "photos").mkdir()
    shutil.copy(EXAMPLES / "photos" / "astronaut.jpg", tmp_path / "photos")
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)  # kept without

    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()

    (shown,) = [cell.outputs[0].data for cell in code if "text/html" in str(cell.outputs)]
    with Image.open(EXAMPLES / "photos" / "astronaut.jpg") as photo:
        assert played(shown["text/html"]).size == photo.size
    assert (tmp_path / "astronaut.mp4").stat().st_size > 1000

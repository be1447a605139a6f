"""VGG16 weights for the perceptual loss; the user names the file, none is shipped."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from blurvid.errors import WeightsError
from blurvid.networks import VGGFeatures
from blurvid.weights.headers import MAX_HEADER_BYTES, read_header


def load_vgg(path: Path) -> VGGFeatures:
    """Load the first seven layers of VGG16 from a safetensors file.

    Only these are read; names, shapes and places in the file are checked before.

    Args:
        path: holds `conv1_1.weight`, `conv1_1.bias` .. `conv3_3.bias` of the ImageNet network;
            other tensors are ignored.

    Raises:
        WeightsError: missing, damaged, with other layers, or with values that are not finite.
    """
    vgg = VGGFeatures()
    try:
        with path.open("rb") as file:
            header = read_header(path, file.read(8 + MAX_HEADER_BYTES), file.seek(0, 2))
        tensors = {}
        with safe_open(path, framework="pt") as stored:
            for name, wanted in vgg.state_dict().items():
                if name not in header.shapes:
                    raise WeightsError(f"{path}: holds no VGG16 layer {name!r}")
                if header.shapes[name] != tuple(wanted.shape):
                    raise WeightsError(
                        f"{path}: {name} has the shape {header.shapes[name]} instead of "
                        f"{tuple(wanted.shape)}"
                    )
                tensors[name] = stored.get_tensor(name).float()
                if not tensors[name].isfinite().all():
                    raise WeightsError(f"{path}: {name} holds values that are not finite")
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file") from error
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"{path}: cannot read VGG16 weights from it ({reason})") from error
    vgg.load_state_dict(tensors)
    return vgg

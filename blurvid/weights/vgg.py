"""VGG16 weights for the perceptual loss; the user names the file, none is shipped."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from blurvid.errors import WeightsError
from blurvid.networks import VGGFeatures


def load_vgg(path: Path) -> VGGFeatures:
    """Load the first seven layers of VGG16 from a safetensors file.

    Args:
        path: holds `conv1_1.weight`, `conv1_1.bias` .. `conv3_3.bias` of the ImageNet network;
            other tensors are ignored.

    Raises:
        WeightsError: missing, damaged or with other layers.
    """
    vgg = VGGFeatures()
    names = set(vgg.state_dict())
    try:
        tensors = load_file(path)
        vgg.load_state_dict({name: tensors[name].float() for name in names})
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file") from error
    except KeyError as error:
        raise WeightsError(f"{path}: holds no VGG16 layer {error}") from error
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"{path}: cannot read VGG16 weights from it ({reason})") from error
    return vgg

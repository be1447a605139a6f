"""Valid files of every kind that is read, small: what the fuzzer starts from."""

from __future__ import annotations

import functools
import io
import json
import tarfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import tifffile
import torch
from PIL import Image, ImageCms

from blurvid.config import BDIRSpec, CascadeSpec, DirectSpec
from blurvid.models import build
from blurvid.weights import store

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6" '
    b'xmpNote:HasExtendedXMP="0123"><xmp:Thumbnails>a</xmp:Thumbnails></rdf:Description>'
    b"</rdf:RDF></x:xmpmeta>"
)
TINY = DirectSpec(channels=(4, 4), blocks=(1, 1))
SLIM = CascadeSpec(width=0.0625)
SMALL = BDIRSpec(factor=2, channels=(4, 4), blocks=(1, 1), rec_blocks=1, window=8)
SHAPES = {"direct": TINY, "cascade": SLIM, "bdirnet": SMALL}


@functools.cache
def photos() -> dict[str, bytes]:
    """Photos of all formats, by a word about each."""
    noise = np.random.default_rng(0)
    values = noise.integers(0, 256, (24, 32, 4), np.uint8)
    rgba = Image.fromarray(values)
    rgb, grey = rgba.convert("RGB"), rgba.convert("L")
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "maker", 6
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    exif.get_ifd(0x8825)[1] = "N"
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found: dict[str, bytes] = {}

    def add(name: str, image: Image.Image, kind: str, **options: object) -> None:
        out = io.BytesIO()
        image.save(out, kind, **options)
        found[name] = out.getvalue()

    add("jpeg", rgb, "JPEG", exif=exif.tobytes(), icc_profile=icc, xmp=XMP)
    add("jpeg progressive", rgb, "JPEG", progressive=True)
    add("jpeg cmyk", rgb.convert("CMYK"), "JPEG")
    add("mpo", rgb, "MPO", save_all=True, append_images=[rgb])
    add("png", rgba, "PNG", exif=exif.tobytes(), icc_profile=icc)
    add("png palette", rgb.quantize(16), "PNG", transparency=3, bits=4)
    add("png grey 16", Image.fromarray(noise.integers(0, 65536, (24, 32), np.uint16)), "PNG")
    add("png animated", rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)])
    add("webp", rgba, "WEBP", exif=exif.tobytes(), xmp=XMP, icc_profile=icc)
    add("webp animated", rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)])
    add("gif", rgb, "GIF", save_all=True, append_images=[rgb.rotate(90)])
    for packing in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        add(f"tiff {packing}", rgb, "TIFF", compression=packing, exif=exif, icc_profile=icc)
    add("tiff float", Image.fromarray(noise.random((24, 32), np.float32)), "TIFF")
    add("tiff cmyk", rgb.convert("CMYK"), "TIFF")
    add("avif", rgba, "AVIF", exif=exif.tobytes(), xmp=XMP)
    add("jpeg 2000", rgb, "JPEG2000")
    for kind in ("BMP", "TGA", "PPM", "PCX", "SGI", "DDS", "ICO", "ICNS", "DIB", "BLP"):
        add(kind.lower(), rgb.quantize() if kind == "BLP" else rgb, kind)
    add("xbm", grey.convert("1"), "XBM")
    deep = noise.integers(0, 65536, (24, 32, 3), np.uint16)
    for name, options in {
        "tiff 16": {"compression": "zlib", "predictor": True},
        "tiff 16 tiles": {"tile": (16, 16)},
        "tiff 16 planes": {"planarconfig": "separate"},
        "tiff big": {"bigtiff": True},
    }.items():
        out = io.BytesIO()
        planes = np.moveaxis(deep, -1, 0) if "planes" in name else deep
        tifffile.imwrite(out, planes, photometric="rgb", **options)
        found[name] = out.getvalue()
    try:
        import pillow_heif
    except ImportError:
        return found
    out = io.BytesIO()
    pillow_heif.from_pillow(rgb).save(out, format="HEIF", exif=exif.tobytes())
    found["heic"] = out.getvalue()
    return found


def weight_set(folder: Path, model: str = "direct") -> Path:
    """A tiny weight set in a new folder."""
    torch.manual_seed(0)
    net = build(model, SHAPES[model])
    store.save(
        net,
        folder,
        name=model,
        recipe={"crop": 32, "phases": [{"crop": 48}]},
        data="noise",
        scores={"seven_frame_psnr": 20.0},
        licence="MIT",
    )
    return folder


@functools.cache
def checkpoints() -> dict[str, bytes]:
    """Checkpoints as torch writes them, today and before."""
    state = OrderedDict((name, torch.ones(2, 3)) for name in ("conv1_B.weight", "norm.bias"))
    payload = {
        "state_dict_G": state,
        "options": json.dumps({"model": "direct", "direct": {"channels": [4, 4]}}),
        "history": "[]",
        "step": 3,
        "seconds": 1.5,
        "torch_rng": torch.get_rng_state()[:16],
    }
    found = {}
    for name, zipped in (("zip", True), ("legacy", False)):
        out = io.BytesIO()
        torch.save(payload, out, _use_new_zipfile_serialization=zipped)
        found[name] = out.getvalue()
    return found


@functools.cache
def tars() -> dict[str, bytes]:
    """Archives of photos, packed and not."""
    found = {}
    for mode, kind in (("w", tarfile.PAX_FORMAT), ("w", tarfile.GNU_FORMAT), ("w:gz", 1)):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode=mode, format=kind) as archive:
            for name in ("a.png", "b" * 120 + ".jpg", "ü/readme.txt"):
                data = photos()["png" if name.endswith("png") else "jpeg"]
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        found[f"{mode} {kind}"] = out.getvalue()
    return found


def manifest() -> list[dict[str, object]]:
    """Records of windows as `blurvid synth` writes them."""
    return [
        {
            "window": f"clip/{number:06d}",
            "clip": "clip",
            "source": "clip.mp4",
            "layout": "video",
            "frames": list(range(7)),
            "stride": 7,
            "gamma": 2.2,
            "scale": 1.0,
            "filter": None,
            "crop": [0, 0, 32, 32],
            "size": [32, 32],
            "noise": 0.0,
            "seed": 0,
            "motion": {"dx": 1.0, "dy": 0.0, "median_px": 1.0, "p95_px": 2.0, "per_frame_px": 0.2},
            "warnings": [],
        }
        for number in (1, 2)
    ]


def listing() -> dict[str, object]:
    """A listing of windows over frames beside it."""
    sample = {"clip": "street", "frames": list(range(7)), "average_frames": list(range(7))}
    return {"gamma": 2.2, "samples": [sample, sample | {"blurry": "blur.png"}]}

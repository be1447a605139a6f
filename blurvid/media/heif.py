"""HEIC photos, through pillow-heif, which is an extra: `pip install 'blurvid[heif]'`."""

from __future__ import annotations

import dataclasses
from typing import IO

import numpy as np
from numpy.typing import NDArray

from blurvid.errors import InputError
from blurvid.media.metadata import Metadata, metadata_of


class HeifPhoto:
    """The main image of a HEIC file; its pixels are decoded when they are asked for."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        """Read what the file says about itself.

        Raises:
            InputError: pillow-heif is not installed.
            Exception: whatever it says about damaged files.
        """
        try:
            import pillow_heif
        except ImportError as error:
            raise InputError(
                f"{name}: HEIC photos need pillow-heif; run: pip install 'blurvid[heif]'"
            ) from error
        # Unconverted, values go from 0 to 2**bits - 1, so that white stays exactly white.
        file = pillow_heif.open_heif(stream, convert_hdr_to_8bit=False, hdr_to_16bit=False)
        self.count = len(file)
        self._image = file[file.primary_index]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height [px], upright."""
        width, height = self._image.size
        return width, height

    @property
    def depth(self) -> int:
        """Bits per channel that frames need: 8 or 16."""
        return 16 if ";" in self._image.mode else 8

    @property
    def metadata(self) -> Metadata:
        """What came with it. The pixels come upright, whatever the EXIF block says."""
        return dataclasses.replace(metadata_of(self._image.info), turned=True)

    def decode(self) -> NDArray[np.float32]:
        """Decode the pixels.

        Returns:
            (H, W, C) in [0, 1] with C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
        """
        channels, _, bits = self._image.mode.partition(";")
        stored = np.atleast_3d(np.asarray(self._image)).astype(np.float32)
        values: NDArray[np.float32] = stored / np.float32(2 ** int(bits or 8) - 1)
        if channels.endswith("a"):  # premultiplied
            light = values[..., :-1] / np.maximum(values[..., -1:], np.float32(1e-6))
            values[..., :-1] = light.clip(0, 1)
        return values

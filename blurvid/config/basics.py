"""What everything is about: frames, models, formats."""

from __future__ import annotations

from typing import Literal

from blurvid.config.specs import PARTS, SPECS

FRAMES = 7
"""Frames extracted from one photo (Jin et al. 2018, section 5)."""
LEAST_FRAMES = 3
"""Fewest frames that are made of these seven..."""
MOST_FRAMES = 49
"""...and most: seven between two of them."""
MOST_BEYOND = 4
"""Most frames before the first of the seven, and after the last."""
MIDDLE = 4
"""Number of the middle frame; frames are counted from 1, arrays from 0."""
STAGES = PARTS["cascade"]
"""Stages of the cascade in the order in which they run."""
MODELS = ("motion", "direct", "cascade")
"""The models that extract a whole sequence, best released weights first."""
FAST = "direct"
"""The model that takes a fraction of the time..."""
FAST_MIDDLE = "maxim"
"""...and what makes a photo sharp as fast."""
TRAINED = tuple(SPECS)
"""All models that have weights; `bdirnet` and `maxim` give the middle frame only."""

MIDDLE_CHOICES = ("auto", "own", *TRAINED)
"""What can give the middle frame: the best there is, the cascade's own network, or a model; or
else a weight set, a picture, or a file of another's weights."""

Gamma = float | Literal["srgb"]
"""Camera response: an exponent (1.0 = averaged as stored) or the sRGB curve."""

FRAME_FORMATS = ("png", "tiff", "jpg", "webp-frames")
"""Files of single frames in a folder; `webp` without more is an animation."""
FORMATS = (*FRAME_FORMATS, "mp4", "gif", "webp", "html")
"""What frames can be written as: single frames in a folder, a video, an animation, an animation
with all colours, a player for browsers."""
JPEG_QUALITY = 95
"""Of single frames, 0 to 100."""

DEFAULT_GAMMA = 2.2
"""Camera response assumed where none is known."""

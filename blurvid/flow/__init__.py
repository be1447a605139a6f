"""Dense optical flow: where every pixel of an image goes to. Parameter-free tensor maths."""

from blurvid.flow.pyramid import along, estimate
from blurvid.flow.sampling import pixel_grid, visible, warp

__all__ = ["along", "estimate", "pixel_grid", "visible", "warp"]

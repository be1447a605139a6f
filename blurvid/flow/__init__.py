"""Dense optical flow: where every pixel of an image goes to. Parameter-free tensor maths."""

from blurvid.flow.field import Field, Motion, measure
from blurvid.flow.pyramid import along, estimate
from blurvid.flow.sampling import pixel_grid, visible, warp

__all__ = ["Field", "Motion", "along", "estimate", "measure", "pixel_grid", "visible", "warp"]

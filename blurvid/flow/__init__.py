"""Dense optical flow: where every pixel of an image goes to. Parameter-free tensor maths."""

from blurvid.flow.chain import Chain, Costs, Ways, joint, ways
from blurvid.flow.field import Field, Motion, measure
from blurvid.flow.objects import find_objects, middle_of, region_of
from blurvid.flow.pyramid import along, estimate
from blurvid.flow.sampling import pixel_grid, visible, warp

__all__ = [
    "Chain",
    "Costs",
    "Field",
    "Motion",
    "Ways",
    "along",
    "estimate",
    "find_objects",
    "joint",
    "measure",
    "middle_of",
    "pixel_grid",
    "region_of",
    "visible",
    "warp",
    "ways",
]

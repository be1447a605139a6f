"""Dense optical flow: where every pixel of an image goes to. Parameter-free tensor maths."""

from blurvid.flow.against import against
from blurvid.flow.chain import Chain, Costs, Joint, Ways, joint, ways
from blurvid.flow.field import Field, Motion, measure, sequence_motion
from blurvid.flow.inner import between, mutual_flow
from blurvid.flow.meeting import meet
from blurvid.flow.objects import find_objects, middle_of, region_of
from blurvid.flow.outer import onward
from blurvid.flow.pyramid import along, estimate, neighboring
from blurvid.flow.sampling import pixel_grid, visible, warp

__all__ = [
    "Chain",
    "Costs",
    "Field",
    "Joint",
    "Motion",
    "Ways",
    "against",
    "along",
    "between",
    "estimate",
    "find_objects",
    "joint",
    "measure",
    "meet",
    "mutual_flow",
    "neighboring",
    "middle_of",
    "onward",
    "pixel_grid",
    "region_of",
    "sequence_motion",
    "visible",
    "warp",
    "ways",
]

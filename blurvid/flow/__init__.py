"""Dense optical flow: where every pixel of an image goes to. Parameter-free tensor maths."""

from blurvid.flow.chain import EXPOSED, Chain, Costs, Placed, Ways, joint, ways
from blurvid.flow.field import Field, Motion, measure, sequence_motion
from blurvid.flow.objects import find_objects, middle_of, region_of
from blurvid.flow.pyramid import along, estimate, neighboring
from blurvid.flow.sampling import pixel_grid, visible
from blurvid.flow.seam import meet

"""Modules with parameters."""

from blurvid.networks.bdirnet import SAID, SAIR, BDIRNet, DistillNet, RecNet
from blurvid.networks.direct import DirectNet
from blurvid.networks.frame import CORE_SPEC, MIDDLE_SPEC, OUTER_SPEC, FrameNet, FrameSpec
from blurvid.networks.maxim import Maxim

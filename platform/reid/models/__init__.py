"""FGSAM and SAN, and their parts."""

from reid.models.alignment import Classifiers, LocallyReinforcedAlignment
from reid.models.carry import CarryOver, carry_over, count_parameters
from reid.models.fgsam import FGSAM, Output
from reid.models.parse_block import ChannelParseBlock
from reid.models.pooling import CompactBilinearPooling, signed_sqrt
from reid.models.pose_net import POSE_STRIDE, PoseMaps, PoseResolveNet
from reid.models.precision import at_least_fp32
from reid.models.pretrained import IMAGENET, IMAGENET_MEAN, IMAGENET_STD, require_weights
from reid.models.san import SAN, SANOutput
from reid.models.trunk import Trunk, make_trunk, trunk_names

__all__ = [
    "FGSAM",
    "IMAGENET",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "POSE_STRIDE",
    "SAN",
    "CarryOver",
    "ChannelParseBlock",
    "Classifiers",
    "CompactBilinearPooling",
    "LocallyReinforcedAlignment",
    "Output",
    "PoseMaps",
    "PoseResolveNet",
    "SANOutput",
    "Trunk",
    "at_least_fp32",
    "carry_over",
    "count_parameters",
    "make_trunk",
    "require_weights",
    "signed_sqrt",
    "trunk_names",
]

"""FGSAM and its parts."""

from reid.models.carry import CarryOver, carry_over, count_parameters
from reid.models.fgsam import FGSAM, Output
from reid.models.parse_block import ChannelParseBlock
from reid.models.pooling import CompactBilinearPooling
from reid.models.pose_net import PoseMaps, PoseResolveNet

__all__ = [
    "FGSAM",
    "CarryOver",
    "ChannelParseBlock",
    "CompactBilinearPooling",
    "Output",
    "PoseMaps",
    "PoseResolveNet",
    "carry_over",
    "count_parameters",
]

"""Losses, each over the global batch whatever the number of ranks."""

from reid.losses.classification import attribute_cross_entropies, identity_cross_entropy
from reid.losses.pose import masked_squared_error
from reid.losses.pose_targets import pose_targets
from reid.losses.ranks import OneRank, Ranks, global_mean
from reid.losses.triplet import FocalTripletLoss, focal_triplet

__all__ = [
    "FocalTripletLoss",
    "OneRank",
    "Ranks",
    "attribute_cross_entropies",
    "focal_triplet",
    "global_mean",
    "identity_cross_entropy",
    "masked_squared_error",
    "pose_targets",
]

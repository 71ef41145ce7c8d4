"""Losses, each over the global batch whatever the number of ranks, and the objective of every training stage."""

from reid.losses.classification import attribute_cross_entropies, identity_cross_entropy
from reid.losses.objectives import OBJECTIVES, Objective, Terms
from reid.losses.pose import masked_squared_error
from reid.losses.pose_targets import pose_targets
from reid.losses.ranks import OneRank, Ranks
from reid.losses.triplet import FocalTripletLoss, focal_triplet

__all__ = [
    "OBJECTIVES",
    "FocalTripletLoss",
    "Objective",
    "OneRank",
    "Ranks",
    "Terms",
    "attribute_cross_entropies",
    "focal_triplet",
    "identity_cross_entropy",
    "masked_squared_error",
    "pose_targets",
]

"""Losses, each over the global batch whatever the number of ranks."""

from reid.losses.classification import attribute_cross_entropies, identity_cross_entropy
from reid.losses.pose import masked_squared_error
from reid.losses.pose_targets import pose_targets
from reid.losses.ranks import OneRank, Ranks, global_mean
from reid.losses.textures import IMAGES_PER_IDENTITY, MapTriplets, map_triplets, reconstruction_error
from reid.losses.triplet import FocalTripletLoss, focal_triplet

__all__ = [
    "IMAGES_PER_IDENTITY",
    "FocalTripletLoss",
    "MapTriplets",
    "OneRank",
    "Ranks",
    "attribute_cross_entropies",
    "focal_triplet",
    "global_mean",
    "identity_cross_entropy",
    "map_triplets",
    "masked_squared_error",
    "pose_targets",
    "reconstruction_error",
]

"""Pictures for people to look at, as PNG files."""

from reid.pictures.contact_sheet import Found, contact_sheet
from reid.pictures.pose import pose_picture
from reid.pictures.retrieval import cmc_picture, parts_picture, ranked_picture
from reid.pictures.textures import textures_picture

__all__ = [
    "Found",
    "cmc_picture",
    "contact_sheet",
    "parts_picture",
    "pose_picture",
    "ranked_picture",
    "textures_picture",
]

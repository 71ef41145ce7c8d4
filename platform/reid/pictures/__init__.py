"""Pictures for people to look at, as PNG files, and the page that holds those of a run."""

from reid.pictures.bars import attributes_picture, rows_picture, time_picture
from reid.pictures.cameras import MOST_CAMERAS, cameras_picture
from reid.pictures.contact_sheet import Found, contact_sheet
from reid.pictures.curves import Curve, cmc_picture, losses_picture
from reid.pictures.figure import DPI, WIDTH_IN, legend, new_figure, plain, png
from reid.pictures.identities import identities_picture
from reid.pictures.page import Illustration, Page, PageSection, PageTable
from reid.pictures.pose import pose_picture
from reid.pictures.retrieval import parts_picture, ranked_picture
from reid.pictures.textures import textures_picture

__all__ = [
    "DPI",
    "MOST_CAMERAS",
    "WIDTH_IN",
    "Curve",
    "Found",
    "Illustration",
    "Page",
    "PageSection",
    "PageTable",
    "attributes_picture",
    "cameras_picture",
    "cmc_picture",
    "contact_sheet",
    "identities_picture",
    "legend",
    "losses_picture",
    "new_figure",
    "parts_picture",
    "plain",
    "png",
    "pose_picture",
    "ranked_picture",
    "rows_picture",
    "textures_picture",
    "time_picture",
]

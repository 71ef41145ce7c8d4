"""Datasets: from the original formats to an Arrow store, and from the store to batches on the device."""

from reid.config import DataError
from reid.data.batch import PoseBatch, ReIDBatch
from reid.data.dataset import Dataset, Split, open_dataset
from reid.data.descriptors import DescriptorTable, Origin, RowLabels, rows_of, write_table
from reid.data.held_out import HoldOut, hold_out
from reid.data.image_folder import image_place, list_images
from reid.data.kinds import POSE, REID, TEXTURES, DataKind
from reid.data.loading import PoseBatches, ReIDBatches
from reid.data.map_store import MapStore, map_stores
from reid.data.parallel import MapTasks, map_in_process, map_in_processes
from reid.data.pixels import ImageLike, UnreadableImageError, load_image, pixels_of, resized
from reid.data.plan import plan_digest
from reid.data.preparation import prepare, prepare_store
from reid.data.readers import READERS, Records
from reid.data.remote import local_copy, manifest_of, open_store
from reid.data.row_file import ARROW, PARQUET, write_rows
from reid.data.sample import IMAGES_PER_IDENTITY, evenly_spread, sample_of
from reid.data.sampler import balanced_batches, rank_slice, shuffled_batches
from reid.data.store import MANIFEST, StoreManifest
from reid.data.table_images import TableImages
from reid.data.transforms import normalise

__all__ = [
    "ARROW",
    "IMAGES_PER_IDENTITY",
    "MANIFEST",
    "PARQUET",
    "POSE",
    "READERS",
    "REID",
    "TEXTURES",
    "DataError",
    "DataKind",
    "Dataset",
    "DescriptorTable",
    "HoldOut",
    "ImageLike",
    "MapStore",
    "MapTasks",
    "Origin",
    "PoseBatch",
    "PoseBatches",
    "ReIDBatch",
    "ReIDBatches",
    "Records",
    "RowLabels",
    "Split",
    "StoreManifest",
    "TableImages",
    "UnreadableImageError",
    "balanced_batches",
    "evenly_spread",
    "hold_out",
    "image_place",
    "list_images",
    "load_image",
    "local_copy",
    "manifest_of",
    "map_in_process",
    "map_in_processes",
    "map_stores",
    "normalise",
    "open_dataset",
    "open_store",
    "pixels_of",
    "plan_digest",
    "prepare",
    "prepare_store",
    "rank_slice",
    "resized",
    "rows_of",
    "sample_of",
    "shuffled_batches",
    "write_rows",
    "write_table",
]

"""Datasets: from the original formats to an Arrow store, and from the store to batches on the device."""

from reid.data.batch import PoseBatch, ReIDBatch
from reid.data.dataset import Dataset, Split, open_dataset
from reid.data.errors import DataError
from reid.data.loading import PoseBatches, ReIDBatches
from reid.data.manifests import Attribute, Manifest, load_manifest
from reid.data.parallel import MapTasks, map_in_process, map_in_processes
from reid.data.preparation import plan_digest, prepare
from reid.data.remote import local_copy
from reid.data.sampler import balanced_batches, rank_slice, shuffled_batches

__all__ = [
    "Attribute",
    "DataError",
    "Dataset",
    "Manifest",
    "MapTasks",
    "PoseBatch",
    "PoseBatches",
    "ReIDBatch",
    "ReIDBatches",
    "Split",
    "balanced_batches",
    "load_manifest",
    "local_copy",
    "map_in_process",
    "map_in_processes",
    "open_dataset",
    "plan_digest",
    "prepare",
    "rank_slice",
    "shuffled_batches",
]

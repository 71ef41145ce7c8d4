"""The columns that a store's shards must have, by what its manifest says."""

import pyarrow as pa

from reid.config import JOINTS
from reid.data.pixels import IGNORE_STRIDE
from reid.data.rows import Types
from reid.data.store import StoredSplit, StoreManifest


def image_columns(shard: pa.RecordBatch, manifest: StoreManifest, stored: StoredSplit) -> Types:
    """The columns of images and labels."""
    height, width, people = manifest.height, manifest.width, manifest.max_people
    types = {"pid": pa.int64(), "camid": pa.int64(), "name": pa.string(), "image": pa.binary()}
    if manifest.encoding == "raw":
        types["image"] = pa.fixed_shape_tensor(pa.uint8(), (height, width, 3))
    if manifest.attributes:
        types["attributes"] = pa.list_(pa.int8(), len(manifest.attributes))
    if people:  # of the split that has most
        own = min(people, _people(shard))
        types["keypoints"] = pa.fixed_shape_tensor(pa.float32(), (own, len(JOINTS), 3))
        types["ignore"] = pa.fixed_shape_tensor(pa.uint8(), (height // IGNORE_STRIDE, width // IGNORE_STRIDE))
    if stored.textures:
        types["texture"] = pa.int64()
    if stored.seen:
        types["seen"] = pa.fixed_shape_tensor(pa.uint8(), (manifest.texture_side,) * 2)
    return types


def texture_columns(manifest: StoreManifest) -> Types:
    """The columns of textures."""
    return {"texture": pa.fixed_shape_tensor(pa.uint8(), (manifest.texture_side, manifest.texture_side, 3))}


def _people(shard: pa.RecordBatch) -> int:
    """People an image that the shard has joints of; 1 where it has no such column."""
    index = shard.schema.get_field_index("keypoints")
    kind = shard.schema.field(index).type if index >= 0 else None
    return int(kind.shape[0]) if isinstance(kind, pa.FixedShapeTensorType) and kind.shape else 1

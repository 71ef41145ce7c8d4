"""The kinds of data that a stage can be trained on."""

from dataclasses import dataclass

from reid.data.loading import PoseBatches, ReIDBatches


@dataclass(frozen=True, kw_only=True)
class DataKind:
    """One kind of data, in a store of its own."""

    name: str
    batches: type[ReIDBatches] | type[PoseBatches]
    """From the indices of a split to batches on the device."""
    identities: bool = True
    """Whether images belong to identities: P×K batches are made of them, and some can be held out."""


REID = DataKind(name="reid", batches=ReIDBatches)
"""Person images with identities, cameras and attributes: `data.name`."""
POSE = DataKind(name="pose", batches=PoseBatches, identities=False)
"""Images of people with their joints: COCO, or the scenes that `embedded` renders."""
TEXTURES = DataKind(name="textures", batches=ReIDBatches, identities=False)
"""Images of people with their textures: pairs on disk, or those that `embedded` renders."""

"""The folder that holds a prepared dataset: `manifest.json` and Arrow shards beside it."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import from_json

from reid.config import (
    TEXTURE_LAYOUTS,
    Attribute,
    AttributeProtocol,
    Count,
    DataError,
    Positive,
    Section,
    complaints,
    read_file,
)
from reid.storage import Place

SCHEMA_VERSION = 3
MANIFEST = "manifest.json"
Encoding = Literal["raw", "compressed"]


class Shard(Section):
    """One Arrow file."""

    file: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*\.arrow$")
    """Name within the store's own folder, so without any path."""
    rows: Positive
    bytes: int = Field(ge=1, lt=2**63)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class StoredSplit(Section):
    """The shards of a split, in order."""

    rows: Positive
    identities: Count
    shards: tuple[Shard, ...] = Field(min_length=1)
    textures: tuple[Shard, ...] = ()
    """Textures of the people in the images, a row for each, which the shards' column `texture` counts; none = they are
    unknown."""
    seen: bool = False
    """Whether the shards have a column `seen`: the texels that each image shows."""

    @model_validator(mode="after")
    def _is_consistent(self) -> "StoredSplit":
        if sum(shard.rows for shard in self.shards) != self.rows:
            raise ValueError(f"the shards' rows do not add up to {self.rows}")
        if self.seen and not self.textures:
            raise ValueError("texels are seen, and there are no textures")
        return self

    @property
    def files(self) -> tuple[Shard, ...]:
        """All that belongs to the split."""
        return (*self.shards, *self.textures)


class StoreManifest(Section):
    """What `manifest.json` says."""

    schema_version: int
    name: str
    """The dataset manifest it was prepared by."""
    source: str
    """Folder it was prepared from, for people to read."""
    plan: str
    """Digest of the source's listing and of all settings: `reid.data.plan_digest`."""
    digest: str
    """Digest of the contents: equal for equal images and labels, wherever they came from."""
    encoding: Encoding
    height: int = Field(ge=8, le=1024)
    """Pixels of every stored image."""
    width: int = Field(ge=8, le=1024)
    max_people: int = Field(ge=0, le=1024)
    """People per image in the keypoints column; 0 = there are no keypoints."""
    attributes: tuple[Attribute, ...]
    attribute_protocol: AttributeProtocol = "labelled"
    texture_side: int = Field(0, ge=0, le=1024)
    """Texels along a side of every texture; 0 = there are none."""
    texture_layout: str | None = None
    """What is where on the textures: a key of `reid.config.TEXTURE_LAYOUTS`; none = another layout."""
    splits: dict[str, StoredSplit] = Field(min_length=1)

    @model_validator(mode="after")
    def _textures_are_described(self) -> Self:
        if (self.texture_side > 0) != any(stored.textures for stored in self.splits.values()):
            raise ValueError(f"texture_side is {self.texture_side}, which does not fit the textures of the splits")
        if self.texture_layout not in (None, *TEXTURE_LAYOUTS):
            raise ValueError(f"invalid texture_layout, expected one of {', '.join(TEXTURE_LAYOUTS)}")
        return self

    def only(self, splits: Collection[str] | None) -> Self:
        """The manifest as if it had no more than these splits; none = all. The digest stays that of the whole."""
        if splits is None:
            return self
        return self.model_copy(update={"splits": {name: self.splits[name] for name in self.splits if name in splits}})


def content_digest(fields: dict[str, Any]) -> str:
    """Digest of what a store holds, from the fields of its manifest."""
    content = {key: value for key, value in fields.items() if key not in ("source", "plan", "digest")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def parse_manifest(text: str | bytes, place: str) -> StoreManifest:
    """Parse `manifest.json`.

    Args:
        place: the store's folder or URI, for messages.

    Raises:
        DataError: it was written by a newer version, is malformed, or names files outside of its folder.
    """
    try:
        fields = from_json(text)
        version = fields["schema_version"]
        if not isinstance(version, int) or isinstance(version, bool):
            raise TypeError(f"schema_version is {version!r}")
        if version > SCHEMA_VERSION:
            raise DataError(
                f"{place} has schema version {version}, and this version of reid reads up to {SCHEMA_VERSION}: upgrade "
                "reid, or prepare the dataset into another folder"
            )
        if version < SCHEMA_VERSION:
            raise DataError(f"{place} was prepared by an older version of reid: delete the folder and prepare again")
        manifest = StoreManifest.model_validate(fields)
        if content_digest(manifest.model_dump(mode="json")) != manifest.digest:
            raise TypeError("its digest does not belong to its contents")
    except DataError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        reason = complaints(error) if isinstance(error, ValidationError) else error
        raise DataError(
            f"{Place(place) / MANIFEST} is damaged, delete the folder and prepare again: {reason}"
        ) from error
    return manifest


def read_manifest(folder: Path) -> StoreManifest:
    """Read the manifest of a local store.

    Raises:
        DataError: as `parse_manifest`, or there is no store.
    """
    try:
        text = read_file(folder / MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{folder} holds no prepared dataset (no {MANIFEST}): prepare it first, jobs/prepare_data.py does"
        ) from None
    except OSError as error:
        raise DataError(f"{folder}/{MANIFEST} cannot be read ({error}): delete the folder and prepare again") from error
    return parse_manifest(text, str(folder))

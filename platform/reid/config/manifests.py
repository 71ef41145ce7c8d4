"""What is known of each dataset before it is read: the YAML files of `datasets/`, as types."""

import functools
import os
from pathlib import Path
from typing import Any, Literal

import re2
import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from reid.config.atlas import TEXTURE_LAYOUTS
from reid.config.body import LAYOUTS, Region
from reid.config.errors import DataError, complaints
from reid.config.files import read_yaml
from reid.config.section import Count, Section

OWN = ("folder", "texture_pairs")
"""Names of the datasets that are described by a manifest beside their images."""
MANIFEST_SUFFIX = ".yaml"

AttributeProtocol = Literal["labelled", "market", "peta"]
"""How predicted attributes are scored, see `reid.evaluation.ATTRIBUTE_PROTOCOLS`."""


class Attribute(Section):
    """One attribute of a person: a classification task of its own."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    classes: tuple[str, ...] = Field(min_length=2, max_length=127)
    """Class names; a label is the position in this tuple, -1 = missing."""
    region: Region | None = None
    """Body region that shows it, and so the branch that it supervises; none = the whole body, and the plenary one."""
    fields: tuple[str, ...] = Field(min_length=1)
    """Where the annotation has it, one field or one for each class; the dataset's reader says how each is written."""

    @model_validator(mode="after")
    def _classes_and_fields_fit(self) -> "Attribute":
        if len(self.fields) not in (1, len(self.classes)):
            raise ValueError(f"attribute '{self.name}' needs one field, or one for each of {len(self.classes)} classes")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes of attribute '{self.name}' must differ: {', '.join(self.classes)}")
        return self


class SplitCounts(Section):
    """Expected size of a split as it is kept."""

    images: Count
    identities: Count | None
    """Not counting distractors (pid 0); none = not published, and not checked."""


class TextureFiles(Section):
    """Where the textures of a dataset's people are: square images, one file for each."""

    folder: str = "textures"
    """Name of their folder: in the source folder, in `texture_pairs` in that of the split."""
    file_name: str | None = None
    """Regular expression (RE2) for the basename of every image, with a group `texture`: the name of the texture's file,
    but for its suffix; none = as the image's own."""
    layout: str | None = None
    """What is where on them: a key of `reid.config.TEXTURE_LAYOUTS`; none = another layout, and textures are not
    mirrored when their image is flipped."""

    @field_validator("folder")
    @classmethod
    def _is_plain_name(cls, folder: str) -> str:
        return _plain_name(folder, "a folder")

    @field_validator("file_name")
    @classmethod
    def _is_expression(cls, pattern: str | None) -> str | None:
        return _expression(pattern, "texture")

    @field_validator("layout")
    @classmethod
    def _layout_exists(cls, layout: str | None) -> str | None:
        if layout is not None and layout not in TEXTURE_LAYOUTS:
            raise ValueError(f"invalid layout '{layout}', expected one of {', '.join(TEXTURE_LAYOUTS)}, or none")
        return layout


class Manifest(Section):
    """A dataset: where it comes from, what it should hold, and how to read it."""

    name: str
    """Name of the file in `datasets/`."""
    title: str
    citation: str
    url: str
    """Where to get it."""
    licence: str
    reader: str
    """A key of `reid.data.READERS`."""
    file_name: str | None = None
    """Regular expression (RE2) for the basename of every image, with groups `pid` and `camid`; none = listed in a
    file."""
    cameras: int | None = Field(None, ge=1, lt=2**31)
    """Cameras are numbered 1..cameras; none = unknown."""
    image_height: int | None = Field(None, ge=8, le=1024)
    """Native size in pixels; none = images differ, and are stored at the size of the model's input."""
    image_width: int | None = Field(None, ge=8, le=1024)
    counts: dict[str, SplitCounts] | None = None
    """Expected counts by split (of PETA by subset), checked when read; none = not checked, for datasets of any size."""
    layout: str | None = None
    """Branch layout that suits the attributes; none = no person attributes."""
    attributes: tuple[Attribute, ...] = ()
    keypoints: str | None = None
    """File in the source folder with joints of the person images, COCO's keypoint annotations by the images' paths;
    none = unknown."""
    textures: TextureFiles | None = None
    """Where the textures of the people are; none = unknown."""
    attribute_protocol: AttributeProtocol = "labelled"
    """How predictions of the attributes are scored: by the published protocol, where the dataset has one."""

    @field_validator("file_name")
    @classmethod
    def _is_expression(cls, pattern: str | None) -> str | None:
        return _expression(pattern, "pid", "camid")

    @field_validator("keypoints")
    @classmethod
    def _is_plain_name(cls, file: str | None) -> str | None:
        return None if file is None else _plain_name(file, "a file")

    @field_validator("layout")
    @classmethod
    def _layout_exists(cls, layout: str | None) -> str | None:
        if layout is not None and layout not in LAYOUTS:
            raise ValueError(f"invalid layout '{layout}', expected one of {', '.join(LAYOUTS)}")
        return layout

    @model_validator(mode="after")
    def _is_consistent(self) -> "Manifest":
        if (self.image_height is None) != (self.image_width is None):
            raise ValueError("image_height and image_width go together: give both or neither")
        names = [attribute.name for attribute in self.attributes]
        if len(set(names)) < len(names):
            raise ValueError(f"attribute names must differ: {', '.join(names)}")
        several = [attribute.name for attribute in self.attributes if len(attribute.classes) != 2]
        if self.attribute_protocol == "peta" and several:
            raise ValueError(
                f"attribute_protocol: peta is for attributes that are absent or present, and {several[0]} has other "
                "classes: give each attribute two, or set the protocol to labelled"
            )
        return self

    def stored_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the images in a store: native where the dataset has one size, else the given one."""
        if self.image_height is None or self.image_width is None:
            return height, width
        return self.image_height, self.image_width


@functools.cache
def file_name_rule(pattern: str) -> Any:
    """A file-name rule, in RE2's syntax: whatever rule a manifest holds, a name is matched in a time that is linear.

    Raises:
        ValueError: it is no such expression.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace")
        raise ValueError(f"is no regular expression of RE2's syntax ({reason})") from error


def _expression(pattern: str | None, *groups: str) -> str | None:
    found = set(groups) if pattern is None else set(file_name_rule(pattern).groupindex)
    if not set(groups) <= found:
        raise ValueError(f"the expression {pattern} lacks a group named {' or '.join(groups)}")
    return pattern


def _plain_name(name: str, of: str) -> str:
    if Path(name).name != name or name in ("", ".."):
        raise ValueError(f"'{name}' must be the name of {of} in the source folder")
    return name


def manifest_folder() -> Path:
    """`datasets/` beside the source root, or its copy in the installed package."""
    here = Path(__file__).resolve()
    for folder in (here.parents[3] / "datasets", here.parents[1] / "_datasets"):
        if (folder / "README.md").is_file() and any(folder.glob("*.yaml")):
            return folder
    raise DataError(f"no manifests in {here.parents[3] / 'datasets'} nor in the package: install reid again")


def is_own(name: str) -> bool:
    """Whether a dataset is the user's own, described by no manifest of ours alone: nobody has published it."""
    return name in OWN or name.endswith(MANIFEST_SUFFIX)


def load_manifest(name: str, source: Path | None = None) -> Manifest:
    """Read `datasets/<name>.yaml`, or any other file if the name is a path `FILE.yaml`.

    The datasets `folder` and `texture_pairs` are the user's own: what `manifest.yaml` in their source folder says
    replaces what ours says.

    Raises:
        DataError: there is no such manifest, or it is malformed.
    """
    paths = [_manifest_file(name)]
    if name in OWN and source is not None and os.path.lexists(source / "manifest.yaml"):
        paths.append(source / "manifest.yaml")
    fields: dict[str, Any] = {}
    try:
        for path in paths:
            said = yaml.safe_load(read_yaml(path))
            if not isinstance(said, dict):
                raise ValueError("it holds no fields, such as `title: …`")
            fields |= said
        return Manifest.model_validate({**fields, "name": paths[0].stem})
    except ValidationError as error:
        raise DataError(f"{path} is malformed, correct it: {complaints(error)}") from error
    except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
        raise DataError(f"{path} is malformed, correct it: {error}") from error


def _manifest_file(name: str) -> Path:
    if name.endswith(MANIFEST_SUFFIX):
        own = Path(name).expanduser().absolute()
        if not os.path.isfile(own):
            raise DataError(f"there is no manifest {own}: correct data.name")
        return own
    folder = manifest_folder()
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise DataError(
            f"invalid dataset '{name}', expected one of {', '.join(known)}, or a manifest of your own, FILE.yaml"
        )
    return folder / f"{name}.yaml"

"""Which file has the texture of the person in an image."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from reid.config import DataError, Manifest, file_name_rule
from reid.data.readers.checks import names_in, require_folders, some_of
from reid.data.readers.folders import IMAGE_SUFFIXES
from reid.data.readers.records import Records


def with_textures(splits: Mapping[str, Records], source: Path, manifest: Manifest) -> dict[str, Records]:
    """Records with the textures that the manifest names, of everyone who has an identity; distractors have none.

    Raises:
        DataError: an image's texture is missing, or its name does not tell which it is.
    """
    if manifest.textures is None or any(records.textures is not None for records in splits.values()):
        return dict(splits)
    require_folders(source, [manifest.textures.folder], manifest.title)
    files = files_by_name(source, manifest.textures.folder)
    known = {
        path for records in splits.values() for path, pid in zip(records.paths, records.pids_N, strict=True) if pid > 0
    }
    names = names_of(sorted(known), manifest, source)
    if missing := missing_of(names, files):
        raise DataError(f"{source / manifest.textures.folder} lacks the textures {some_of(missing)}: put them there")
    return {
        split: replace(records, textures=tuple(files[names[path]] if path in known else None for path in records.paths))
        for split, records in splits.items()
    }


def files_by_name(source: Path, folder: str) -> dict[str, str]:
    """Images of a folder, as paths below the source, by their names without suffix.

    Raises:
        DataError: two have one name.
    """
    files: dict[str, str] = {}
    for file in names_in(source / folder):
        path = PurePosixPath(file)
        if path.suffix.lower() in IMAGE_SUFFIXES:
            if path.stem in files:
                raise DataError(f"{source / folder}: {file} and {Path(files[path.stem]).name} have one name: keep one")
            files[path.stem] = f"{folder}/{file}"
    return files


def names_of(images: Sequence[str], manifest: Manifest, source: Path) -> dict[str, str]:
    """Name of the texture of each image, from the paths of the images.

    Raises:
        DataError: one cannot be told.
    """
    pattern = None if manifest.textures is None else manifest.textures.file_name
    if pattern is None:
        return {image: PurePosixPath(image).stem for image in images}
    rule = file_name_rule(pattern)
    matches = {image: rule.match(PurePosixPath(image).name) for image in images}
    names = {image: match["texture"] for image, match in matches.items() if match and match["texture"]}
    untold = [image for image in images if image not in names]
    if untold:
        raise DataError(
            f"{source}: the names of {some_of(untold)} tell no texture (expected {pattern}): rename them, or correct "
            f"textures.file_name in the manifest {manifest.name}"
        )
    return names


def missing_of(names: Mapping[str, str], files: Mapping[str, str]) -> list[str]:
    """Names, by image, that no file has, each with the first image that asks for it."""
    asking: dict[str, str] = {}
    for image, name in names.items():
        if name not in files:
            asking.setdefault(name, image)
    return [f"{name} (of {image})" for name, image in asking.items()]

"""What holds for every manifest and its reader."""

from pathlib import Path

import numpy as np
import pytest

from reid.config import Manifest, load_manifest
from reid.config.manifests import SplitCounts, manifest_folder
from reid.data import DataError, prepare
from reid.data.readers import READERS, Records
from reid.evaluation import score_queries

NAMES = sorted(path.stem for path in manifest_folder().glob("*.yaml"))
RE_ID = [name for name in NAMES if load_manifest(name).reader not in ("coco", "coco_whole", "texture_pairs")]
Sources = dict[str, Path]


def without_counts(name: str, source: Path | None = None) -> Manifest:
    return load_manifest(name, source).model_copy(update={"counts": None})


def read(name: str, sources: Sources) -> tuple[dict[str, Records], Manifest, Path]:
    source = sources[load_manifest(name).reader]
    manifest = without_counts(name, source)
    return READERS[manifest.reader](source, manifest, (128, 64)), manifest, source


def test_every_reader_is_tested_and_used(sources: Sources) -> None:
    assert sources.keys() == READERS.keys() == {load_manifest(name).reader for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_records_are_complete(name: str, sources: Sources) -> None:
    splits, manifest, source = read(name, sources)
    for records in splits.values():
        count = len(records)
        assert count > 0
        assert len(records.names) == len(set(records.names)) == count
        assert records.pids_N.shape == records.camids_N.shape == (count,)
        assert records.pids_N.dtype == records.camids_N.dtype == np.int64
        assert records.attributes_NA.dtype == np.int8
        assert records.attributes_NA.shape == (count, len(manifest.attributes))
        assert (records.attributes_NA >= -1).all()
        assert (records.attributes_NA < [len(attribute.classes) for attribute in manifest.attributes]).all()
        assert all((source / path).resolve().is_relative_to(source.resolve()) for path in records.paths)
        assert all((source / path).is_file() for path in records.paths)
        part = records[1:3]
        assert (part.paths, part.names) == (records.paths[1:3], records.names[1:3])
        assert part.pids_N.tolist() == records.pids_N[1:3].tolist()
        for files, some in ((records.textures, part.textures), (records.seen, part.seen)):
            assert files is None or (len(files), files[1:3]) == (count, some)
            assert all((source / file).is_file() for file in files or () if file is not None)


@pytest.mark.parametrize("name", NAMES)
def test_reading_again_gives_the_same(name: str, sources: Sources) -> None:
    first, second = read(name, sources)[0], read(name, sources)[0]
    assert first.keys() == second.keys()
    for split, records in first.items():
        assert records.paths == second[split].paths
        for field in ("pids_N", "camids_N", "attributes_NA"):
            assert np.array_equal(getattr(records, field), getattr(second[split], field))


@pytest.mark.parametrize("name", RE_ID)
def test_the_splits_make_a_re_id_protocol(name: str, sources: Sources) -> None:
    splits = read(name, sources)[0]
    train, query, gallery = splits["train"], splits["query"], splits["gallery"]
    assert not set(train.pids_N) & {*query.pids_N, *gallery.pids_N}
    assert (train.pids_N > 0).all()
    assert np.unique(train.pids_N, return_counts=True)[1].min() >= 2
    paths = [path for records in splits.values() for path in records.paths]
    assert len(paths) == len(set(paths))
    scores = score_queries(
        np.ones((len(query), 2)), np.ones((len(gallery), 2)),
        query.pids_N, gallery.pids_N, query.camids_N, gallery.camids_N,
    )  # fmt: skip
    assert scores.valid_Q.all(), "every query has a match by another camera"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("found", ["nothing", "an empty folder", "a file"])
def test_a_source_that_is_none_is_named(name: str, found: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    if found == "an empty folder":
        source.mkdir()
    elif found == "a file":
        source.write_text("images")
    manifest = without_counts(name)
    with pytest.raises(DataError, match="source"):
        READERS[manifest.reader](source, manifest, (128, 64))


@pytest.mark.parametrize("name", [name for name in RE_ID if load_manifest(name).counts])
def test_an_incomplete_download_is_noticed(name: str, sources: Sources) -> None:
    manifest = load_manifest(name)
    with pytest.raises(DataError, match=f"is not the whole of {manifest.title}") as error:
        READERS[manifest.reader](sources[manifest.reader], manifest, (128, 64))
    assert manifest.counts is not None
    for split, expected in manifest.counts.items():
        of_identities = "" if expected.identities is None else f" of {expected.identities}"
        assert f"{split} has " in str(error.value)
        assert f" instead of {expected.images}{of_identities}" in str(error.value)


@pytest.mark.parametrize("name", [name for name in RE_ID if load_manifest(name).reader != "peta"])
def test_the_right_counts_pass(name: str, sources: Sources) -> None:
    splits, manifest, source = read(name, sources)
    counts = {
        split: SplitCounts(images=len(records), identities=records.num_identities) for split, records in splits.items()
    }
    READERS[manifest.reader](source, manifest.model_copy(update={"counts": counts}), (128, 64))
    fewer = counts | {"query": SplitCounts(images=counts["query"].images, identities=1)}
    with pytest.raises(DataError, match=f"query has {counts['query'].images} images of .* of 1"):
        READERS[manifest.reader](source, manifest.model_copy(update={"counts": fewer}), (128, 64))


@pytest.mark.parametrize("name", NAMES)
def test_a_store_holds_what_was_read(
    name: str, sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reid.data.preparation.load_manifest", without_counts)
    splits, manifest, source = read(name, sources)
    dataset = prepare(name, source, tmp_path / "store", height=32, width=16)
    assert list(dataset.splits) == list(splits)
    assert list(dataset.attributes) == [attribute.name for attribute in manifest.attributes]
    assert dataset.image_size == manifest.stored_size(32, 16)
    for split, records in splits.items():
        stored = dataset.splits[split]
        assert stored.names == list(records.names)
        for field in ("pids_N", "camids_N", "attributes_NA"):
            assert np.array_equal(getattr(stored, field), getattr(records, field))

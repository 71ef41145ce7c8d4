"""What the pictures say, read back from their pixels."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageColor

from reid.data import Dataset, prepare
from reid.evaluation import RetrievalResult, evaluate_retrieval
from reid.evaluation.neighbours import nearest_kept
from reid.pictures import retrieval as drawing
from reid.pictures.retrieval import MATCH, MISTAKE, parts_picture, ranked_picture
from reid.pictures.sheet import FAINT, FRAME, GAP, MARGIN, SWATCH, Sheet

HEIGHT, WIDTH = 32, 16


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Four queries and twelve gallery images of six identities, all of one grey."""
    folder = tmp_path_factory.mktemp("grey")
    rows = [("train", 9, 1), ("train", 9, 2)]
    rows += [("query", pid, 1) for pid in range(1, 5)] + [("gallery", pid, cam) for pid in range(6) for cam in (2, 1)]
    labels = ["path,split,pid,camid"]
    for number, (split, pid, camid) in enumerate(rows):
        Image.new("RGB", (WIDTH, HEIGHT), (128, 128, 128)).save(folder / f"{number}.png")
        labels.append(f"{number}.png,{split},{pid},{camid}")
    (folder / "labels.csv").write_text("\n".join(labels))
    return prepare("folder", folder, tmp_path_factory.mktemp("stores") / "grey", height=HEIGHT, width=WIDTH)


def retrieval(dataset: Dataset, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, RetrievalResult]:
    query, gallery = dataset.splits["query"], dataset.splits["gallery"]
    generator = torch.Generator().manual_seed(seed)
    query_QD, gallery_GD = (torch.randn(len(split), 8, generator=generator) for split in (query, gallery))
    sides = (query.pids_N, gallery.pids_N, query.camids_N, gallery.camids_N)
    return query_QD, gallery_GD, evaluate_retrieval(query_QD, gallery_GD, *sides)


def pixels(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


def area(png: bytes, colour: str) -> int:
    return int((pixels(png) == ImageColor.getrgb(colour)).all(axis=2).sum())


@pytest.mark.parametrize("seed", [0, 1])
def test_as_many_green_and_red_frames_as_matches_and_mistakes(grey: Dataset, seed: int) -> None:
    query, gallery = grey.splits["query"], grey.splits["gallery"]
    query_QD, gallery_GD, result = retrieval(grey, seed)
    rows = nearest_kept(
        [2, 0, 1],
        result.scores,
        query_QD,
        gallery_GD,
        query.pids_N,
        gallery.pids_N,
        query.camids_N,
        gallery.camids_N,
        count=5,
    )
    matches = sum(int(row.is_match_K.sum()) for row in rows)
    assert 0 < matches < 15
    png = ranked_picture(rows, query, gallery, aspect=WIDTH / HEIGHT)
    height = drawing.RANKED_HEIGHT
    frame = (height + 2 * FRAME) * (height // 2 + 2 * FRAME) - height * height // 2
    swatch = SWATCH[0] * SWATCH[1]
    assert area(png, MATCH) == matches * frame + swatch
    assert area(png, MISTAKE) == (15 - matches) * frame + swatch


@pytest.mark.parametrize("count", [1, 11])
def test_a_row_without_a_match_says_where_the_first_is(
    grey: Dataset, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels: list[str] = []

    class Noted(Sheet):
        def __init__(self, **given: Any) -> None:
            labels.extend(given["rows"])
            super().__init__(**given)

    monkeypatch.setattr(drawing, "Sheet", Noted)
    query, gallery = grey.splits["query"], grey.splits["gallery"]
    query_QD, gallery_GD, result = retrieval(grey)
    sides = (query.pids_N, gallery.pids_N, query.camids_N, gallery.camids_N)
    rows = nearest_kept([0, 1, 2, 3], result.scores, query_QD, gallery_GD, *sides, count=count)
    ranked_picture(rows, query, gallery, aspect=WIDTH / HEIGHT)
    firsts = result.scores.first_match_rank_Q.tolist()
    assert any(first > 1 for first in firsts)
    for label, first in zip(labels, firsts, strict=True):
        assert (f"match: {first}." in label) == (first > count)


def parts(png: bytes, columns: int) -> list[NDArray[np.int64]]:
    """The images in the first row of a picture of parts."""
    page = pixels(png).astype(np.int64)
    height, width = drawing.PARTS_HEIGHT, drawing.PARTS_HEIGHT // 2
    framed = (page == ImageColor.getrgb(FAINT)).all(axis=2)
    top = int(framed[:, MARGIN : MARGIN + width].all(axis=1).argmax()) + FRAME
    lefts = [MARGIN + FRAME + (column > 0) * GAP + column * (width + 2 * FRAME + GAP) for column in range(columns)]
    return [page[top : top + height, left : left + width] for left in lefts]


def covered(share: float) -> NDArray[np.float64]:
    """A grey pixel under a map of a share of the strongest."""
    colour_3 = np.array(colormaps[drawing.HEAT_COLOURS](share)[:3]) * 255
    weight = drawing.HEAT_WEIGHT * share
    return np.asarray((1 - weight) * 128 + weight * colour_3)


def test_all_maps_are_on_one_scale_and_the_weaker_cover_less(grey: Dataset) -> None:
    shares = {"strongest": 1.0, "half": 0.5, "tenth": 0.1, "nothing": 0.0}
    maps = {name: torch.full((1, 4, 2), 30 * share) for name, share in shares.items()}
    query, *seen = parts(parts_picture([1], grey.splits["query"], maps, aspect=0.5), 5)
    assert (query == 128).all()
    for (name, share), image in zip(shares.items(), seen, strict=True):
        assert np.abs(image - covered(share)).max() < 2, name
    assert np.abs(seen[0] - 128).max() > 75, "nothing but the colour"
    assert np.abs(seen[2] - 128).max() < 25, "nothing but the person"


def test_a_map_covers_where_it_is_strong(grey: Dataset) -> None:
    maps = {"head": torch.zeros(1, 4, 2)}
    maps["head"][0, 1, 0] = 7
    _, image = parts(parts_picture([1], grey.splits["query"], maps, aspect=0.5), 2)
    changed = np.abs(image - 128).max(axis=2)
    y, x = np.unravel_index(changed.argmax(), changed.shape)
    assert (y // 40, x // 40) == (1, 0)
    assert np.abs(image[60, 20] - covered(1.0)).max() < 20
    assert (changed[100:] == 0).all()


def test_maps_that_are_nothing_leave_the_person_as_it_is(grey: Dataset) -> None:
    maps = {"head": torch.zeros(1, 4, 2)}
    assert all((image == 128).all() for image in parts(parts_picture([1], grey.splits["query"], maps, aspect=0.5), 2))


def test_every_branch_has_its_own_map_beside_every_query(grey: Dataset) -> None:
    """On grey images only the maps are coloured: a hot cell moves the colours of its own row and column alone."""
    maps = {name: torch.zeros(3, 4, 2) for name in ("upper_body", "plenary")}
    maps["upper_body"][0, 0, 0] = 1
    before = pixels(parts_picture([0, 1, 3], grey.splits["query"], maps, aspect=0.5))
    maps["plenary"][2, 0, 1] = 1
    after = pixels(parts_picture([0, 1, 3], grey.splits["query"], maps, aspect=0.5))
    rows, columns = np.nonzero((before != after).any(axis=2))
    pitch = drawing.PARTS_HEIGHT + 2 * FRAME
    assert rows.min() > 2 * pitch
    assert np.ptp(rows) < drawing.PARTS_HEIGHT / 2
    assert columns.min() > MARGIN + 2 * (drawing.PARTS_HEIGHT // 2 + 2 * FRAME)
    assert np.ptp(columns) < drawing.PARTS_HEIGHT / 2


@pytest.mark.parametrize("columns", [["query"], ["query", "left\nupper arm", "plenary"], list("abcdefghijk")])
@pytest.mark.parametrize("rows", [[""], ["AP\n100.0%", "AP\n0.1%"]])
@pytest.mark.parametrize("title", ["short", "a title that is much longer than two or three columns of images are wide"])
@pytest.mark.parametrize("text", ["short", "an explanation that takes more room than two or three columns of images"])
def test_nothing_reaches_into_the_margin(columns: list[str], rows: list[str], title: str, text: str) -> None:
    sheet = Sheet(title=title, columns=columns, rows=rows, cell=(20, 40), legend=[("red", text), (None, text)])
    for row in range(len(rows)):
        for column in range(len(columns)):
            sheet.place(row, column, np.zeros((8, 4, 3), np.uint8), frame="blue", caption="1 · c1")
    page = pixels(sheet.png())
    for edge in (page[: MARGIN - 4], page[4 - MARGIN :], page[:, : MARGIN - 4], page[:, 4 - MARGIN :]):
        assert (edge == 255).all()
    assert (page[MARGIN:-MARGIN, MARGIN:-MARGIN] != 255).any()

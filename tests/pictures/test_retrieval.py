"""What the pictures say, read back from their pixels, and the curve from the figure that is drawn."""

from io import BytesIO

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image, ImageColor

from reid.data import Dataset, prepare
from reid.evaluation import RetrievalResult, evaluate_retrieval
from reid.evaluation.neighbours import nearest_kept
from reid.pictures import retrieval as drawing
from reid.pictures.retrieval import MATCH, MISTAKE, cmc_picture, parts_picture, ranked_picture
from reid.pictures.sheet import FRAME, MARGIN, SWATCH, Sheet

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
    features = [torch.randn(len(split), 8, generator=generator) for split in (query, gallery)]
    result = evaluate_retrieval(*features, query.pids_N, gallery.pids_N, query.camids_N, gallery.camids_N)
    return features[0], features[1], result


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


def area(png: bytes, colour: str) -> int:
    return int((pixels(png) == ImageColor.getrgb(colour)).all(axis=2).sum())


def test_the_curve_is_the_cmc_that_was_measured(grey: Dataset) -> None:
    results = {"plain": retrieval(grey)[2], "re-ranked": retrieval(grey, seed=1)[2]}
    (axes,) = drawing._cmc_figure(results).axes
    for line, (name, result) in zip(axes.lines, results.items(), strict=True):
        assert list(line.get_xdata()) == list(range(1, 21))
        assert list(line.get_ydata()) == result.cmc[:20].tolist()
        assert f"mAP {result.mAP:.1%} {name}" in axes.get_title()
    assert pixels(cmc_picture(results)).std() > 0


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


def test_heat_is_where_the_map_is_strong() -> None:
    map_hw = torch.full((4, 2), 3.0)
    map_hw[1, 0], map_hw[3, 1] = 5, 1
    heat_HW = values(drawing._heat(map_hw, (32, 16)))
    assert heat_HW[8:16, :8].max() == heat_HW.max() > 0.9
    assert heat_HW[24:, 8:].min() == heat_HW.min() == 0
    assert (values(drawing._heat(torch.ones(4, 2), (32, 16))) == 0).all()


def values(heat_HW3: np.ndarray) -> np.ndarray:
    """What the colours of a heat map stand for, in 0..1."""
    scale_V3 = colormaps[drawing.HEAT_COLOURS](np.arange(256), bytes=True)[:, :3].astype(int)
    return np.abs(heat_HW3[:, :, None] - scale_V3).sum(axis=3).argmin(axis=2) / 255


def test_every_branch_has_its_own_map_beside_every_query(grey: Dataset) -> None:
    """On grey images only the maps are coloured: a hot cell moves the colours of its own row and column alone."""
    maps = {name: torch.zeros(3, 4, 2) for name in ("upper_body", "plenary")}
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

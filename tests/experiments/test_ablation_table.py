import statistics
from dataclasses import replace

import pytest

from reid.experiments.ablation_plan import AblationPlan
from reid.experiments.ablation_rows import COMPARISONS, FGSAM_ROWS, PUBLISHED_FGSAM, Row
from reid.experiments.ablation_table import AblationTable

SEEDS = (3, 4)
LAST = {row.slug: {seed: f"seed{seed}-{row.slug}" for seed in SEEDS} for row in FGSAM_ROWS}
PLAN = AblationPlan(
    comparison=COMPARISONS["fgsam",],
    trainings=(),
    last=LAST,
    images=dict.fromkeys(LAST, 25_600),
    other_images=dict.fromkeys(LAST, 0) | {"full": 9_600},
)
NUMBERS = {row.slug: number for number, row in enumerate(FGSAM_ROWS)}
HEADINGS = ["rank-1", "mAP", "mAP − another row's", "which is", "seeds", "person images", "other images"]


def score(number: int, seed: int) -> dict[str, float]:
    """Row `number` reaches 5 % of mAP more than the one before; seed 4 reaches 2 % more than seed 3, and 0.6 per
    cent more of that with every row."""
    mAP = 0.05 * (number + 1) + (0.02 + 0.006 * number) * (seed - SEEDS[0])
    return {"eval/rank1": mAP + 0.05, "eval/mAP": mAP, "train/total": 1.0}


METRICS = {LAST[row.slug][seed]: score(number, seed) for number, row in enumerate(FGSAM_ROWS) for seed in SEEDS}


def lines(table: AblationTable) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.markdown().splitlines()]
    return {row[0]: row[1:] for row in rows}


def test_means_and_deviations_over_the_seeds() -> None:
    table = lines(AblationTable.of(PLAN, "embedded", METRICS))
    assert table[""] == HEADINGS
    assert table["base"] == ["11.0 ± 1.4 %", "6.0 ± 1.4 %", "", "", "2", "25,600", "0"]
    assert table["base + pose + alignment + focal triplet"][-2:] == ["25,600", "9,600"]
    assert list(table)[2:] == [row.name for row in FGSAM_ROWS]
    assert f"{100 * statistics.stdev([0.05, 0.07]):.1f}" == "1.4"


@pytest.mark.parametrize("row", [row for row in FGSAM_ROWS if row.against], ids=lambda row: row.slug)
def test_every_row_is_compared_with_another_seed_by_seed(row: Row) -> None:
    """The differences deviate by less than the scores do: what a seed does to both rows is no difference."""
    (other,) = [compared for compared in FGSAM_ROWS if compared.slug == row.against]
    apart = NUMBERS[row.slug] - NUMBERS[other.slug]
    gains = [5.0 * apart, 5.6 * apart]
    cell, which = lines(AblationTable.of(PLAN, "embedded", METRICS))[row.name][2:4]
    assert which == other.name
    assert cell == f"{statistics.fmean(gains):+.1f} ± {statistics.stdev(gains):.1f} %"


@pytest.mark.parametrize("dataset", ["market1501", "dukemtmc"])
def test_the_papers_figures_stand_beside(dataset: str) -> None:
    table = lines(AblationTable.of(PLAN, dataset, METRICS))
    assert table[""][-2:] == ["paper's rank-1", "paper's mAP"]
    for row in FGSAM_ROWS:
        figures = PUBLISHED_FGSAM[dataset].get(row.slug)
        assert table[row.name][-2:] == ([f"{value} %" for value in figures] if figures else ["–", "–"])


def test_a_dataset_that_the_paper_lacks_has_no_such_columns() -> None:
    assert "paper" not in AblationTable.of(PLAN, "msmt17", METRICS).markdown()


def test_differences_are_between_runs_of_the_same_seed() -> None:
    metrics = dict(METRICS)
    del metrics[LAST["base"][4]]
    table = lines(AblationTable.of(PLAN, "embedded", metrics))
    assert table["base, with the pose budget too"][2] == "+5.0 %"
    assert table["base"][4] == "1"


def test_a_row_that_did_not_finish_stays_open() -> None:
    metrics = {name: values for name, values in METRICS.items() if not name.endswith("base")}
    table = AblationTable.of(PLAN, "embedded", metrics)
    assert lines(table)["base"] == ["–", "–", "", "", "0", "25,600", "0"]
    assert lines(table)["strong baseline"][2:4] == ["–", "base"]
    assert "base" not in table.means()


def test_a_row_that_the_plan_leaves_out_is_no_line() -> None:
    last = {slug: seeds for slug, seeds in LAST.items() if slug not in ("true-joints", "alignment")}
    plan = replace(PLAN, last=last)
    table = lines(AblationTable.of(plan, "embedded", METRICS))
    assert list(table)[2:] == [row.name for row in FGSAM_ROWS if row.slug in last]
    assert table["base + pose + alignment + focal triplet"][2] == "–"


def test_every_score_is_a_metric_of_its_seed() -> None:
    by_seed = AblationTable.of(PLAN, "embedded", METRICS).by_seed()
    assert by_seed.keys() == set(SEEDS)
    assert by_seed[4]["base-longer/mAP"] == pytest.approx(0.1 + 0.026)
    assert len(by_seed[3]) == 2 * len(FGSAM_ROWS)

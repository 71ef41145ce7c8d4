import statistics

import pytest

from reid.experiments.ablation_plan import PUBLISHED, ROWS, AblationPlan
from reid.experiments.ablation_table import AblationTable

SEEDS = (3, 4)
LAST = {row.slug: {seed: f"seed{seed}-{row.slug}" for seed in SEEDS} for row in ROWS}
PLAN = AblationPlan(trainings=(), last=LAST, images=dict.fromkeys(LAST, 25_600))


def score(number: int, seed: int) -> dict[str, float]:
    """Row `number` reaches 10 % of mAP more than the one before; seed 4 reaches 2 % more than seed 3."""
    mAP = 0.1 * (number + 1) + 0.02 * (seed - SEEDS[0])
    return {"eval/rank1": mAP + 0.05, "eval/mAP": mAP, "train/total": 1.0}


METRICS = {LAST[row.slug][seed]: score(number, seed) for number, row in enumerate(ROWS) for seed in SEEDS}


def lines(table: AblationTable) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.markdown().splitlines()]
    return {row[0]: row[1:] for row in rows}


def test_means_and_deviations_over_the_seeds() -> None:
    table = lines(AblationTable.of(PLAN, "embedded", METRICS))
    assert table["base"] == ["16.0 ± 1.4 %", "11.0 ± 1.4 %", "-30.0 ± 0.0 %", "2", "25,600"]
    assert table["base + pose + alignment + focal triplet"][2] == ""
    assert list(table)[2:] == [row.name for row in ROWS]
    assert f"{100 * statistics.stdev([0.1, 0.12]):.1f}" == "1.4"


@pytest.mark.parametrize("dataset", ["market1501", "dukemtmc"])
def test_the_papers_figures_stand_beside(dataset: str) -> None:
    table = lines(AblationTable.of(PLAN, dataset, METRICS))
    assert table[""][-2:] == ["paper's rank-1", "paper's mAP"]
    for row in ROWS:
        figures = PUBLISHED[dataset].get(row.slug)
        assert table[row.name][-2:] == ([f"{value} %" for value in figures] if figures else ["–", "–"])


def test_a_dataset_that_the_paper_lacks_has_no_such_columns() -> None:
    assert "paper" not in AblationTable.of(PLAN, "msmt17", METRICS).markdown()


def test_differences_are_between_runs_of_the_same_seed() -> None:
    metrics = dict(METRICS)
    del metrics[LAST["full"][4]]
    table = lines(AblationTable.of(PLAN, "embedded", metrics))
    assert table["base"][2] == "-30.0 %"
    assert table["base + pose + alignment + focal triplet"][3] == "1"


def test_a_row_that_did_not_finish_stays_open() -> None:
    metrics = {name: values for name, values in METRICS.items() if "base" not in name}
    table = AblationTable.of(PLAN, "embedded", metrics)
    assert lines(table)["base"] == ["–", "–", "–", "0", "25,600"]
    assert "base" not in table.means()


def test_every_score_is_a_metric_of_its_seed() -> None:
    by_seed = AblationTable.of(PLAN, "embedded", METRICS).by_seed()
    assert by_seed.keys() == set(SEEDS)
    assert by_seed[4]["pose/mAP"] == pytest.approx(0.22)
    assert len(by_seed[3]) == 2 * len(ROWS)

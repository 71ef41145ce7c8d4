"""Any number of ranks computes what one rank computes: real processes over gloo, slices uneven."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reid.config import RunConfig, load_config, with_settings
from reid.stages import stage_of
from reid.training import PhaseJob

STEPS = 20
BATCHES = {  # images or identities of none divide by 2 or by 3
    "pose": {"batch_size": 23},
    "baseline": {"batch_size": 17},
    "intermediate": {"batch_size": 17},
    "final": {"batch_size": 20, "images_per_identity": 4},
    "san": {"batch_size": 20, "images_per_identity": 4},
}
STEPS_PER_EPOCH = {"pose": 3, "baseline": 4, "intermediate": 4, "final": 3, "san": 3}
LEARNING_RATES = {"pose": 1e-4, "baseline": 2e-5, "intermediate": 1e-5, "final": 1e-5, "san": 1e-5}
"""At larger rates, rounding alone tears two runs of an untrained network apart, as in any training."""
STAGES = {1: tuple(BATCHES), 2: tuple(BATCHES), 3: ("final", "san")}
"""What is compared, by world size."""
FROZEN_TRUNK = {"model.batch_norm": "local", "phases.baseline.rates": {"trunk": 0.0}, "phases.baseline.epochs": 1}
"""What differs in one more training of the baseline, by several ranks."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Measured = dict[int, dict[int, dict[str, dict[str, Any]]]]


@pytest.fixture(scope="module")
def measured(stores: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """By world size, rank, precision and stage: the terms of each step, and the scores."""
    folder = tmp_path_factory.mktemp("ranks")
    config = load_config(
        preset="smoke",
        overrides=[
            f"storage={folder}/storage",
            "scaling.num_workers=3",
            "precision=fp32",
            "model.batch_norm=frozen",
            "phases.san={stage: san, halve_every: 1}",
            "models.san={trunk: resnet18, weights: null, decoder_widths: [16, 16, 8, 8, 8], embedding_dim: 32}",
            *("models.san.batch_norm=frozen", "models.san.textures=own"),
            *("data.height=32", "data.width=16"),
            *(f"phases.{stage}.{key}={value}" for stage, batch in BATCHES.items() for key, value in batch.items()),
            *(f"phases.{stage}.epochs={-(-STEPS // steps)}" for stage, steps in STEPS_PER_EPOCH.items()),
            *(f"phases.{stage}.learning_rate={rate}" for stage, rate in LEARNING_RATES.items()),
        ],
    )
    jobs = {world: {stage: job(config, stage, stores) for stage in stages} for world, stages in STAGES.items()}
    jobs[2]["frozen trunk"] = job(with_settings(config, FROZEN_TRUNK), "baseline", stores)
    (folder / "jobs.pickle").write_bytes(pickle.dumps(jobs))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "platform")}
    script = Path(__file__).with_name("rank.py")
    ranks = [
        subprocess.Popen([sys.executable, script, str(rank), folder], env=environment) for rank in range(max(STAGES))
    ]
    try:
        assert [rank.wait(timeout=800) for rank in ranks] == [0] * len(ranks)
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    return {
        world: {rank: json.loads((folder / f"{world}-{rank}.json").read_text()) for rank in range(world)}
        for world in STAGES
    }


def job(config: RunConfig, stage: str, stores: dict[str, Path]) -> PhaseJob:
    bundle = stage_of(config, stage)
    return PhaseJob(config=config, phase=stage, stage=bundle, store=str(stores[bundle.data.name]), start_from=())


@pytest.mark.parametrize(
    ("world", "precision", "stage"),
    [
        *((2, "single", stage) for stage in ("baseline", "final")),
        *((world, "double", stage) for world in (2, 3) for stage in STAGES[world]),
    ],
)
def test_every_term_of_every_step_is_that_of_one_rank(
    measured: Measured, world: int, precision: str, stage: str
) -> None:
    alone = measured[1][0][precision][stage]["steps"]
    assert len(alone) >= STEPS
    for rank in range(world):
        together = measured[world][rank][precision][stage]["steps"]
        assert len(together) == len(alone)
        for step, (expected, found) in enumerate(zip(alone, together, strict=True)):
            assert found == pytest.approx(expected, abs=1e-4, rel=0), f"step {step} on rank {rank}"


@pytest.mark.parametrize(("world", "stage"), [(world, stage) for world in (2, 3) for stage in STAGES[world]])
def test_every_gradient_of_the_first_step_is_that_of_one_rank(measured: Measured, world: int, stage: str) -> None:
    alone = measured[1][0]["double"][stage]["gradients"]
    largest = max(norm for norm, _ in alone.values())
    assert largest > 0
    for rank in range(world):
        together = measured[world][rank]["double"][stage]["gradients"]
        assert together.keys() == alone.keys()
        for name, expected in alone.items():
            assert together[name] == pytest.approx(expected, rel=1e-5, abs=1e-7 * largest), name


@pytest.mark.parametrize("stage", BATCHES)
def test_the_steps_trained_something(measured: Measured, stage: str) -> None:
    totals = [sum(step.values()) for step in measured[1][0]["double"][stage]["steps"]]
    assert max(totals) - min(totals) > 0.1


@pytest.mark.parametrize("stage", ["intermediate", "final"])
@pytest.mark.parametrize("world", [1, 2])
def test_the_pose_net_stays_as_it_is_but_for_the_last_parse_block(measured: Measured, world: int, stage: str) -> None:
    moved = [name for name in measured[world][0]["double"][stage]["moved"] if name.startswith("pose_net.")]
    assert moved
    assert all(name.startswith("pose_net.stages.1.parse.") for name in moved)


def test_what_is_frozen_stays_as_it_is_on_every_rank(measured: Measured) -> None:
    for rank in range(2):
        moved = measured[2][rank]["double"]["frozen trunk"]["moved"]
        assert {name.partition(".")[0] for name in moved} == {"baseline"}


@pytest.mark.parametrize("world", [2, 3])
def test_scores_are_those_of_one_rank_and_equal_on_all(measured: Measured, world: int) -> None:
    alone = measured[1][0]["double"]["final"]["scores"]
    assert {"eval/mAP", "eval/attributes/gender", "eval/people/mean_map/pck"} <= alone.keys()
    for rank in range(world):
        assert measured[world][rank]["double"]["final"]["scores"] == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_one_rank_alone_draws(measured: Measured, world: int) -> None:
    drawn = [measured[world][rank]["double"]["final"]["pictures"] for rank in range(world)]
    assert drawn == [["attributes.png", "cameras.png", "cmc.png", "parts.png", "ranked.png"], *([[]] * (world - 1))]

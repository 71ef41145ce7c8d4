import subprocess
import sys
from pathlib import Path

import pytest

from reid.config import RunConfig, load_config
from reid.jobs.runs import claim_run
from reid.training.storage import Storage

ROOT = Path(__file__).parents[2]
DIGESTS = ("a", "b")
HOLDER = """
import sys
from reid.config import load_config
from reid.jobs.runs import claim_run
from reid.training.storage import Storage
config = load_config(preset="smoke", overrides=[f"storage={sys.argv[1]}"])
with claim_run(Storage(config.storage), config, ("a", "b")) as run:
    print(run.key, flush=True)
    sys.stdin.read()
"""


def config(storage: Path, *overrides: str) -> RunConfig:
    return load_config(preset="smoke", overrides=[f"storage={storage}", *overrides])


def key(config: RunConfig, digests: tuple[str, ...] = DIGESTS) -> str:
    with claim_run(Storage(config.storage), config, digests) as run:
        return run.key


def test_an_unfinished_run_is_found_again(storage: Path) -> None:
    with claim_run(Storage(str(storage)), config(storage), DIGESTS) as first:
        first.finish_phase("pose", "/somewhere/pose")
        first.finish_phase("baseline", "/somewhere/baseline")
    with claim_run(Storage(str(storage)), config(storage), DIGESTS) as again:
        assert again.key == first.key
        assert again.checkpoints() == {"pose": "/somewhere/pose", "baseline": "/somewhere/baseline"}
        assert list(again.checkpoints()) == ["pose", "baseline"]


def test_after_a_finished_run_a_new_one_begins(storage: Path) -> None:
    keys = []
    for _ in range(3):
        with claim_run(Storage(str(storage)), config(storage), DIGESTS) as run:
            assert run.checkpoints() == {}
            run.finish_phase("pose", "/somewhere")
            run.finish({"final": {"mAP": 0.5}})
            keys.append(run.key)
    assert keys == [keys[0], f"{keys[0]}-2", f"{keys[0]}-3"]


def test_what_is_trained_makes_a_run_and_where_it_runs_does_not(storage: Path) -> None:
    usual = key(config(storage))
    for same in ("scaling.num_workers=4", "scaling.accelerator=cpu", "tracking.experiment=other"):
        assert key(config(storage, same)) == usual
    for other in ("seed=1", "loss.alpha=0.4", "phases.final.epochs=9", "data.seed=1", "precision=fp32"):
        assert key(config(storage, other)) != usual
    assert key(config(storage), ("a", "c")) != usual
    assert key(config(storage, "name=walk")).startswith("walk-")


def test_a_run_is_held_by_one_process_until_it_ends_or_is_killed(storage: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, storage],
        cwd=ROOT / "platform",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        held = holder.stdout.readline().strip()
        with pytest.raises(ValueError, match=f"run {held} is being trained by another process: wait for it"):
            key(config(storage))
        assert key(config(storage, "seed=1")) != held
    finally:
        holder.kill()
        holder.communicate()
    assert key(config(storage)) == held

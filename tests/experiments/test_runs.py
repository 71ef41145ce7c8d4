import subprocess
import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from reid.config import MODELS, ConfigError, RunConfig, Section, load_config
from reid.experiments.runs import Exclude, Run, claim_run
from reid.experiments.sweep import require_shared_study
from reid.stages import STAGES
from reid.storage import HeldError, Holder, Storage
from reid.training import PhaseState, Save

ROOT = Path(__file__).parents[2]
DIGESTS = ("a", "b")
HOLDER = """
import sys
from reid.config import load_config
from reid.experiments.runs import claim_run
from reid.storage import Storage
config = load_config(preset="smoke", overrides=[f"storage={sys.argv[1]}"])
without = {"ablation": True, "search": True}
with claim_run(Storage(config.storage), config, ("a", "b"), kind="pipeline", without=without) as run:
    print(run.key, flush=True)
    sys.stdin.read()
"""


def config(storage: Path, *overrides: str) -> RunConfig:
    return load_config(preset="smoke", overrides=[f"storage={storage}", *overrides])


def claim(config: RunConfig, digests: tuple[str, ...] = DIGESTS) -> AbstractContextManager[Run]:
    without: Exclude = {"ablation": True, "search": True}
    return claim_run(Storage(config.storage), config, digests, kind="pipeline", without=without)


def key(config: RunConfig, digests: tuple[str, ...] = DIGESTS) -> str:
    with claim(config, digests) as run:
        return run.key


def test_an_unfinished_run_is_found_again(storage: Path) -> None:
    with claim(config(storage)) as first:
        first.finish_phase("pose", "/somewhere/pose")
        first.finish_phase("baseline", "/somewhere/baseline")
    with claim(config(storage)) as again:
        assert again.key == first.key
        assert again.checkpoints() == {"pose": "/somewhere/pose", "baseline": "/somewhere/baseline"}
        assert list(again.checkpoints()) == ["pose", "baseline"]


def test_after_a_finished_run_a_new_one_begins(storage: Path) -> None:
    keys = []
    for _ in range(3):
        with claim(config(storage)) as run:
            assert run.checkpoints() == {}
            run.finish_phase("pose", "/somewhere")
            run.finish({"final": {"mAP": 0.5}})
            keys.append(run.key)
    assert keys == [keys[0], f"{keys[0]}-2", f"{keys[0]}-3"]


def test_a_training_that_has_lost_its_last_checkpoint_is_not_finished(
    storage: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with claim(config(storage)) as run:
        for phase in ("pose", "baseline", "intermediate"):
            checkpoint = run.folder / phase / "epoch_0001"
            Path(checkpoint).mkdir(parents=True)
            model = nn.Linear(2, 2)
            state = PhaseState(phase=phase, config=config(storage), num_identities=2, attributes={}, history=())
            Save.of(model, torch.optim.Adam(model.parameters()), state, {})(Path(checkpoint))
            run.finish_phase(phase, checkpoint)
        assert list(run.sound_checkpoints()) == ["pose", "baseline", "intermediate"]
        damaged = Path(run.folder) / "baseline" / "epoch_0001" / "model.safetensors"
        damaged.write_bytes(damaged.read_bytes()[:-1])
        (run.folder / "intermediate" / "epoch_0001").delete()
        assert list(run.sound_checkpoints()) == ["pose"]
        assert list(run.checkpoints()) == ["pose", "baseline", "intermediate"]
    assert f"{damaged} is damaged (its checksum is another): baseline is not finished any more" in caplog.messages


def test_a_run_that_was_finished_meanwhile_is_not_taken(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process finishes it between the look at it and the lock."""
    with claim(config(storage)) as first:
        first.finish({})
    looks = iter([False, True, True, False, False])
    monkeypatch.setattr(Run, "is_finished", property(lambda run: next(looks)))
    with claim(config(storage)) as run:
        assert run.key == f"{first.key}-2"


def test_a_run_keeps_its_identity_and_shares_it_with_no_other(tmp_path: Path) -> None:
    def identity(storage: Path) -> str:
        with claim(config(storage)) as run:
            assert run.identity.startswith(f"{run.key}-")
            return run.identity

    first = identity(tmp_path / "first")
    assert identity(tmp_path / "first") == first
    assert identity(tmp_path / "second") != first
    with claim(config(tmp_path / "first")) as run:
        run.finish({})
    assert identity(tmp_path / "first") != first


def test_what_is_trained_makes_a_run_and_where_it_runs_does_not(storage: Path) -> None:
    usual = key(config(storage))
    for same in ("scaling.num_workers=4", "scaling.accelerator=cpu", "tracking.experiment=other"):
        assert key(config(storage, same)) == usual
    for other in (
        "seed=1",
        "loss.alpha=0.4",
        "phases.final.epochs=9",
        "phases.final.rates={trunk: 0.1}",
        "data.seed=1",
        "precision=fp32",
    ):
        assert key(config(storage, other)) != usual
    assert key(config(storage), ("a", "c")) != usual
    assert key(config(storage, "name=walk")).startswith("walk-")


@pytest.mark.slow
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
        with pytest.raises(ValueError, match=f"run {held} is being trained by another process, pipeline on .*: wait"):
            key(config(storage))
        assert key(config(storage, "seed=1")) != held
    finally:
        holder.kill()
        holder.communicate()
    assert key(config(storage)) == held


def test_a_model_that_no_phase_trains_does_not_make_another_run(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = key(config(storage))
    monkeypatch.setitem(MODELS, "other", OtherModel)
    assert key(config(storage, "models.other.width=3")) == usual
    monkeypatch.setitem(STAGES, "other", replace(STAGES["baseline"], name="other", family="other"))
    phase = "{stage: other, epochs: 1, learning_rate: 0.1, halve_every: 1}"
    keys = {key(config(storage, f"phases.more={phase}", f"models.other.width={width}")) for width in (3, 4)}
    assert len(keys) == 2


class OtherModel(Section):
    width: int = 8


def test_drivers_on_two_machines_need_a_study_that_both_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Holder.here("sweep")
    there = HeldError("run walk-1", replace(here, machine="another", host="far"), 60)
    require_shared_study(config(tmp_path), HeldError("run walk-1", here, 60))
    with pytest.raises(ConfigError, match=r"search\.study: is needed for drivers on several machines, .* sweep on far"):
        require_shared_study(config(tmp_path), there)
    monkeypatch.setenv("REID_STUDY", "postgresql://reid@db/reid")
    require_shared_study(config(tmp_path), there)

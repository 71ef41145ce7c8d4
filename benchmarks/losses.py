"""The triplet loss, tried fairly: the last phase of a preset trained with other losses, on held-out train identities.

    python benchmarks/losses.py
    python benchmarks/losses.py --preset smoke --seeds 1

For every seed the phases before the last are trained once; then the last is trained from there with each loss, all else
equal, and scored on train identities that no training has seen. Query and gallery stay closed. Prints a Markdown table:
mAP, mean ± deviation over the seeds, and the difference from the paper's loss, paired by seed.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

try:
    import torch

    from reid.config import PRESETS, RunConfig, load_config
    from reid.data import POSE, REID, HoldOut, map_in_processes, prepare
    from reid.embedded import SIZES, render_coco, render_market1501
    from reid.stages import built_on, stage_of
    from reid.training import PhaseJob, PhaseState, Save, run_phase
except ModuleNotFoundError as missing:
    sys.exit(f"error: the package '{missing.name}' is missing: install it (for reid: PYTHONPATH=platform)")

PAPER = "focal (the paper's)"
LOSSES: Mapping[str, Mapping[str, object]] = {
    PAPER: {},
    "focal, β = 0": {"loss.beta": 0.0},
    "focal, β = 0.3": {"loss.beta": 0.3},
    "focal, active triplets alone": {"loss.averaging": "active"},
    "focal, batch-hard": {"loss.mining": "batch_hard"},
    "plain": {"loss.triplet": "plain"},
    "plain, active triplets alone": {"loss.triplet": "plain", "loss.averaging": "active"},
    "plain, batch-hard": {"loss.triplet": "plain", "loss.mining": "batch_hard"},
    "none": {"loss.triplet_weight": 0.0},
}
FRACTION = 0.2
"""Of the train identities, held out; which, is the same for every seed."""


def compare(preset: str, seeds: Sequence[int], folder: Path) -> dict[str, list[float]]:
    """mAP by loss, one value a seed."""
    stores = _prepare(load_config(preset=preset), folder)
    scores: dict[str, list[float]] = {name: [] for name in LOSSES}
    for seed in seeds:
        own = [f"seed={seed}", f"storage={folder}"]
        config = load_config(preset=preset, overrides=own)
        *former, last = config.phases
        done: dict[str, str] = {}
        for phase in former:
            done[phase], _ = _train(config, phase, done, stores, folder / f"{seed}-{phase}")
        for name, settings in LOSSES.items():
            changed = load_config(preset=preset, overrides=[*own, *(f"{k}={v}" for k, v in settings.items())])
            _, metrics = _train(changed, last, done, stores, folder / f"{seed}-last")
            scores[name].append(metrics["eval/mAP"])
            print(f"seed {seed}, {name}: mAP {metrics['eval/mAP']:.1%}", file=sys.stderr, flush=True)
    return scores


def table(scores: Mapping[str, Sequence[float]]) -> str:
    """Markdown."""
    lines = ["| triplet loss | mAP | mAP − the paper's |", "|---|---:|---:|"]
    for name, values in scores.items():
        gains = [value - paper for value, paper in zip(values, scores[PAPER], strict=True)]
        lines.append(f"| {name} | {_spread(values)} | {'' if name == PAPER else _spread(gains, '+')} |")
    return "\n".join(lines)


def _spread(values: Sequence[float], sign: str = "") -> str:
    mean = f"{100 * statistics.fmean(values):{sign}.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f} %" if len(values) > 1 else f"{mean} %"


def _prepare(config: RunConfig, folder: Path) -> dict[str, str]:
    data, size = config.data, SIZES[config.data.size]
    stores = {}
    for kind, name, render in ((REID, "embedded", render_market1501), (POSE, "coco", render_coco)):
        render(folder / name, size=size, seed=data.seed, map_tasks=map_in_processes(torch.get_num_threads()))
        stores[kind.name] = str(
            prepare(name, folder / name, folder / f"{name}-store", height=data.height, width=data.width).path
        )
    return stores


def _train(
    config: RunConfig, phase: str, done: Mapping[str, str], stores: Mapping[str, str], place: Path
) -> tuple[str, dict[str, float]]:
    """Checkpoint of a phase, and what its last epoch measured."""
    stage = stage_of(config, phase)
    job = PhaseJob(
        config=config,
        phase=phase,
        stage=stage,
        store=stores[stage.data.name],
        start_from=tuple(done[name] for name in built_on(config, phase, {name: name for name in done})),
        hold_out=HoldOut(fraction=FRACTION, seed=0) if stage.data.identities else None,
        scoring="plain",
    )
    place.mkdir(exist_ok=True)
    metrics: dict[str, float] = {}
    report = partial(_keep, place, config.phases[phase].epochs, metrics)
    run_phase(job, device=torch.device("cpu"), evaluate=stage.evaluate, report=report)
    return str(place), metrics


def _keep(place: Path, epochs: int, metrics: dict[str, float], state: PhaseState, save: Save) -> None:
    if state.epoch == epochs:
        save(place)
        metrics.update(state.history[-1].metrics)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="demo")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, …; default 3")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reid-losses-") as folder:
        print(table(compare(options.preset, range(options.seeds), Path(folder))))


if __name__ == "__main__":
    main()

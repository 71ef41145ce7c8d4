"""One of several ranks, started by test_world_sizes: trains with 1, 2, … ranks and writes down what it measured.

Usage: rank.py RANK FOLDER; the folder holds a pickle: by world size, jobs by stage.
"""

import dataclasses
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from reid.training import loop
from reid.training.checkpoint import PhaseState

DEVICE = torch.device("cpu")
SINGLE = ("baseline", "final")
"""Stages that are measured in single precision too."""
train_step = loop.train_step


def in_double(job: loop.PhaseJob) -> loop.PhaseJob:
    """Rounding grows with every step, as in any training; in double precision it stays far below a real difference."""

    def build(*args: Any, **kwargs: Any) -> nn.Module:
        model = job.stage.build(*args, **kwargs).double()
        model.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
        return model

    return dataclasses.replace(job, stage=dataclasses.replace(job.stage, build=build))


def measure(job: loop.PhaseJob) -> dict[str, Any]:
    """Every term of every step, the first step's gradients (norm and sum), scores and pictures of the last epoch."""
    steps: list[dict[str, float]] = []
    gradients: dict[str, list[float]] = {}
    epochs: list[tuple[dict[str, float], list[str]]] = []

    def recording(*args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        terms = train_step(*args, **kwargs)
        if not steps:
            gradients.update(
                (name.removeprefix("module."), [weight.grad.norm().item(), weight.grad.sum().item()])
                for name, weight in args[0].named_parameters()
            )
        steps.append({name: value.item() for name, value in terms.items()})
        return terms

    loop.train_step = recording

    def report(state: PhaseState, save: Any) -> None:
        epochs.append((state.history[-1].metrics, sorted(save.keywords["pictures"])))

    loop.run_phase(job, device=DEVICE, evaluate=job.stage.evaluate, report=report)
    metrics, pictures = epochs[-1]
    return {
        "steps": steps,
        "gradients": gradients,
        "scores": {k: v for k, v in metrics.items() if k.startswith("eval/")},
        "pictures": pictures,
    }


def main(rank: int, folder: Path) -> None:
    for world, jobs in pickle.loads((folder / "jobs.pickle").read_bytes()).items():  # noqa: S301 - the test wrote it
        if rank >= world:
            continue
        if world > 1:
            dist.init_process_group("gloo", init_method=f"file://{folder}/{world}", rank=rank, world_size=world)
        measured: dict[str, dict[str, Any]] = {}
        for precision, prepared in (("double", in_double), ("single", lambda job: job)):
            measured[precision] = {
                stage: measure(prepared(job))
                for stage, job in jobs.items()
                if precision == "double" or (world < 3 and stage in SINGLE)
            }
        (folder / f"{world}-{rank}.json").write_text(json.dumps(measured))
        if world > 1:
            dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))

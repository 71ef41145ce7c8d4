"""One of several ranks, started by test_world_sizes: trains with 1, 2, … ranks and writes down what it measured.

Usage: rank.py RANK FOLDER; the folder holds a pickle: by world size, jobs by name.
"""

import dataclasses
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from reid.training import loop
from reid.training.checkpoint import PhaseState
from reid.training.step import train_step

DEVICE = torch.device("cpu")
SINGLE = ("baseline", "final")
"""Jobs that are measured in single precision too."""


def as_double(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.double() if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs)


def in_double(job: loop.PhaseJob) -> loop.PhaseJob:
    """Rounding grows with every step, as in any training; in double precision it stays far below a real difference."""

    def build(*args: Any, **kwargs: Any) -> nn.Module:
        model = job.stage.build(*args, **kwargs).double()
        for module in model.modules():
            module.register_forward_pre_hook(as_double)
        return model

    return dataclasses.replace(job, stage=dataclasses.replace(job.stage, build=build))


def measure(job: loop.PhaseJob) -> dict[str, Any]:
    """Every term of every step, the first step's gradients (norm and sum), what the steps moved, scores and pictures of
    the last epoch."""
    before: dict[str, Tensor] = {}
    after: dict[str, Tensor] = {}
    steps: list[dict[str, float]] = []
    gradients: dict[str, list[float]] = {}
    epochs: list[tuple[dict[str, float], list[str]]] = []

    def recording(*args: Any, **kwargs: Any) -> dict[str, Tensor]:
        model = getattr(args[0], "module", args[0])
        if not steps:
            before.update((name, tensor.clone()) for name, tensor in model.state_dict().items())
        terms = train_step(*args, **kwargs)
        if not steps:
            gradients.update(
                (name, [weight.grad.norm().item(), weight.grad.sum().item()])
                for name, weight in model.named_parameters()
                if weight.grad is not None
            )
        after.update(model.state_dict())
        steps.append({name: value.item() for name, value in terms.items()})
        return terms

    loop.train_step = recording  # type: ignore[attr-defined]

    def report(state: PhaseState, save: Any) -> None:
        epochs.append((state.history[-1].metrics, sorted(save.pictures)))

    loop.run_phase(job, device=DEVICE, evaluate=job.stage.evaluate, report=report)
    metrics, pictures = epochs[-1]
    return {
        "steps": steps,
        "gradients": gradients,
        "moved": [name for name, tensor in after.items() if not torch.equal(tensor, before[name])],
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
                name: measure(prepared(job))
                for name, job in jobs.items()
                if precision == "double" or (world < 3 and name in SINGLE)
            }
        (folder / f"{world}-{rank}.json").write_text(json.dumps(measured))
        if world > 1:
            dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))

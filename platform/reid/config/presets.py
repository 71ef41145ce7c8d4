"""Complete configurations by name."""

from collections.abc import Callable
from typing import Any

from reid.config.body import LAYOUTS

Tree = dict[str, Any]


def _phases(*, pose: Tree, baseline: Tree, intermediate: Tree, final: Tree) -> Tree:
    given = {"pose": pose, "baseline": baseline, "intermediate": intermediate, "final": final}
    return {name: {"stage": name, **phase} for name, phase in given.items()}


def paper() -> Tree:
    """The sizes, epochs and schedules of the paper.

    It names neither image size nor batch: 256×128 and 64 are what the field uses.
    """
    return {
        "data": {"name": "market1501", "height": 256, "width": 128},
        "model": {
            "trunk": "resnet50",
            "weights": "imagenet",
            "layout": "dataset",
            "pose_net": {"weights": "imagenet"},
        },
        "phases": _phases(
            pose={"epochs": 60, "learning_rate": 1e-4, "halve_every": 20},
            baseline={"epochs": 150, "learning_rate": 1e-3, "halve_every": 50},
            intermediate={"epochs": 60, "learning_rate": 1e-3, "halve_every": 50},
            final={"epochs": 400, "learning_rate": 1e-4, "halve_every": 100, "images_per_identity": 4},
        ),
    }


def demo() -> Tree:
    """The embedded benchmark from scratch, in minutes on two CPU cores."""
    return {
        "data": {
            "name": "embedded",
            "size": "demo",
            "height": 128,
            "width": 64,
            "augmentation": {"flip": 0.5, "pad": 6, "colour": 0.2},
        },
        "model": {
            "trunk": "resnet18",
            "weights": None,
            "last_stride": 1,
            "pose_net": {"width": 0.125, "stages": 2},
            "sketch_dim": 1024,
            "layout": _narrow("six_parts", part_dim=64, plenary_dim=128),
        },
        "phases": _phases(
            pose={"epochs": 6, "learning_rate": 1e-3, "halve_every": 3, "batch_size": 16},
            baseline={"epochs": 6, "learning_rate": 1e-3, "halve_every": 3},
            intermediate={"epochs": 4, "learning_rate": 1e-3, "halve_every": 2},
            final={"epochs": 6, "learning_rate": 1e-3, "halve_every": 3, "images_per_identity": 4},
        ),
        "scaling": {"num_workers": 2},
        # 16 trials are too few for TPE to learn 8 parameters from; a reduction of 3 would decide after epochs 1 and 3,
        # where the best trial need not be among the best third yet
        "search": {"random_trials": 16, "reduction": 2},
        "ablation": {"epoch_share": 0.5},
    }


def smoke() -> Tree:
    """Every part at its smallest, in seconds, for tests."""
    tree = demo()
    tree["data"] |= {"size": "smoke", "height": 64, "width": 32}
    tree["model"] |= {
        "pose_net": {"width": 0.0625, "stages": 2},
        "sketch_dim": 256,
        "layout": _narrow("three_parts", part_dim=16, plenary_dim=32),
    }
    tree["search"] = {"random_trials": 4}
    for phase in tree["phases"].values():
        phase |= {"epochs": 2, "batch_size": 16}
    return tree


def _narrow(layout: str, *, part_dim: int, plenary_dim: int) -> Tree:
    tree = LAYOUTS[layout].model_dump()
    for part in tree["parts"]:
        part["dim"] = part_dim
    return tree | {"plenary_dim": plenary_dim}


PRESETS: dict[str, Callable[[], Tree]] = {"demo": demo, "paper": paper, "smoke": smoke}

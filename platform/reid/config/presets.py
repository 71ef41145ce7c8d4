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


def strong_baseline() -> Tree:
    """What the field compares with: "Bag of Tricks and a Strong Baseline" (Luo et al., CVPR Workshops 2019).

    Its learning rate falls along half a cosine, theirs to a tenth after epochs 40 and 70; our triplet loss compares
    vectors of unit length, and there is no center loss.
    """
    return {
        "data": {
            "name": "market1501",
            "height": 256,
            "width": 128,
            "augmentation": {"flip": 0.5, "pad": 10, "erase": 0.5},
        },
        "model": {"trunk": "resnet50", "weights": "imagenet", "last_stride": 1, "neck": "bnneck", "layout": "dataset"},
        "loss": {"triplet": "plain", "mining": "batch_hard", "alpha": 0.3, "label_smoothing": 0.1},
        "phases": {
            "strong_baseline": {
                "stage": "strong_baseline",
                "epochs": 120,
                "learning_rate": 3.5e-4,
                "halve_every": 40,
                "decay": "cosine",
                "warmup": 10,
                "weight_decay": 5e-4,
                "images_per_identity": 4,
            }
        },
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
            "trunk_stages": 3,
            "last_stride": 1,
            "pose_net": {"front_end": "pyramid", "width": 0.5, "stages": 1},
            "sketch_dim": 1024,
            "layout": _narrow("six_parts", part_dim=64, plenary_dim=128),
        },
        "loss": {"reduction": "mean"},
        "phases": _phases(
            pose=_short(epochs=8, learning_rate=3e-3),
            baseline=_short(epochs=3, learning_rate=1e-3, warmup=1),
            intermediate=_short(epochs=5, learning_rate=1e-3, warmup=1),
            final=_short(epochs=8, learning_rate=1e-3, warmup=1, images_per_identity=4),
        ),
        "scaling": {"num_workers": 2},
        # 16 trials are too few for TPE to learn 8 parameters from; a reduction of 3 would decide after epochs 1 and 3,
        # where the best trial need not be among the best third yet
        "search": {"random_trials": 16, "reduction": 2},
        "ablation": {"epoch_share": 0.5},
    }


def san() -> Tree:
    """SAN in the sizes, schedule and losses of its authors' code (Jin et al., AAAI 2020), as closely as one optimiser
    allows: they have three, of which two train encoder and decoder by the losses on textures at a constant rate. The
    generator's epochs and rate are ours; their crop enlarges half of the images in place of padding all.
    """
    return {
        "name": "san",
        "data": {
            "name": "market1501",
            "height": 256,
            "width": 128,
            "augmentation": {"flip": 0.5, "pad": 10, "erase": 0.5},
        },
        "models": {"san": {"decoder_rate": 0.0125}},
        "phases": {
            "texture_generator": {
                "stage": "texture_generator",
                "epochs": 60,
                "learning_rate": 2e-4,
                "halve_every": 20,
            },
            "san_baseline": _authors_schedule("san_baseline"),
            "san": _authors_schedule("san"),
        },
        "search": {"space": "san"},
    }


def _authors_schedule(stage: str) -> Tree:
    return {
        "stage": stage,
        "epochs": 320,
        "learning_rate": 8e-4,
        "halve_every": 40,
        "warmup": 20,
        "warmup_curve": "exponential",
        "decay_from": "warmup",
        "weight_decay": 5e-4,
        "amsgrad": True,
        "images_per_identity": 4,
    }


def san_demo() -> Tree:
    """SAN on the embedded benchmark from scratch, in minutes on two CPU cores.

    At weights of 1, as the authors have them, both triplet losses outweigh the rest from scratch: vectors collapse to
    one point, or the maps do what satisfies their loss. The weights were chosen on train identities held out.
    """
    return {
        "name": "san",
        "data": demo()["data"],
        "models": {
            "san": {
                "trunk": "resnet18",
                "weights": None,
                "decoder_widths": (128, 64, 32, 16, 16),
                "triplet_weight": 0.1,
                "map_triplet_weight": 0.03,
            }
        },
        "phases": {
            "texture_generator": {"stage": "texture_generator"} | _short(epochs=10, learning_rate=1e-3, warmup=1),
            **{
                stage: {"stage": stage} | _short(epochs=10, learning_rate=1e-3, warmup=1, images_per_identity=4)
                for stage in ("san_baseline", "san")
            },
        },
        "scaling": {"num_workers": 2},
        "search": {"space": "san", "random_trials": 16, "reduction": 2},
        "ablation": {"epoch_share": 0.5},
    }


def models_demo() -> Tree:
    """Both models on the embedded benchmark: every phase of `demo` and of `san_demo`."""
    tree, other = demo(), san_demo()
    return tree | {"name": "models", "models": other["models"], "phases": tree["phases"] | other["phases"]}


def san_smoke() -> Tree:
    """Every part of SAN at its smallest, in seconds, for tests."""
    tree = san_demo()
    tree["data"] |= {"size": "smoke", "height": 64, "width": 32}
    tree["models"]["san"] |= {"decoder_widths": (16, 16, 8, 8, 8), "embedding_dim": 32}
    tree["search"] = {"space": "san", "random_trials": 4}
    for phase in tree["phases"].values():
        phase |= {"epochs": 2, "batch_size": 16, "warmup": 0}
    return tree


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
        phase |= {"epochs": 2, "batch_size": 16, "warmup": 0}
    return tree


def _short(*, epochs: int, **phase: Any) -> Tree:
    """A phase of few epochs: small batches, and a learning rate that falls to zero."""
    return {"epochs": epochs, "halve_every": epochs, "decay": "cosine", "batch_size": 32, **phase}


def _narrow(layout: str, *, part_dim: int, plenary_dim: int) -> Tree:
    tree = LAYOUTS[layout].model_dump()
    for part in tree["parts"]:
        part["dim"] = part_dim
    return tree | {"plenary_dim": plenary_dim}


PRESETS: dict[str, Callable[[], Tree]] = {
    "demo": demo,
    "models_demo": models_demo,
    "paper": paper,
    "san": san,
    "san_demo": san_demo,
    "san_smoke": san_smoke,
    "smoke": smoke,
    "strong_baseline": strong_baseline,
}

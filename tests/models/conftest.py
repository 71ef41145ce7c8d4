"""Models at their smallest."""

from collections.abc import Callable
from typing import Any

import pytest

from reid.config import LAYOUTS, Layout, ModelConfig, PoseNetConfig
from reid.config.schema import Stage
from reid.data.manifests import Attribute
from reid.models import FGSAM

ATTRIBUTES = {
    name: Attribute(name=name, classes=classes, region=region, fields=(name,))
    for name, classes, region in (
        ("hat", ("no", "yes"), "head"),
        ("upper_colour", ("red", "green", "blue"), "upper_body"),
        ("shoes", ("dark", "light"), "lower_leg"),
    )
}


def narrow(layout: str) -> Layout:
    parts = tuple(part.model_copy(update={"dim": 8}) for part in LAYOUTS[layout].parts)
    return Layout(parts=parts, plenary_dim=12)


@pytest.fixture(scope="session")
def build() -> Callable[..., FGSAM]:
    """Builds FGSAM on a ResNet-18 with a pose net of 1/16 width; keywords go to the configuration."""

    def build(stage: Stage, *, layout: str = "three_parts", seed: int = 0, **changes: Any) -> FGSAM:
        config = ModelConfig(
            trunk="resnet18",
            weights=None,
            sketch_dim=64,
            layout=narrow(layout),
            pose_net=PoseNetConfig(width=1 / 16, stages=2, parse_blocks=changes.pop("parse_blocks", True)),
            **changes,
        )
        return FGSAM(config, stage=stage, num_identities=5, attributes=ATTRIBUTES, seed=seed)

    return build

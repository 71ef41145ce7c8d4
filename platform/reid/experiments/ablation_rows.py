"""What is compared: of FGSAM the rows of the paper's Tables IV and V and those that keep them honest, of SAN what each
of its losses brings, and both models side by side."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from reid.config import RunConfig
from reid.data import Dataset
from reid.stages import stage_of


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant of the model."""

    name: str
    slug: str
    """Name in folders and metrics."""
    stage: str = "final"
    """The stage of the configuration's phase that it ends with."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What differs from the full model, by dotted path."""
    phase: dict[str, Any] = field(default_factory=dict)
    """What differs in the phase that it ends with."""
    without: frozenset[str] = frozenset()
    """Stages that it does not start from, though its last would."""
    pose_budget: bool = False
    """Whether it is shown more person images, as many as the full model's phases show of others."""
    needs: Literal["nothing", "joints", "textures"] = "nothing"
    """What must be known of person images."""
    against: str | None = None
    """Slug of the row that it is compared with."""


FULL_FGSAM = Row(name="base + pose + alignment + focal triplet", slug="full", against="alignment")
NO_POSE = frozenset({"pose"})

STRONG_BASELINE = Row(
    name="strong baseline",
    slug="strong-baseline",
    stage="baseline",
    settings={
        "model.neck": "bnneck",
        "loss.label_smoothing": 0.1,
        "loss.triplet": "plain",
        "loss.mining": "batch_hard",
        "loss.alpha": 0.3,
    },
    phase={"stage": "strong_baseline", "images_per_identity": 4, "weight_decay": 5e-4},
    against="base",
)

FGSAM_ROWS = (
    Row(name="base", slug="base", stage="baseline"),
    Row(name="base, with the pose budget too", slug="base-longer", stage="baseline", pose_budget=True, against="base"),
    Row(
        name="base + attributes",
        slug="base-attributes",
        stage="intermediate",
        settings={"model.pose": False},
        without=NO_POSE,
        against="base",
    ),
    STRONG_BASELINE,
    Row(
        name="base + pose",
        slug="pose",
        stage="intermediate",
        settings={"loss.attribute_weight": 0.0},
        against="base-longer",
    ),
    Row(name="base + pose + alignment", slug="alignment", settings={"loss.triplet_weight": 0.0}, against="pose"),
    FULL_FGSAM,
    Row(
        name="… without parse blocks",
        slug="no-parse-blocks",
        settings={"model.pose_net.parse_blocks": False},
        against="full",
    ),
    Row(name="… with the plain triplet loss", slug="plain-triplet", settings={"loss.triplet": "plain"}, against="full"),
    Row(
        name="… with the batch-hard triplet loss",
        slug="batch-hard",
        settings={"loss.triplet": "plain", "loss.mining": "batch_hard"},
        against="full",
    ),
    Row(
        name="… with parts at everyone's mean positions",
        slug="mean-positions",
        settings={"model.maps": "mean"},
        without=NO_POSE,
        needs="joints",
        against="full",
    ),
    Row(
        name="… with the true joints, a ceiling",
        slug="true-joints",
        settings={"model.maps": "joints"},
        without=NO_POSE,
        needs="joints",
        against="full",
    ),
)
"""Tables IV and V, and beside the paper's rows those that show what else the gains could come from."""

FULL_SAN = Row(
    name="identity + triplet + reconstruction + map triplet", slug="san", stage="san", against="reconstruction"
)
SAN_BASELINE = Row(name="identity + triplet", slug="san-baseline", stage="san_baseline")

SAN_ROWS = (
    SAN_BASELINE,
    Row(
        name="identity + triplet + reconstruction",
        slug="reconstruction",
        stage="san",
        settings={"models.san.map_triplet_weight": 0.0},
        against="san-baseline",
    ),
    FULL_SAN,
    Row(
        name="… with map distances of unit length",
        slug="unit-maps",
        stage="san",
        settings={"models.san.map_distance": "unit"},
        against="san",
    ),
    Row(
        name="… without the decoder's skips",
        slug="no-skips",
        stage="san",
        settings={"models.san.skips": False},
        against="san",
    ),
    Row(
        name="… with true textures, an upper bound",
        slug="true-textures",
        stage="san",
        settings={"models.san.textures": "own"},
        without=frozenset({"texture_generator"}),
        needs="textures",
        against="san",
    ),
)
"""True textures are the same for all images of a person: a label that no real dataset has."""

MODEL_ROWS = (
    replace(STRONG_BASELINE, against=None),
    replace(FULL_FGSAM, name="FGSAM", against="strong-baseline"),
    replace(SAN_BASELINE, name="SAN's baseline", against="strong-baseline"),
    replace(FULL_SAN, name="SAN", against="san-baseline"),
)

PUBLISHED_FGSAM: dict[str, dict[str, tuple[float, float]]] = {
    "market1501": {
        "base": (80.3, 69.8),
        "pose": (88.1, 75.6),
        "alignment": (90.3, 83.5),
        "full": (91.5, 86.4),
        "no-parse-blocks": (89.9, 85.4),
    },
    "dukemtmc": {"base": (74.1, 65.5), "pose": (82.9, 70.6), "alignment": (83.6, 72.0), "full": (85.9, 74.1)},
}
"""Rank-1 and mAP in per cent that FGSAM's paper gives, by dataset and row."""

PUBLISHED_SAN: dict[str, dict[str, tuple[float, float]]] = {
    "market1501": {"san": (96.1, 88.0)},
    "dukemtmc": {"san": (87.9, 75.5)},
    "msmt17": {"san": (79.2, 55.7)},
}
"""Those of SAN's."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Rows of one table."""

    rows: tuple[Row, ...]
    budget: str
    """Slug of the row whose phases say how many person images every row is shown."""
    published: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    """Rank-1 and mAP in per cent that a paper gives, by dataset and row."""
    costs: bool = False
    """Whether it shows what a descriptor costs."""

    @property
    def full(self) -> Row:
        """The row that sets the budget."""
        return next(row for row in self.rows if row.slug == self.budget)

    def possible_with(self, dataset: Dataset) -> tuple[Row, ...]:
        """The rows that need nothing of person images which a dataset does not have."""
        has = {"nothing": True, "joints": dataset.has_keypoints, "textures": dataset.has_textures}
        return tuple(row for row in self.rows if has[row.needs])


COMPARISONS = {
    ("fgsam",): Comparison(rows=FGSAM_ROWS, budget="full", published=PUBLISHED_FGSAM),
    ("san",): Comparison(rows=SAN_ROWS, budget="san", published=PUBLISHED_SAN),
    ("fgsam", "san"): Comparison(rows=MODEL_ROWS, budget="full", costs=True),
}
"""By the models that a configuration's phases are of."""


def comparison_of(config: RunConfig) -> Comparison:
    """
    Raises:
        ValueError: none is known for the models of these phases.
    """
    families = tuple(sorted({stage_of(config, phase).family for phase in config.phases}))
    if families not in COMPARISONS:
        known = "; ".join(" and ".join(one) for one in COMPARISONS)
        raise ValueError(f"phases: no ablation is known for {' and '.join(families)}, only for {known}")
    return COMPARISONS[families]

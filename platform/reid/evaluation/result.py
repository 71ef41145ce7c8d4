"""What an evaluation hands on."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Metrics to record, and pictures for people to look at."""

    metrics: dict[str, float]
    pictures: dict[str, bytes] = field(default_factory=dict)
    """PNG files by name; drawn by rank 0 alone."""
    cmc: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """By ranking, such as `plain`: the shares of queries whose first true match is among the first 1, 2, … images."""

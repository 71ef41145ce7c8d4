"""The ablation's table."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from reid.experiments.ablation_plan import AblationPlan
from reid.experiments.ablation_rows import Comparison, Row
from reid.experiments.cost import Cost
from reid.progress import show_table

METRICS = {"rank1": "rank-1", "mAP": "mAP"}


@dataclass(frozen=True, kw_only=True)
class AblationTable:
    """What every row reached."""

    comparison: Comparison
    scores: dict[str, dict[int, dict[str, float]]]
    """`rank1` and `mAP` as fractions, by slug of the row and seed; seeds that did not finish are missing."""
    images: dict[str, int]
    """Person images that each row was shown in training, by slug."""
    other_images: dict[str, int]
    """Images with joints or textures, likewise."""
    paper: dict[str, tuple[float, float]]
    """The paper's rank-1 and mAP in per cent by slug; empty where it has none for the dataset."""
    costs: dict[str, Cost]
    """What a descriptor costs, by slug; empty where it is not shown."""

    @classmethod
    def of(
        cls,
        plan: AblationPlan,
        dataset: str,
        metrics: Mapping[str, Mapping[str, float]],
        costs: Mapping[str, Cost] | None = None,
    ) -> "AblationTable":
        """
        Args:
            metrics: by the names of finished trainings.
            costs: by slug of the row.
        """
        return cls(
            comparison=plan.comparison,
            scores={
                slug: {
                    seed: {name: metrics[training][f"eval/{name}"] for name in METRICS}
                    for seed, training in last.items()
                    if training in metrics
                }
                for slug, last in plan.last.items()
            },
            images=plan.images,
            other_images=plan.other_images,
            paper=dict(plan.comparison.published.get(dataset, {})),
            costs=dict(costs or {}),
        )

    def means(self) -> dict[str, dict[str, float]]:
        """Means over the seeds, by slug."""
        return {
            slug: {name: statistics.fmean(one[name] for one in seeds.values()) for name in METRICS}
            for slug, seeds in self.scores.items()
            if seeds
        }

    def by_seed(self) -> dict[int, dict[str, float]]:
        """Every score as a metric `<row>/<metric>`, by seed."""
        flat: dict[int, dict[str, float]] = {}
        for slug, seeds in self.scores.items():
            for seed, values in seeds.items():
                flat.setdefault(seed, {}).update({f"{slug}/{name}": value for name, value in values.items()})
        return flat

    def markdown(self) -> str:
        rows = [self.header(), ["---", *("---:" for _ in self.header()[1:])], *self.rows()]
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)

    def show(self) -> None:
        table = Table(*self.header(), title="query against gallery, mean ± deviation over the seeds")
        for column in table.columns[1:]:
            column.justify = "right"
        for row in self.rows():
            table.add_row(*row)
        show_table(table)

    def header(self) -> list[str]:
        paper = [f"paper's {title}" for title in METRICS.values()] if self.paper else []
        compared = ["mAP − another row's", "which is"]
        costs = ["GFLOP", "images/s", "MB"] if self.costs else []
        return ["", *METRICS.values(), *compared, "seeds", "person images", "other images", *costs, *paper]

    def rows(self) -> list[list[str]]:
        return [self._row(row) for row in self.comparison.rows if row.slug in self.scores]

    def _row(self, row: Row) -> list[str]:
        seeds, other = self.scores[row.slug], self.scores.get(row.against or "", {})
        gains = [values["mAP"] - other[seed]["mAP"] for seed, values in seeds.items() if seed in other]
        cells = [
            row.name,
            *(_spread([values[metric] for values in seeds.values()]) for metric in METRICS),
            _spread(gains, sign="+") if row.against else "",
            next((compared.name for compared in self.comparison.rows if compared.slug == row.against), ""),
            str(len(seeds)),
            f"{self.images[row.slug]:,}",
            f"{self.other_images[row.slug]:,}",
        ]
        if self.costs:
            cost = self.costs.get(row.slug)
            cells += (
                ["–"] * 3 if cost is None else [f"{cost.gflop:.2f}", f"{cost.images_per_second:.0f}", f"{cost.mb:.1f}"]
            )
        if self.paper:
            cells += [f"{value} %" for value in self.paper[row.slug]] if row.slug in self.paper else ["–", "–"]
        return cells


def _spread(values: Sequence[float], sign: str = "") -> str:
    """Mean and standard deviation in per cent."""
    if not values:
        return "–"
    mean = f"{100 * statistics.fmean(values):{sign}.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f} %" if len(values) > 1 else f"{mean} %"

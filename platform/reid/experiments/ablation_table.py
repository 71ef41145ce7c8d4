"""The ablation's table."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from reid.experiments.ablation_plan import FULL, PUBLISHED, ROWS, AblationPlan

METRICS = {"rank1": "rank-1", "mAP": "mAP"}


@dataclass(frozen=True, kw_only=True)
class AblationTable:
    """What every row reached."""

    scores: dict[str, dict[int, dict[str, float]]]
    """`rank1` and `mAP` as fractions, by slug of the row and seed; seeds that did not finish are missing."""
    images: dict[str, int]
    """Training images that each row was shown, by slug."""
    paper: dict[str, tuple[float, float]]
    """The paper's rank-1 and mAP in per cent by slug; empty where it has none for the dataset."""

    @classmethod
    def of(cls, plan: AblationPlan, dataset: str, metrics: Mapping[str, Mapping[str, float]]) -> "AblationTable":
        """Args: metrics by the names of finished trainings."""
        return cls(
            scores={
                slug: {
                    seed: {name: metrics[training][f"eval/{name}"] for name in METRICS}
                    for seed, training in last.items()
                    if training in metrics
                }
                for slug, last in plan.last.items()
            },
            images=plan.images,
            paper=PUBLISHED.get(dataset, {}),
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
        rows = [self._header(), ["---", *("---:" for _ in self._header()[1:])], *self._rows()]
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)

    def show(self) -> None:
        table = Table(*self._header(), title="query against gallery, mean ± deviation over the seeds")
        for column in table.columns[1:]:
            column.justify = "right"
        for row in self._rows():
            table.add_row(*row)
        Console(highlight=False).print(table)

    def _header(self) -> list[str]:
        paper = [f"paper's {title}" for title in METRICS.values()] if self.paper else []
        return ["", *METRICS.values(), "mAP − full model's", "seeds", "images shown", *paper]

    def _rows(self) -> list[list[str]]:
        return [self._row(row.slug, row.name) for row in ROWS]

    def _row(self, slug: str, name: str) -> list[str]:
        seeds, full = self.scores[slug], self.scores[FULL.slug]
        gains = [values["mAP"] - full[seed]["mAP"] for seed, values in seeds.items() if seed in full]
        cells = [
            name,
            *(_spread([values[metric] for values in seeds.values()]) for metric in METRICS),
            "" if slug == FULL.slug else _spread(gains, sign="+"),
            str(len(seeds)),
            f"{self.images[slug]:,}",
        ]
        if self.paper:
            cells += [f"{value} %" for value in self.paper[slug]] if slug in self.paper else ["–", "–"]
        return cells


def _spread(values: Sequence[float], sign: str = "") -> str:
    """Mean and standard deviation in per cent."""
    if not values:
        return "–"
    mean = f"{100 * statistics.fmean(values):{sign}.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f} %" if len(values) > 1 else f"{mean} %"

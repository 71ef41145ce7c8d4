"""How parameters and objectives are written wherever a person reads them."""

from collections.abc import Iterable

SYMBOLS = {"loss.alpha": "α", "loss.beta": "β", "loss.gamma": "γ"}
"""The paper's names."""

METRICS = {"descriptor_dim": "dimensions", "images_per_second": "images/s"}
"""Objectives that read better by another name than their own."""

FRACTIONS = {"mAP", "mINP", "rank1", "rank5", "rank10"}
"""Metrics that are shown in percent."""


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """The shortest ends of dotted paths that tell them apart, and the paper's symbols, by path."""
    ends = {path: path.split(".") for path in dict.fromkeys(paths)}

    def shortest(path: str) -> str:
        for length in range(1, len(ends[path])):
            end = ends[path][-length:]
            if sum(other[-length:] == end for other in ends.values()) == 1:
                return ".".join(end)
        return path

    return {path: SYMBOLS.get(path) or shortest(path) for path in ends}


def is_fraction(metric: str) -> bool:
    return metric.rpartition("/")[2] in FRACTIONS


def metric_label(metric: str) -> str:
    name = metric.rpartition("/")[2]
    return METRICS.get(name, name)


def show_metric(metric: str, value: float) -> str:
    return f"{value:.1%}" if is_fraction(metric) else show_value(value)


def show_value(value: object) -> str:
    """A number in three figures, above a thousand whole; anything else as it is."""
    if not isinstance(value, float):
        return str(value)
    if 0 < abs(value) < 1e-3:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"

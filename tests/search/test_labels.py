"""Short names and written values."""

from typing import Any

import pytest

from reid.search.labels import metric_label, short_names, show_metric, show_value


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["loss.alpha", "loss.beta", "loss.gamma"], ["α", "β", "γ"]),
        (["loss.mining", "phases.final.learning_rate"], ["mining", "learning_rate"]),
        (["layout.head.dim", "layout.legs.dim"], ["head.dim", "legs.dim"]),
        (["a.dim", "b.a.dim", "c.dim"], ["a.dim", "b.a.dim", "c.dim"]),
        (["dim", "head.dim"], ["dim", "head.dim"]),
        ([], []),
    ],
)
def test_short_names_tell_paths_apart(paths: list[str], names: list[str]) -> None:
    found = short_names(paths)
    assert list(found) == paths
    assert list(found.values()) == names


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        (0.123456, "0.123"),
        (1e-4, "1e-4"),
        (-2.346e-7, "-2.35e-7"),
        (0.0, "0"),
        (12288.0, "12288"),
        (12288, "12288"),
        (True, "True"),
        ("six_parts", "six_parts"),
        (None, "None"),
    ],
)
def test_values(value: Any, text: str) -> None:
    assert show_value(value) == text


@pytest.mark.parametrize(
    ("metric", "value", "label", "text"),
    [
        ("mAP", 0.6123, "mAP", "61.2%"),
        ("eval/mAP", 1.0, "mAP", "100.0%"),
        ("descriptor_dim", 2048.0, "dimensions", "2048"),
        ("images_per_second", 33.3333, "images/s", "33.3"),
    ],
)
def test_metrics(metric: str, value: float, label: str, text: str) -> None:
    assert metric_label(metric) == label
    assert show_metric(metric, value) == text

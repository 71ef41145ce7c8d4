"""The direction of imports, read from the source: `config → data → … → jobs`, and who may import Ray and MLflow."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "platform" / "reid"
LAYERS = ("config", "data", "models", "losses", "evaluation", "training", "tracking", "search", "jobs")
ALLOWED = {
    "ray": ("training/runner.py", "training/background.py", "training/cluster.py", "search/", "jobs/"),
    "mlflow": ("tracking/",),
}
"""The only places, within the package, that may import a library."""


def imported_modules(file: Path, package: Path) -> Iterator[str]:
    """Absolute dotted names that a file imports, wherever in it; `from a import b` counts as `a.b`."""
    parents = [package.name, *file.relative_to(package).parent.parts]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = parents[: len(parents) - node.level + 1] if node.level else []
            yield from (".".join([*start, *filter(None, [node.module]), alias.name]) for alias in node.names)


def violations(package: Path) -> list[str]:
    """What in a package breaks the rules, a line each."""
    found = []
    for file in sorted(package.rglob("*.py")):
        place = file.relative_to(package).as_posix()
        layer = place.split("/")[0]
        if "/" in place and layer not in LAYERS:
            found.append(f"{place}: '{layer}' is no layer, expected one of {', '.join(LAYERS)}")
            continue
        for module in imported_modules(file, package):
            top, _, rest = module.partition(".")
            target = rest.split(".")[0]
            if top in ALLOWED and not place.startswith(ALLOWED[top]):
                found.append(f"{place}: imports {module}, which only {', '.join(ALLOWED[top])} may")
            if top == package.name and target in LAYERS and "/" not in place:
                found.append(f"{place}: imports {module}, but the package's top imports no layer")
            elif top == package.name and target in LAYERS and LAYERS.index(target) > LAYERS.index(layer):
                found.append(f"{place}: imports {module}, but {layer} comes before {target}")
    return found


def test_the_package_keeps_the_rules() -> None:
    assert violations(PACKAGE) == []


def test_every_layer_is_there() -> None:
    assert {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file()} == set(LAYERS)


@pytest.mark.parametrize(
    ("place", "source", "complaint"),
    [
        ("data/a.py", "from reid.training import loop", "data comes before training"),
        ("data/a.py", "def f():\n    import reid.jobs.main", "data comes before jobs"),
        ("config/a.py", "from reid import models", "config comes before models"),
        ("losses/a.py", "from ..evaluation.ranking import rank", "losses comes before evaluation"),
        ("losses/deep/a.py", "from ... import search", "losses comes before search"),
        ("training/step.py", "import ray.train", "imports ray.train"),
        ("training/runner.py", "from mlflow import log_metric", "imports mlflow.log_metric"),
        ("helpers/a.py", "import os", "'helpers' is no layer"),
        ("shortcut.py", "from reid.jobs import main", "top imports no layer"),
    ],
)
def test_a_violation_is_found(tmp_path: Path, place: str, source: str, complaint: str) -> None:
    file = tmp_path / "reid" / place
    file.parent.mkdir(parents=True)
    file.write_text(source)
    (line,) = violations(tmp_path / "reid")
    assert place in line
    assert complaint in line


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("training/runner.py", "import ray\nfrom reid.models import FGSAM\nfrom . import step"),
        ("tracking/writer.py", "import mlflow"),
        ("search/sweep.py", "from ray import tune\nfrom ..training.runner import run"),
        ("losses/a.py", "import raytracer\nfrom reid.losses.focal import x"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, place: str, source: str) -> None:
    file = tmp_path / "reid" / place
    file.parent.mkdir(parents=True)
    file.write_text(source)
    assert violations(tmp_path / "reid") == []

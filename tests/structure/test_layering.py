"""The direction of imports, read from the source: `config → data → … → jobs`, and who may import Ray and MLflow."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "platform" / "reid"
LAYERS = (
    "config",
    "progress",
    "models",
    "losses",
    "storage",
    "data",
    "embedded",
    "evaluation",
    "pictures",
    "export",
    "tracking",
    "training",
    "stages",
    "inference",
    "page",
    "cluster",
    "search",
    "experiments",
    "jobs",
)
ALLOWED = {
    "ray": ("cluster/", "search/", "experiments/sweep_trials.py"),
    "mlflow": ("tracking/", "inference/registered.py"),
    "optuna": ("search/", "experiments/sweep_trials.py"),
    "matplotlib": ("pictures/", "search/"),
    "jinja2": ("pictures/",),
    "os.environ": (
        "config/environment.py",
        "config/run.py",
        "storage/storage.py",
        "cluster/connection.py",
        "inference/registered.py",
        "experiments/records.py",
        "search/database.py",
    ),
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


def closed_doors(root: Path, package: Path) -> list[str]:
    """Imports of a package's inside from elsewhere: what it offers stands in its `__init__`."""
    found = []
    files = [*package.rglob("*.py"), *(root / "jobs").glob("*.py"), *(root / "benchmarks").glob("*.py")]
    for file in sorted(files):
        own = file.relative_to(package).parts[0] if file.is_relative_to(package) else None
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(f"{package.name}."):
                continue
            _, room, *inside = (node.module or "").split(".")
            if room in (own, "jobs"):
                continue
            offered = names_offered(package / room / "__init__.py")
            place = f"{file.relative_to(root)}:{node.lineno}"
            if inside:
                found.append(f"{place}: imports from the inside of {room}: from {package.name}.{room} import …")
            found += [f"{place}: {room} offers no {a.name}" for a in node.names if not inside and a.name not in offered]
    return found


def names_offered(door: Path) -> set[str]:
    """`__all__` of a package."""
    for node in ast.parse(door.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            return set(ast.literal_eval(node.value))
    return set()


def test_the_package_keeps_the_rules() -> None:
    assert violations(PACKAGE) == []


def test_packages_are_entered_by_their_doors() -> None:
    assert closed_doors(ROOT, PACKAGE) == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("from reid.data.store import MANIFEST", "imports from the inside of data"),
        ("from reid.data import MANIFEST", "data offers no MANIFEST"),
    ],
)
def test_a_way_around_a_door_is_found(tmp_path: Path, source: str, complaint: str) -> None:
    package = tmp_path / "platform" / "reid"
    for name, text in {"data/__init__.py": '__all__ = ["prepare"]\n', "losses/a.py": source}.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    (line,) = closed_doors(tmp_path, package)
    assert complaint in line


def test_what_a_door_offers_is_there() -> None:
    for room in LAYERS:
        module = importlib.import_module(f"reid.{room}")
        assert [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)] == []


@pytest.mark.parametrize(
    "statement",
    [
        "from reid.losses import FocalTripletLoss",
        "from reid.models import FGSAM",
        "from reid.config import load_config",
    ],
)
def test_losses_and_models_come_without_the_platform(statement: str) -> None:
    """A notebook gets torch and our configuration: no reader, no store, no image library."""
    script = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT / "platform", capture_output=True, text=True, check=True
    ).stdout.split()
    unwanted = {
        *("pycocotools", "scipy", "pyarrow", "filelock", "PIL", "matplotlib", "safetensors", "pandas"),
        *("ray", "mlflow", "optuna", "onnx", "onnxruntime", "rich", "sqlalchemy"),
    }
    assert unwanted & set(loaded) == set()


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
        ("cluster/runner.py", "import ray\nfrom reid.models import FGSAM\nfrom . import placement"),
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

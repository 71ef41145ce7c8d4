"""`import reid`: what it offers to other programs, that it costs nothing, and that type checkers see it."""

import ast
import importlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import reid

ROOT = Path(__file__).parents[1]
FACE = ROOT / "platform" / "reid" / "__init__.pyi"
OFFERED = {
    f"{node.module}.{alias.name}"
    for node in ast.parse(FACE.read_text()).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}
"""`room.name` of all that the typed face imports."""


def test_the_import_loads_nothing_of_weight() -> None:
    script = "import sys, reid; dir(reid); print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT / "platform", capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"torch", "ray", "mlflow", "numpy", "PIL", "pyarrow", "pydantic"} & set(loaded) == set()
    assert "reid" in loaded


@pytest.mark.parametrize("offered", sorted(OFFERED))
def test_what_the_face_names_is_what_a_room_offers(offered: str) -> None:
    room, _, name = offered.partition(".")
    module = importlib.import_module(f"reid.{room}")
    assert getattr(reid, name) is getattr(module, name)
    assert name in module.__all__
    assert name in reid.__all__
    assert name in dir(reid)


def test_a_name_that_is_not_offered() -> None:
    with pytest.raises(AttributeError, match="train"):
        reid.train  # type: ignore[attr-defined]  # noqa: B018
    assert len(OFFERED) == len(reid.__all__)


@pytest.mark.slow
def test_the_wheel_is_typed(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    wanted = {"py.typed", "__init__.pyi", "__init__.py", "_datasets/embedded.yaml", "page/site/index.html"}
    assert {f"reid/{name}" for name in wanted} <= set(names)


@pytest.mark.slow
def test_a_type_checker_sees_the_signatures(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import reid\nreveal_type(reid.load('a').describe(['b.jpg']))\nreid.rank(top='ten')\n")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", str(script)],
        cwd=tmp_path,
        env={"MYPYPATH": str(ROOT / "platform")},
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    assert "ndarray[" in checked
    assert 'Argument "top" to "rank" has incompatible type "str"; expected "int"' in checked

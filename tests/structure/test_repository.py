"""What holds for the repository as a whole; each rule takes a root folder, so that it is tried on a bad one too."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from reid import jobs

ROOT = Path(__file__).parents[2]
SOURCES = ("platform", "jobs", "datasets", "tests", "benchmarks", "deploy", "docs", ".ci", ".github")
LONGEST_FILE = 300
LONGEST_FUNCTION = 50
LONG_FUNCTIONS = {"run_phase"}
"""The training loop: one cadence, read from top to bottom."""
LONGEST_SCRIPT = 40
MACHINE_PATH = re.compile(r"(?<![\w.~$}])/(?:root|work|home/\w+|Users/\w+|opt/pypi|tmp/\w+)(?:/|\b)")
NOT_MIRRORED = {"structure"}
"""Folders of tests about the repository rather than about a folder of the package."""


def text_files(root: Path) -> Iterator[Path]:
    """Files of the project, leaving out what git ignores and what is not text."""
    candidates = [path for path in root.iterdir() if path.is_file()]
    for folder in SOURCES:
        candidates += [path for path in (root / folder).rglob("*") if path.is_file()]
    for path in sorted(candidates):
        if "__pycache__" not in path.parts and b"\0" not in path.read_bytes()[:4096]:
            yield path


def shadowed_platform(root: Path) -> list[str]:
    """`import platform` from the root must be the standard library's, whatever lies in `platform/`."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    found = subprocess.run(
        [sys.executable, "-c", "import platform; print(platform.__file__)"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    standard = Path(sysconfig.get_path("stdlib")) / "platform.py"
    return [] if Path(found).resolve() == standard.resolve() else [f"import platform finds {found}"]


def unreadable_scripts(root: Path) -> list[str]:
    """Scripts in `jobs/` run by themselves, and only parse and call."""
    found = []
    for script in sorted((root / "jobs").glob("[!_]*.py")):
        source = script.read_text()
        tree = ast.parse(source)
        if not re.match(r"#!/usr/bin/env python3?\n", source):
            found.append(f"{script.name}: has no shebang: start it with #!/usr/bin/env python")
        if not script.stat().st_mode & 0o100:
            found.append(f"{script.name}: has no run bit: chmod +x")
        if len(source.splitlines()) >= LONGEST_SCRIPT:
            found.append(f"{script.name}: has {LONGEST_SCRIPT} lines or more: move the work into reid.jobs")
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.AsyncFunctionDef | ast.For | ast.While | ast.Lambda) or (
                isinstance(node, ast.FunctionDef) and node.name != "main"
            ):
                found.append(f"{script.name}:{node.lineno}: does more than parse and call: move it into reid.jobs")
    return found


def long_files(root: Path) -> list[str]:
    return [
        f"{file.relative_to(root)}: more than {LONGEST_FILE} lines: divide it"
        for file in sorted((root / "platform").rglob("*.py"))
        if len(file.read_text().splitlines()) > LONGEST_FILE
    ]


def long_functions(root: Path) -> list[str]:
    return [
        f"{file.relative_to(root)}:{node.lineno}: {node.name} has more than {LONGEST_FUNCTION} lines: divide it"
        for file in sorted((root / "platform").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef)
        and (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION
        and node.name not in LONG_FUNCTIONS
    ]


def compared_stages(root: Path) -> list[str]:
    """Nothing but the stage table knows a stage by name: whoever compares one has to ask its bundle."""
    names = {"pose", "baseline", "strong_baseline", "intermediate", "final"}
    return [
        f"{file.relative_to(root)}:{place.lineno}: compares a stage's name: give `Stage` a field for what differs"
        for file in sorted((root / "platform").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Compare | ast.match_case)
        for place in [node.pattern if isinstance(node, ast.match_case) else node]
        if names & {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)}
    ]


ONE_PLACE = {
    r"os\.replace|\.rename\(": ("storage/writing.py", "writes whole or not at all: use whole_file or whole_folder"),
    r"cuda\.is_available": ("training/device.py", "chooses a device: use choose_device"),
}
"""What is done in one file, by a pattern of how it is done."""


def done_elsewhere(root: Path) -> list[str]:
    package = root / "platform" / "reid"
    return [
        f"{file.relative_to(root)}: {remedy}"
        for pattern, (place, remedy) in ONE_PLACE.items()
        for file in sorted(package.rglob("*.py"))
        if file != package / place and re.search(pattern, file.read_text())
    ]


def set_variables(root: Path) -> list[str]:
    """Environment variables are set in one place, which restores them."""
    text = r"os\.environ(\[[^]]*\]\s*=[^=]|\.(setdefault|update|pop|clear)\b)|\bputenv\b|del os\.environ"
    return [
        f"{file.relative_to(root)}: sets environment variables: use reid.config.environment"
        for file in sorted((root / "platform").rglob("*.py"))
        if file.name != "environment.py" and re.search(text, file.read_text())
    ]


def scattered_internals(root: Path) -> list[str]:
    """What Ray and Optuna keep to themselves is used in one file each, which says why; nothing such of MLflow is."""
    found = []
    for file in sorted((root / "platform").rglob("*.py")):
        if file.name in ("ray_internals.py", "optuna_internals.py"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            names = [module] if module else [a.name for a in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if name.split(".")[0] in ("ray", "optuna", "mlflow") and re.search(r"\._|\bv2\b", name):
                    found.append(f"{file.relative_to(root)}: imports {name}: move it to a file of internals")
    return found


def unbounded_dependencies(root: Path) -> list[str]:
    """Libraries whose inside we touch have an upper bound."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return [
        f"pyproject.toml: {requirement} has no upper bound"
        for requirement in project["dependencies"]
        if re.match(r"(ray|optuna|mlflow)\b", requirement) and "<" not in requirement
    ]


def stray_test_folders(root: Path) -> list[str]:
    """Every folder that holds tests mirrors a folder of the package."""
    tests = root / "tests"
    folders = {file.parent.relative_to(tests) for file in tests.rglob("test_*.py")} - {Path()}
    return [
        f"tests/{folder}: mirrors no folder of platform/reid"
        for folder in sorted(folders)
        if folder.parts[0] not in NOT_MIRRORED and not (root / "platform" / "reid" / folder).is_dir()
    ]


def machine_paths(root: Path) -> list[str]:
    """No file names a place on somebody's machine."""
    return [
        f"{file.relative_to(root)}:{number}: names {match.group()}"
        for file in text_files(root)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if (match := MACHINE_PATH.search(line))
    ]


def unresolved_merges(root: Path) -> list[str]:
    """No file holds both sides of a merge."""
    return [
        f"{file.relative_to(root)}: has a line that begins with {match.group()}"
        for file in text_files(root)
        if (match := re.search(r"^(<{7}|>{7})(?= )", file.read_text(encoding="utf-8"), re.MULTILINE))
    ]


RULES = (
    shadowed_platform,
    unreadable_scripts,
    long_files,
    long_functions,
    compared_stages,
    done_elsewhere,
    set_variables,
    scattered_internals,
    unbounded_dependencies,
    stray_test_folders,
    machine_paths,
    unresolved_merges,
)
Rule = Callable[[Path], list[str]]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_repository_keeps_the_rule(rule: Rule) -> None:
    assert rule(ROOT) == []


@pytest.mark.parametrize(
    ("rule", "place", "content"),
    [
        (shadowed_platform, "platform/__init__.py", ""),
        (unreadable_scripts, "jobs/a.py", "import sys\n"),
        (unreadable_scripts, "jobs/a.py", "#!/usr/bin/env python\nmain()\n"),
        (long_files, "platform/reid/data/a.py", "x = 1\n" * (LONGEST_FILE + 1)),
        (long_functions, "platform/reid/a.py", "def f():\n" + "    pass\n" * LONGEST_FUNCTION),
        (compared_stages, "platform/reid/a.py", 'x = stage in ("pose",)\n'),
        (compared_stages, "platform/reid/a.py", 'if "final" != stage: pass\n'),
        (compared_stages, "platform/reid/a.py", 'if stage == "strong_baseline": pass\n'),
        (compared_stages, "platform/reid/a.py", 'match stage:\n    case "pose": pass\n'),
        (done_elsewhere, "platform/reid/data/a.py", "import os\nos.replace(a, b)\n"),
        (done_elsewhere, "platform/reid/data/a.py", "import torch\ntorch.cuda.is_available()\n"),
        (set_variables, "platform/reid/a.py", 'import os\nos.environ["A"] = "b"\n'),
        (set_variables, "platform/reid/a.py", 'import os\nos.environ.setdefault("A", "b")\n'),
        (scattered_internals, "platform/reid/a.py", "from ray._private import services\n"),
        (scattered_internals, "platform/reid/a.py", "import ray.train.v2.api\n"),
        (unbounded_dependencies, "pyproject.toml", '[project]\ndependencies = ["ray[train]>=2.60"]\n'),
        (stray_test_folders, "tests/elsewhere/test_a.py", ""),
        (machine_paths, "README.md", "cd /" + "root/reid\n"),
        (machine_paths, "docs/a.md", "cd /" + "root/reid\n"),
        (machine_paths, "tests/a.py", 'open("/' + 'home/someone/data.csv")\n'),
        (machine_paths, "benchmarks/a.py", 'open("/' + 'tmp/data.csv")\n'),
        (unresolved_merges, "CHANGELOG.md", "- One.\n" + "<" * 7 + " HEAD\n- Two.\n"),
    ],
)
def test_a_violation_is_found(tmp_path: Path, rule: Rule, place: str, content: str) -> None:
    file = tmp_path / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    assert rule(tmp_path)


@pytest.mark.parametrize("body", ["def helper():\n    pass\n", "for x in []:\n    pass\n", "x = 1\n" * LONGEST_SCRIPT])
def test_a_script_that_works_itself_is_found(tmp_path: Path, body: str) -> None:
    script = tmp_path / "jobs" / "a.py"
    script.parent.mkdir()
    script.write_text(f"#!/usr/bin/env python\n{body}")
    script.chmod(0o755)
    assert len(unreadable_scripts(tmp_path)) == 1


@pytest.mark.parametrize(
    ("script", "command"),
    [
        ("full_pipeline", "pipeline"),
        ("prepare_data", "prepare"),
        *((name, name) for name in ("evaluate", "export", "extract", "sweep", "ablation", "flush")),
    ],
)
def test_a_script_is_a_command_and_no_more(script: str, command: str) -> None:
    assert f"from reid.jobs import {command}\n" in (ROOT / "jobs" / f"{script}.py").read_text()
    assert isinstance(getattr(jobs, command), click.Command)
    assert command in jobs.main.commands


@pytest.mark.slow
@pytest.mark.parametrize("leak", [True, False])
def test_a_process_left_behind_fails_the_session(tmp_path: Path, leak: bool) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    seconds = 60 if leak else 0
    (tmp_path / "test_it.py").write_text(
        "import subprocess\n"
        "def test_it():\n"
        f"    process = subprocess.Popen(['sleep', '{seconds}'], start_new_session=True)\n"
        "    open('pid', 'w').write(str(process.pid))\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "test_it.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    if leak:
        os.kill(int((tmp_path / "pid").read_text()), 9)
    assert outcome.returncode == leak, outcome.stdout
    assert ("left processes running" in outcome.stdout) == leak


@pytest.mark.slow
@pytest.mark.parametrize("strict", [True, False])
def test_a_skipped_test_fails_where_nothing_may_be_skipped(tmp_path: Path, strict: bool) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.fixture\n"
        "def server():\n"
        "    pytest.skip('there is no server')\n"
        "def test_by_its_fixture(server):\n"
        "    pass\n"
        "@pytest.mark.skipif(True, reason='there is no kernel')\n"
        "def test_by_its_mark():\n"
        "    pass\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "test_it.py"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "REID_NOTHING_SKIPPED"}
        | ({"REID_NOTHING_SKIPPED": "1"} if strict else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == strict, outcome.stdout
    for reason in ("there is no server", "there is no kernel"):
        assert reason in outcome.stdout

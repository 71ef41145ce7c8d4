"""What holds for the repository as a whole; each rule takes a root folder, so that it is tried on a bad one too."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("platform", "jobs", "datasets", "tests", "benchmarks", ".ci")
LONGEST_FILE = 350
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


RULES = (shadowed_platform, unreadable_scripts, long_files, stray_test_folders, machine_paths)
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
        (stray_test_folders, "tests/elsewhere/test_a.py", ""),
        (machine_paths, "README.md", "cd /" + "root/reid\n"),
        (machine_paths, "tests/a.py", 'open("/' + 'home/someone/data.csv")\n'),
        (machine_paths, "benchmarks/a.py", 'open("/' + 'tmp/data.csv")\n'),
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


@pytest.mark.parametrize("name", ["full_pipeline.py", "prepare_data.py", "evaluate.py"])
def test_the_job_is_there(name: str) -> None:
    assert (ROOT / "jobs" / name).is_file()


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

"""What is installed: the same packages in both lists, and every file of them by its hash."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([\w.-]+)==([^\s;]+)([^\n\\]*)((?:\\\n +--hash=sha256:[0-9a-f]{64} ?)*)$", re.MULTILINE)


def name_of(package: str) -> str:
    """As package indexes compare names."""
    return re.sub(r"[-_.]+", "-", package).lower()


def test_the_lock_names_what_is_pinned_and_no_file_without_a_hash() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = {name_of(package): version for package, _, version in (line.partition("==") for line in lines)}
    text = (ROOT / "requirements.lock").read_text()
    locked = {name_of(found[1]): found for found in PIN.finditer(text)}
    assert {name: found[2] for name, found in locked.items()} == pinned
    assert [name for name, found in locked.items() if not found[4]] == []
    assert len(PIN.sub("", text).split()) == 0, "something that is no pin"


def test_make_installs_the_lock_alone() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("$(INSTALLED): pyproject.toml requirements.lock")[2]
    first, second = re.findall(r"-m pip install (.*?)(?:\| awk|\n\t@touch)", recipe, re.DOTALL)
    assert "--require-hashes --requirement requirements.lock" in first
    assert "--no-deps --no-build-isolation --editable ." in second

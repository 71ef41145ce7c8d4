"""What the documents say against what is there: links, settings, quoted errors, numbers given twice, CI, citation."""

import ast
import errno
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reid.config import PRESETS, flatten, load_config

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "datasets" / "README.md", *(ROOT / "docs").glob("*.md"))
LONGEST_README = 150
SHORTEST_LITERAL = 4
"""Characters of a text that are told from a chance."""
VALUES = {"final", "gama", "query", "toy"}
"""What the quoted errors are about where that is a plain word."""
PYDANTICS = "must be greater than or equal to"
"""Made of pydantic's "Input should be …" by `load_config`."""
RAYS = ("_private/worker.py", "_private/authentication/authentication_constants.py")
"""Where Ray has what is quoted of it."""
RAYS_CORE = ("Failed to connect to GCS at address ", " within ", " seconds.")
"""What its part in C++ says, in `_raylet.so`."""


def broken_links(page: Path) -> list[str]:
    """Links to files that are not there, or to headings that they lack."""
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if re.match(r"\w+:", target):
            continue
        file = (page.parent / path).resolve() if path else page
        if not file.is_file() or (anchor and anchor not in anchors(file)):
            found.append(f"{page.name}: {target}")
    return found


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub and MyST name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def literals(sources: Iterable[Path]) -> set[str]:
    """What stands in the strings of Python files, without what is put into them."""
    found: set[str] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.update(re.split(r"%[sdr]|\{[^}]*\}|\n", node.value))
    return {text for text in found if len(text) >= SHORTEST_LITERAL}


def unknown_words(quote: str, known: set[str]) -> list[str]:
    """Words of a quoted message that stand in no known text, and are no values: names, numbers, places."""
    rest = re.sub(r"'[^']*'", "''", quote.removeprefix("error: "))
    for text in sorted(known, key=len, reverse=True):
        if text in rest:
            before, after = (r"(?<![\w.])" if text[0].isalnum() else "", r"(?!\w)" if text[-1].isalnum() else "")
            rest = re.sub(f"{before}{re.escape(text)}{after}", " ", rest)
    return [word for word in rest.split() if re.fullmatch(r"[a-z]{2,}\W?", word) and word not in VALUES]


def quoted(page: Path) -> Iterator[str]:
    for block in re.findall(r"^```text\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        yield from block.splitlines()


@pytest.fixture(scope="module")
def known() -> set[str]:
    ray = importlib.util.find_spec("ray")
    assert ray is not None
    assert ray.origin is not None
    sources = [*(ROOT / "platform").rglob("*.py"), *(Path(ray.origin).parent / name for name in RAYS)]
    return literals(sources) | {os.strerror(errno.EADDRINUSE), os.strerror(errno.EACCES), PYDANTICS, *RAYS_CORE}


@pytest.mark.parametrize("quote", [*quoted(ROOT / "docs" / "errors.md")])
def test_a_quoted_error_is_still_said(quote: str, known: set[str]) -> None:
    assert unknown_words(quote, known) == []


@pytest.mark.parametrize(
    "quote",
    [
        "error: precision: this processor lacks bf16; set precision=fp32 or auto",
        "error: loss.gama: unknown setting (did you mean 'gamma'?)",
    ],
)
def test_an_error_that_is_said_otherwise_is_found(quote: str, known: set[str]) -> None:
    assert unknown_words(quote, known)


def test_rays_core_still_says_what_is_quoted_of_it() -> None:
    ray = importlib.util.find_spec("ray")
    assert ray is not None
    assert ray.origin is not None
    core = (Path(ray.origin).parent / "_raylet.so").read_bytes()
    assert [text for text in RAYS_CORE if text.encode() not in core] == []


def test_ten_errors_are_told_at_least() -> None:
    assert len(anchors(ROOT / "docs" / "errors.md")) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("link", ["[a](none.md)", "[a](b.md#none)", "![a](none.jpg)"])
def test_a_broken_link_is_found(tmp_path: Path, link: str) -> None:
    (tmp_path / "b.md").write_text("# There it is\n")
    (tmp_path / "a.md").write_text(f"[b](b.md#there-it-is) {link}")
    assert len(broken_links(tmp_path / "a.md")) == 1


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= LONGEST_README


@pytest.mark.parametrize("table", ["demo", "models"])
def test_the_readme_shows_the_numbers_of_the_results(table: str) -> None:
    shown = [
        re.findall(rf"<!-- {table} -->\n(.*?)\n<!-- /{table} -->", page.read_text(encoding="utf-8"), re.DOTALL)
        for page in (ROOT / "README.md", ROOT / "docs" / "results.md")
    ]
    assert len(shown[0]) == 1
    assert shown[0] == shown[1]


def test_settings_on_the_pages_exist() -> None:
    known = {f"{key}." for preset in PRESETS for key in flatten(load_config(preset=preset))}
    given = {
        key for page in PAGES for key in re.findall(r"--set '?([a-z_.]+)=(?!value)", page.read_text(encoding="utf-8"))
    }
    assert "data.source" in given
    assert [setting for setting in sorted(given) if not any(key.startswith(f"{setting}.") for key in known)] == []


def test_the_reference_has_every_package_with_a_door() -> None:
    package = ROOT / "platform" / "reid"
    doors = [door for door in package.glob("*/__init__.py") if "__all__" in door.read_text()]
    listed = re.findall(r"automodule:: (\S+)", (ROOT / "docs" / "api" / "index.rst").read_text())
    assert sorted(listed) == sorted(".".join(door.parent.relative_to(package.parent).parts) for door in doors)


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_targets_on_the_pages_exist() -> None:
    given = {name for page in PAGES for name in re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8"))}
    assert "pipeline" in given
    assert given - make_targets() == set()


def workflow() -> dict[Any, Any]:
    tree: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    return tree


def test_the_workflow_calls_targets_that_exist() -> None:
    steps = [step for job in workflow()["jobs"].values() for step in job["steps"]]
    called = {name for step in steps for name in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))}
    assert called == {"lint", "test", "audit"}
    assert called <= make_targets()


def test_the_workflow_may_read_and_no_more() -> None:
    tree = workflow()
    assert tree["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in tree["jobs"].values())
    used = [step["uses"] for job in tree["jobs"].values() for step in job["steps"] if "uses" in step]
    assert used
    assert [action for action in used if not re.fullmatch(r"actions/[\w-]+@v\d+", action)] == []


def test_the_workflow_runs_what_is_supported() -> None:
    tree = workflow()
    triggers = tree[True]  # so YAML reads `on`
    assert {"push", "pull_request", "schedule"} <= set(triggers)
    assert tree["jobs"]["check"]["strategy"]["matrix"]["python"] == ["3.11", "3.13"]


def test_issue_forms_ask_for_something() -> None:
    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    for name in ("bug.yml", "question.yml"):
        form = yaml.safe_load((folder / name).read_text())
        assert {"name", "description", "body"} <= set(form)
        fields = [field for field in form["body"] if field["type"] != "markdown"]
        assert len({field["id"] for field in fields}) == len(fields) > 0
        assert all(field["attributes"]["label"] for field in fields)


def test_the_citation_is_valid() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["message"]
    assert citation["title"]
    assert citation["authors"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    for reference in citation["references"]:
        assert {"type", "title", "authors", "year"} <= set(reference)
        assert all({"family-names", "given-names"} == set(author) for author in reference["authors"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_pages_are_built_without_a_warning(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "--nitpicky", "--quiet", "docs", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    reference = (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    assert 'id="reid.losses.focal_triplet"' in reference

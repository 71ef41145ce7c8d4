"""The Dockerfile as far as it can be checked where nothing builds it."""

import fnmatch
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILE = ROOT / "Dockerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")


def instructions(name: str) -> list[str]:
    """What follows an instruction, wherever it stands, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", FILE.read_text())
    return re.findall(rf"^{name} (.+)$", text, re.MULTILINE)


def sources() -> set[str]:
    """What the instructions take from the folder that is built from."""
    copied = [part for one in instructions("COPY") if "--from" not in one for part in one.split()[:-1]]
    mounted = re.findall(r"--mount=source=([^,]+)", " ".join(instructions("RUN")))
    return {*copied, *mounted}


def is_sent(path: PurePosixPath, rules: list[str]) -> bool:
    """Whether a file goes to whoever builds: the last rule that matches it or a folder that it lies in decides."""
    sent = True
    for rule in rules:
        pattern = rule.removeprefix("!")
        if any(_matches(part, pattern) for part in (path, *path.parents[:-1])):
            sent = rule.startswith("!")
    return sent


def _matches(path: PurePosixPath, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch.fnmatch(path.name, pattern[3:])
    parts = pattern.split("/")
    return len(parts) == len(path.parts) and all(map(fnmatch.fnmatch, path.parts, parts))


def rules() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_hadolint_has_nothing_against_it() -> None:
    found = subprocess.run([HADOLINT, "--no-color", FILE], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_hadolint_finds_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(FILE.read_text().replace("python:3.11.17-slim-trixie", "python:latest"))
    found = subprocess.run([HADOLINT, "--no-color", tmp_path / "Dockerfile"], capture_output=True, text=True)
    assert found.returncode
    assert "DL3007" in found.stdout


def test_what_is_copied_is_there_and_sent_whole() -> None:
    """The manifests are not found without their README, for instance."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for source in sources():
        files = [PurePosixPath(name) for name in tracked if name == source or name.startswith(f"{source}/")]
        assert files, source
        assert [str(file) for file in files if not is_sent(file, rules())] == []


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        ".git/config",
        "mlruns/a",
        "datasets/Market-1501/a.jpg",
        "datasets/key.pem",
        "platform/reid/__pycache__/a",
    ],
)
def test_nothing_else_is_sent(name: str) -> None:
    assert not is_sent(PurePosixPath(name), rules())


def test_versions_are_those_of_the_other_files() -> None:
    bases = [base.split()[0] for base in instructions("FROM")]
    pythons = {base for base in bases if base.startswith("python:")}
    assert len(pythons) == 1, "the wheel is built and installed by the same Python"
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases), "a tag that moves"
    minor = re.match(r"python:(\d+)\.(\d+)\.", pythons.pop())
    assert minor is not None
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    assert f"-py{minor[1]}{minor[2]}" in cluster["docker"]["image"]


def test_packages_are_installed_by_hash_alone() -> None:
    runs = [run for run in instructions("RUN") if re.search(r"\buv (pip install|build)\b", run)]
    assert len(runs) == 3
    for run in runs:
        assert "--no-deps /dist/" in run or ("--require-hashes" in run and "requirements.lock" in run), run
    assert "pip install" not in FILE.read_text().replace("uv pip install", "")


def test_it_runs_as_a_user_that_kubernetes_takes_for_no_root() -> None:
    assert instructions("USER") == ["1000:1000"]
    assert any(re.search(r"\buseradd\b.*--uid 1000\b", run) for run in instructions("RUN"))
    assert instructions("ENTRYPOINT") == [], "`ray up` and KubeRay bring a command of their own"
    assert "RAY_AUTH_MODE=token" in instructions("ENV")[0]


def test_ports_are_those_that_are_served() -> None:
    text = "".join(file.read_text() for file in (ROOT / "deploy" / "kuberay").glob("*.yaml"))
    served = set(re.findall(r"containerPort: (\d+)", text))
    assert set(instructions("EXPOSE")[0].split()) == served

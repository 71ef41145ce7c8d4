import os
import subprocess
import sys
from pathlib import Path

import pytest

from reid.config import environment

NAME = "REID_TEST_VARIABLE"


@pytest.mark.parametrize("before", [None, "mine"])
def test_variables_are_as_they_were_once_the_context_ends(monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    monkeypatch.delenv(NAME, raising=False) if before is None else monkeypatch.setenv(NAME, before)

    def use() -> None:
        with environment({NAME: "ours"}):
            assert os.environ[NAME] == "ours"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        use()
    assert os.environ.get(NAME) == before


def test_what_the_user_has_set_can_be_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "mine")
    with environment({NAME: "ours"}, unless_set=True):
        assert os.environ[NAME] == "mine"
    assert os.environ[NAME] == "mine"


def test_a_process_keeps_variables_until_it_exits() -> None:
    script = (
        "import atexit, os\n"
        f"atexit.register(lambda: print(os.environ.get('{NAME}')))\n"
        "from reid.config import set_until_exit\n"
        f"set_until_exit({{'{NAME}': 'ours'}}); print(os.environ['{NAME}'])\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2] / "platform",
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.split() == ["ours", "None"]

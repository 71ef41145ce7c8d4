"""Extensions that cannot be loaded, and what loading one twice means; `tests/jobs/test_extensions.py` uses one."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reid.config import ConfigError, load_config, load_extensions

NAMES = ("extension_one", "extension_two")


@pytest.fixture(autouse=True)
def _not_loaded() -> Iterator[None]:
    yield
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, r"cannot be imported \(No module named 'extension_one'\): correct the path"),
        ("1 / 0\n", r"cannot be run: ZeroDivisionError: division by zero \(line 1: 1 / 0\)"),
        ("import nowhere_at_all\n", "cannot be run: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def f(:\n", "cannot be run: SyntaxError"),
    ],
)
def test_an_extension_that_cannot_be_loaded_is_named(tmp_path: Path, text: str | None, complaint: str) -> None:
    file = tmp_path / "extension_one.py"
    if text is not None:
        file.write_text(text)
    for _ in range(2):
        with pytest.raises(ConfigError, match=f"extensions: {file} {complaint}"):
            load_config(preset="smoke", overrides=[f"extensions=[{file}]"])


def test_an_extension_is_run_once_in_a_process(tmp_path: Path) -> None:
    counts = tmp_path / "counts"
    file = tmp_path / "extension_one.py"
    file.write_text(f"open({str(counts)!r}, 'a').write('x')\n")
    config = load_config(preset="smoke", overrides=[f"extensions=[{file}]"])
    load_extensions(config.extensions)
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301 - our own
    assert counts.read_text() == "x"


def test_a_configuration_brings_its_extensions_into_another_process(tmp_path: Path) -> None:
    file = tmp_path / "extension_two.py"
    file.write_text("LOADED = True\n")
    sent = pickle.dumps(load_config(preset="smoke", overrides=[f"extensions=[{file}]"]))
    del sys.modules["extension_two"]
    pickle.loads(sent)  # noqa: S301 - our own
    assert sys.modules["extension_two"].LOADED


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder, text in (("a", "x = 1\n"), ("b", "x = 2\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "extension_one.py").write_text(text)
    load_extensions([str(tmp_path / "a" / "extension_one.py")])
    with pytest.raises(ConfigError, match="a module named extension_one is loaded already: rename the file"):
        load_extensions([str(tmp_path / "b" / "extension_one.py")])


def test_a_name_of_the_standard_library_is_no_name_for_an_extension(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("")
    with pytest.raises(ConfigError, match="a module named json is loaded already: rename the file"):
        load_extensions([str(tmp_path / "json.py")])


def test_settings_of_others_load_nothing(tmp_path: Path) -> None:
    """A checkpoint may come from anybody: what it names is not run."""
    file = tmp_path / "extension_one.py"
    file.write_text("raise SystemExit\n")
    tree = load_config(preset="smoke").model_dump() | {"extensions": [str(file)]}
    assert load_config(base=lambda: tree).extensions == (str(file),)
    assert "extension_one" not in sys.modules

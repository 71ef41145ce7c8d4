"""A full disk is no outage: the job says so as it ends, and what MLflow lacks is kept."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.slow
def test_what_does_not_fit_beside_the_database_is_an_error_and_is_kept(
    on_a_small_disk: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    printed = on_a_small_disk(Path(__file__).with_name("full_disk.py"), 64, tmp_path / "elsewhere")
    assert "Traceback" not in printed
    (result,) = map(json.loads, re.findall(r"^\{.*\}$", printed, re.MULTILINE))
    assert re.fullmatch(
        rf"the disk of {tmp_path}/disk/artifacts is full \(it takes about 300 kB in all, .* are free\): make room .*",
        result["said"],
    )
    assert result["kept"] == 1
    assert (result["again"], result["left"], result["sizes"]) == ("sent", 0, [300_000])

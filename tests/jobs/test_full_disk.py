"""Jobs on a disk that is full: one clear error, and the same command goes on when there is room."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("full_disk.py")
PLACES = {
    "rendering": r"reid/sources/embedded-2-smoke-0/market1501",
    "preparing": r"reid/stores/embedded-\w+",
    "merging": r"reid/stores/embedded-\w+",
    "database": r"reid/mlflow\.db",
    "training": r"reid/runs/toy-\w+/first/epoch_0002",
    "exporting": r"out",
    "extracting": r"table\.parquet",
    "recording": r"outbox/away-\w+",
}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_stage_says_where_and_how_much_and_goes_on_when_there_is_room(
    on_a_small_disk: Callable[..., str], tmp_path: Path
) -> None:
    printed = on_a_small_disk(SCRIPT, 400)
    assert "Traceback" not in printed
    results = {line["stage"]: line for line in map(json.loads, re.findall(r"^\{.*\}$", printed, re.MULTILINE))}
    for stage, result in results.items():
        assert result["partial"] == [], (stage, result)
        if stage not in PLACES:
            assert result["said"] is None, (stage, result, printed)
            continue
        takes = "" if stage == "extracting" else r"it takes about [\d.]+ [kM]B in all, "
        assert re.fullmatch(
            rf"error: (phase \w+ stopped: )?the disk of {tmp_path}/disk/{PLACES[stage]} is full \({takes}[\d.]+ "
            r"([kM]B|bytes) are free\): make room there, or choose another place, and give the same command again",
            result["said"],
        ), (stage, result, printed)
    assert set(PLACES) < set(results)
    assert results["weights"]["same"]

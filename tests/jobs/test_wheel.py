"""The wheel does everything that a checkout does, outside of it: a pipeline, an extraction, and `import reid`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
DESCRIBE = """
import json, sys
import reid
place, folder, *names = sys.argv[1:]
model = reid.load(place)
print(json.dumps({"file": reid.__file__, "vectors": model.describe([f"{folder}/{name}" for name in names]).tolist()}))
"""


@pytest.mark.slow
def test_what_is_installed_works_outside_the_repository(tmp_path: Path) -> None:
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "PYTHON"))
    }
    environment |= {"PYTHONPATH": str(installed), "REID_STORAGE": str(tmp_path / "reid")}

    def run(*command: object) -> str:
        outcome = subprocess.run(
            [*map(str, command)], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
        )
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        return outcome.stdout

    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("reid-*.whl")
    run(*pip, "install", "--no-deps", "--target", installed, wheel)
    script = (sys.executable, installed / "bin" / "reid")

    here = ("--set", "scaling.num_workers=0", "--set", "precision=fp32")
    printed = run(*script, "pipeline", "--preset", "smoke", *here)
    places = dict(line.split(": ", 1) for line in printed.splitlines() if ": /" in line)
    checkpoint, export = places["checkpoint of final"], places["export"]
    assert Path(places["report"]).is_file()

    (images,) = (tmp_path / "reid" / "sources").glob("*/market1501/query")
    run(*script, "extract", "--checkpoint", checkpoint, "--images", images, "--output", tmp_path / "d.parquet", *here)
    table = pq.read_table(tmp_path / "d.parquet")
    names = table["name"].to_pylist()
    expected = np.array(table["descriptor"].to_pylist(), np.float32)
    for place in (checkpoint, export):
        found = json.loads(run(sys.executable, "-c", DESCRIBE, place, images, *names).splitlines()[-1])
        assert Path(found["file"]).is_relative_to(installed)
        np.testing.assert_allclose(np.array(found["vectors"], np.float32), expected, atol=1e-5)

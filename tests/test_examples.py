"""The example notebooks run from top to bottom."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

import reid

ROOT = Path(__file__).parents[1]


def test_the_retrieval_notebook(
    save_untrained: Callable[..., Path], stores: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = save_untrained("baseline")
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "platform"))
    notebook = nbformat.read(ROOT / "docs" / "examples" / "retrieval.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert [cell for cell in notebook.cells if cell.get("outputs")] == [], "it is kept without outputs"
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    parameters.source += f"\nMODEL, STORE = {str(checkpoint)!r}, {str(stores['reid'])!r}\n"
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    (strip,) = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert Image.open(io.BytesIO(base64.b64decode(strip))).width > 500
    model, splits = reid.load(checkpoint), reid.open_dataset(stores["reid"]).splits
    query_QD, gallery_GD = (
        model.describe(splits[name].gather(range(len(splits[name]))).numpy()) for name in ("query", "gallery")
    )
    sides = (getattr(splits[name], label) for label in ("pids_N", "camids_N") for name in ("query", "gallery"))
    result = reid.evaluate_retrieval(query_QD, gallery_GD, *sides)
    assert f"rank-1 {result.cmc[0]:.1%}, mAP {result.mAP:.1%}" in outputs[-1].text

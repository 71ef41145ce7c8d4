"""The `paper` preset at its true sizes, with Market-1501's identities and attributes.

    PYTHONPATH=platform python tests/models/test_paper_preset.py

prints the table of parameters that docs/models.md shows.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from reid.config import load_config
from reid.config.manifests import load_manifest
from reid.models import FGSAM

ROOT = Path(__file__).parents[2]
NUM_IDENTITIES = 751
STAGES = ("pose", "baseline", "intermediate", "final")
ROWS = {
    "trunk, ResNet-50": r"trunk\.",
    "pose net, front end of VGG-19": r"pose_net\.front_end\.",
    "pose net, reduction to 128 channels": r"pose_net\.reduce\.",
    "pose net, three two-stream stages": r"pose_net\.stages\.\d\.(confidence|affinity)\.",
    "pose net, channel parse blocks": r"pose_net\.stages\.\d\.parse\.",
    "batch norms before fusion": r"(trunk|confidence|affinity)_norm\.",
    **{
        f"branch `{part}`": rf"alignment\.(fusions\.{part}|branches\.{part}\.project)\."
        for part in ("head", "upper_body", "upper_arm", "lower_arm", "upper_leg", "lower_leg", "plenary")
    },
    "attribute classifiers": r".*\.attributes\.",
    "identity classifier": r".*\.identity\.",
}
TERMS = {
    "pose": {"pose_confidence": 1, "pose_affinity": 1},
    "baseline": {"identity": 1},
    "intermediate": {"identity": 1, "attributes": 12},
    "final": {"identity": 1, "attributes": 12, "triplet": 7},
}
MAX_MEMORY = 12e9
STEP = """
import json, os, resource, sys
import torch
import phases

torch.set_num_threads(os.cpu_count())
config, manifest = phases.from_scratch("paper")
batch = int(sys.argv[2]) or config.phases[sys.argv[1]].batch_size
step = phases.training_step(config, sys.argv[1], manifest, batch=batch, device=torch.device("cpu"))
terms = {name: value.item() for name, value in step().items()}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"batch": batch, "size": [config.data.height, config.data.width], "terms": terms, "peak": peak}))
"""


def count_by_row(stage: str) -> dict[str, int]:
    """Parameters of the paper's model; each belongs to one row."""
    manifest = load_manifest("market1501")
    config = load_config(preset="paper", overrides=[f"model.layout={manifest.layout}"])
    attributes = {attribute.name: attribute for attribute in manifest.attributes}
    with torch.device("meta"):
        model = FGSAM(config.model, stage=stage, num_identities=NUM_IDENTITIES, attributes=attributes, pretrained=False)
    counts = dict.fromkeys(ROWS, 0)
    for name, parameter in model.named_parameters():
        (row,) = [row for row, pattern in ROWS.items() if re.match(pattern, name)]
        counts[row] += parameter.numel()
    return counts


def parameter_table() -> str:
    """Markdown: a row for each module, a column for each stage."""
    counts = {stage: count_by_row(stage) for stage in STAGES}
    rows = {row: [counts[stage][row] for stage in STAGES] for row in ROWS}
    rows["**total**"] = [sum(counts[stage].values()) for stage in STAGES]
    lines = [f"| parameters | {' | '.join(STAGES)} |", f"|---|{'---:|' * len(STAGES)}"]
    lines += [f"| {row} | {' | '.join(f'{n:,}' if n else '–' for n in numbers)} |" for row, numbers in rows.items()]
    return "\n".join(lines)


def test_the_page_of_the_models_shows_their_parameters() -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- parameters -->\n(.*?)\n<!-- /parameters -->", page, re.DOTALL)
    assert shown is not None, "docs/models.md has lost its markers"
    assert shown[1].strip() == parameter_table()


def test_parameters_by_arithmetic() -> None:
    """By the sizes that the paper and the published networks give."""

    def convolutions(*sizes: tuple[int, int, int]) -> int:
        return sum(inputs * outputs * kernel**2 + outputs for inputs, outputs, kernel in sizes)

    first = [(128, 128, 3)] * 3 + [(128, 512, 1)]
    later = [(128 + 57, 128, 7)] + [(128, 128, 7)] * 4 + [(128, 128, 1)]
    channels = {"head": 5 + 14, "upper_body": 3 + 8, "upper_arm": 2 + 4, "lower_arm": 2 + 4, "upper_leg": 2 + 4}
    channels |= {"lower_leg": 4 + 4, "plenary": 57}
    classes = 9 * 2 + 4 + 8 + 9
    expected = {
        "trunk, ResNet-50": 25_557_032 - 2049 * 1000,
        "pose net, front end of VGG-19": convolutions(
            (3, 64, 3), (64, 64, 3), (64, 128, 3), (128, 128, 3), (128, 256, 3), *[(256, 256, 3)] * 3, (256, 512, 3),
            (512, 512, 3),
        ),
        "pose net, reduction to 128 channels": convolutions((512, 256, 3), (256, 128, 3)),
        "pose net, three two-stream stages": convolutions(
            *2 * first, (512, 19, 1), (512, 38, 1), *4 * later, *[(128, 19, 1), (128, 38, 1)] * 2
        ),
        "pose net, channel parse blocks": 3 * convolutions((57, 14, 1), (14, 57, 1)),
        "batch norms before fusion": 2 * (2048 + 57),
        **{
            f"branch `{part}`": convolutions((own, own, 1), (8192, 512 if part == "plenary" else 256, 1))
            for part, own in channels.items()
        },
        "attribute classifiers": 257 * classes,
        "identity classifier": 513 * 751,
    }  # fmt: skip
    assert count_by_row("final") == expected
    alone = {"attribute classifiers": 513 * classes}
    assert count_by_row("intermediate") == {
        row: alone.get(row, 0 if "branch" in row and "plenary" not in row else n) for row, n in expected.items()
    }
    assert {row for row, n in count_by_row("pose").items() if n} == {row for row in ROWS if "pose net" in row}
    assert sum(count_by_row("baseline").values()) == expected["trunk, ResNet-50"] + 2049 * 751


def one_step(phase: str, batch: int = 0) -> dict[str, Any]:
    """What a step of the paper's preset says, in a process of its own; with the phase's own batch unless given."""
    outcome = subprocess.run(
        [sys.executable, "-c", STEP, phase, str(batch)],
        cwd=ROOT / "benchmarks",
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    found: dict[str, Any] = json.loads(outcome.stdout)
    return found


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_step_of_the_largest_phase_fits_into_memory() -> None:
    """A real one: 64 images of 256×128, in the precision that this processor has."""
    found = one_step("final")
    assert (found["batch"], found["size"]) == (64, [256, 128])
    assert Counter(name.split("/")[0] for name in found["terms"]) == TERMS["final"] | {"total": 1}
    assert 1e9 < found["peak"] < MAX_MEMORY


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["pose", "baseline", "intermediate"])
def test_every_phase_takes_a_step(phase: str) -> None:
    assert Counter(name.split("/")[0] for name in one_step(phase, batch=4)["terms"]) == TERMS[phase] | {"total": 1}


if __name__ == "__main__":
    print(parameter_table())

"""What whoever is handed an exported model reads first, in Markdown."""

from collections.abc import Mapping
from pathlib import Path

from reid.config import RunConfig, load_manifest
from reid.experiments import results
from reid.export import ONNX, PT2, Card
from reid.stages import find_stage
from reid.training import MODEL, STATE, PhaseState

TEXT = """# {name}: {layout}, from the phase `{phase}`

Describes an image of a person as a unit vector of {dim} numbers: the smaller the cosine distance, the more alike. Meant
to find the same person again in images of other cameras; it knows nobody's name.

## Input and output

- `images`: uint8, RGB, batch × 3 × {height} × {width}; one person each, cropped and resized; normalisation is inside
- `descriptor`: float32, batch × {dim}, unit vectors
- `{pt2}`: `torch.export.load('{pt2}').module()`; `{onnx}`: `onnxruntime.InferenceSession('{onnx}')`

## Training data

{title} (`{dataset}`), {identities:,} identities, {epochs} epochs in the last phase, seed {seed}. From: {url}.

Licence of the data: {licence} It may bind the model too.

## Scores

{scores}

## Limits

- Known on images like those it was trained on alone: other cameras, clothes, seasons and crops are worse, by how much
  must be measured there (`jobs/evaluate.py`).
- Looks are described, and clothes above all: who changes them is another person to it.
- Not examined for differences between groups of people. What it finds is a suggestion, never an identification, and
  to look for people by it may need a legal basis.
"""

PHASE_TEXT = """# {name}: {stage}, from the phase `{phase}`

Trained for {epochs} epochs on {data}, seed {seed}.{score}

`{model}` holds the weights, `{state}` all settings and measurements: `reid.load` takes this folder where the model
describes images. Without the optimiser, it is no checkpoint to go on from: that is `{checkpoint}`.
"""


def phase_card(state: PhaseState, checkpoint: str, data: str) -> str:
    """Of what a finished phase leaves.

    Args:
        data: name of the dataset that it was trained on.
    """
    metric, short = find_stage(state.stage).headline
    measured = state.history[-1].metrics
    return PHASE_TEXT.format(
        name=state.config.name,
        stage=state.stage,
        phase=state.phase,
        epochs=state.epoch,
        data=data,
        seed=state.config.seed,
        score=f" {short}: {measured[metric]:.1%}." if metric in measured else "",
        model=MODEL,
        state=STATE,
        checkpoint=checkpoint,
    )


def model_card(card: Card, config: RunConfig, state: PhaseState, rival: Mapping[str, float] | None) -> str:
    """Of a trained model.

    Args:
        config: settings that it was loaded with.
        state: of its last phase.
        rival: what the mean colour of an image reaches on the same query and gallery, if that is known.
    """
    source = config.data.source
    manifest = load_manifest(config.data.name, Path(source) if source else None)
    return TEXT.format(
        name=config.name,
        pt2=PT2,
        onnx=ONNX,
        phase=card.phase,
        layout=card.layout,
        dim=card.dim,
        height=card.height,
        width=card.width,
        dataset=manifest.name,
        title=manifest.title,
        url=manifest.url,
        licence=manifest.licence,
        identities=state.num_identities,
        epochs=state.epoch,
        seed=state.config.seed,
        scores=_scores(card, state, rival),
    )


def _scores(card: Card, state: PhaseState, rival: Mapping[str, float] | None) -> str:
    metrics = state.history[-1].metrics if state.history else {}
    if "eval/mAP" not in metrics:
        return "Not scored after its training."
    scores = {results.MEAN_COLOUR: dict(rival)} if rival else {}
    table = results.markdown(scores | {card.phase: results.of(metrics)})
    beside = "beside the mean colour of an image, the trivial rival" if rival else "without a trivial rival beside it"
    return f"Query against gallery of the same dataset, {beside}:\n\n{table}"

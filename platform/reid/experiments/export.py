"""Makes a checkpoint's model usable without this package: program files, and a version in MLflow's model registry."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from reid.config import RunConfig
from reid.experiments.model_card import model_card
from reid.experiments.records import open_recorder
from reid.export import CARD, ONNX, PT2, Card, example_images, export_descriptor
from reid.inference import descriptor_of
from reid.progress import say_result, track
from reid.stages import load_describer
from reid.storage import Place, Storage, room_for, whole_folder
from reid.tracking import MODEL_CARD, MODEL_NAME, Recorder, require_alias
from reid.training import load_state

PROGRAM_BYTES = 200_000
"""Of a program beside its weights, more or less."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What became of a checkpoint."""

    place: Place
    """Folder of the files."""
    card: Card
    version: str | None
    """In MLflow's registry; None when MLflow was out of reach."""


def run_export(config: RunConfig, *, checkpoint: Place, alias: str, output: Place | None) -> Published:
    """Export a checkpoint and register the result.

    Args:
        output: folder for the files; none = `exports/` of the storage.

    Raises:
        ValueError: settings, checkpoint, alias or output do not permit it, or what was exported fails the check.
        ConnectionError: MLflow did not take it; the files are there.
    """
    require_alias(alias)
    storage = Storage.of(config)
    storage.make_ready()
    recorder = open_recorder(config, storage)
    state = load_state(checkpoint)
    place = output or storage.place("exports", state.run or f"{config.name}.{state.phase}")
    published = publish_checkpoint(config, checkpoint, place, recorder=recorder, alias=alias, run_key=state.run)
    card = published.card
    say_result(f"input: uint8 RGB, batch × 3 × {card.height} × {card.width}; output: float32, batch × {card.dim}")
    if place.is_local:
        say_result(f"torch: torch.export.load('{place / PT2}').module()")
        say_result(f"ONNX: onnxruntime.InferenceSession('{place / ONNX}')")
    say_result(f"in Python: import reid; reid.load('{place}')")
    if published.version is None:
        raise ConnectionError(
            f"MLflow at {recorder.uri} did not take the model: the files are in {place}, export again"
        )
    say_result(f"MLflow: {recorder.uri}, model {MODEL_NAME}, version {published.version}, alias {alias}")
    say_result(
        f"load: mlflow.pytorch.load_model('models:/{MODEL_NAME}@{alias}') with MLFLOW_TRACKING_URI={recorder.uri}"
    )
    return published


def publish_checkpoint(
    config: RunConfig,
    checkpoint: Place,
    place: Place,
    *,
    recorder: Recorder,
    alias: str,
    run_key: str | None,
    rival: Mapping[str, float] | None = None,
) -> Published:
    """Export a checkpoint into a folder and register the result, as far as MLflow is within reach.

    A folder that holds an export is replaced, whatever it holds: what this process did not write is never loaded.

    Args:
        run_key: key of the run that trained it.
        rival: see `model_card`.

    Raises:
        ValueError: see `export_checkpoint`; or the alias is not allowed, or the folder holds something else.
    """
    try:
        if place.names() and not (place / CARD).exists():
            raise ValueError(f"{place} is not empty and holds no export: choose another folder for the export")
        with place.from_this_node(last=CARD) as folder:
            card = export_checkpoint(config, checkpoint, folder, rival)
            version = recorder.publish(folder, place=place, alias=alias, run_key=run_key)
    except OSError as error:
        raise ValueError(f"the export cannot be written to {place} ({error}): choose another folder for it") from error
    return Published(place=place, card=card, version=version)


def export_checkpoint(
    config: RunConfig, checkpoint: Place, folder: Path, rival: Mapping[str, float] | None = None
) -> Card:
    """Write a checkpoint's model as programs into a local folder, which is there whole or not at all.

    Raises:
        OSError: the folder cannot be written.
        ValueError: the checkpoint is damaged, of another architecture or has no descriptor, or a program fails the
            check.
        DiskFullError: there is no room for it.
    """
    trained = load_describer(checkpoint, config, torch.device("cpu"))
    descriptor = descriptor_of(trained, config)
    stage, history = trained.stage, trained.state.history
    card = Card(
        height=config.data.height,
        width=config.data.width,
        dim=descriptor(example_images(1, descriptor.image_size)).shape[1],
        phase=trained.state.phase,
        dataset=config.data.name,
        layout=stage.family if stage.layout is None else stage.layout(config),
        checkpoint=checkpoint,
        digest=descriptor.digest(),
        mAP=history[-1].metrics.get("eval/mAP") if history else None,
    )
    room = room_for(folder, 2 * (descriptor.size + PROGRAM_BYTES))
    with track(f"exporting {trained.state.phase}"), room, whole_folder(folder, replace=True) as partial:
        distances = export_descriptor(descriptor, card, partial)
        (partial / MODEL_CARD).write_text(model_card(card, config, trained.state, rival))
    for name, distance in distances.items():
        say_result(f"{name}: cosine distance from the model at most {distance:.1e}")
    return card

"""Makes a checkpoint's model usable without this package: program files, and a version in MLflow's model registry."""

import functools
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch

from reid.config import ModelConfig, RunConfig
from reid.jobs import command
from reid.jobs.checkpoints import CHECKPOINT_HELP, absolute, settings_of
from reid.jobs.records import recorder
from reid.models.export import CARD, ONNX, PT2, Card, Descriptor, example_images, export_descriptor
from reid.tracking import Recorder
from reid.tracking.registry import MODEL_NAME, require_alias
from reid.training.checkpoint import load_state
from reid.training.extraction import load_describer
from reid.training.storage import Storage

DEFAULT_ALIAS = "exported"


def main(argv: Sequence[str] | None = None) -> None:
    parser = command.parser(
        "Export a checkpoint's model from pixels to descriptor as a torch.export program and as ONNX, check both, and "
        f"register the program in MLflow as the model {MODEL_NAME}. Without --preset, the settings are those the "
        "checkpoint was trained with."
    )
    parser.add_argument("--checkpoint", required=True, metavar="PLACE", help=CHECKPOINT_HELP)
    parser.add_argument(
        "--alias",
        default=DEFAULT_ALIAS,
        metavar="NAME",
        help=f"moves to the registered version; {DEFAULT_ALIAS} if none",
    )
    parser.add_argument("--output", metavar="FOLDER", help="for the files; <storage>/exports/… if none")
    arguments = parser.parse_args(argv)
    checkpoint = absolute(arguments.checkpoint)
    command.run(
        functools.partial(run_export, checkpoint=checkpoint, alias=arguments.alias, output=arguments.output),
        arguments,
        base=lambda: settings_of(checkpoint),
    )


@dataclass(frozen=True, kw_only=True)
class Published:
    """What became of a checkpoint."""

    place: str
    """Folder of the files: a local path or a URI."""
    card: Card
    version: str | None
    """In MLflow's registry; None when MLflow was out of reach."""


def run_export(config: RunConfig, checkpoint: str, alias: str, output: str | None) -> Published:
    """Export a checkpoint and register the result.

    Raises:
        ValueError: settings, checkpoint, alias or output do not permit it, or what was exported fails the check.
        ConnectionError: MLflow did not take it; the files are there.
    """
    require_alias(alias)
    storage = Storage(config.storage)
    storage.require_writable()
    runs = recorder(config, storage, os.environ.get("MLFLOW_TRACKING_URI"))
    phase = load_state(checkpoint).phase
    run_key = run_of(checkpoint, phase)
    if output is None:
        names = ("exports", run_key or f"{config.name}.{phase}")
        published = publish_checkpoint(
            config, checkpoint, storage=storage, runs=runs, names=names, alias=alias, run_key=run_key
        )
    else:
        folder = Path(output).absolute()
        card = export_checkpoint(config, checkpoint, folder)
        version = runs.publish(folder, alias=alias, run_key=run_key)
        published = Published(place=str(folder), card=card, version=version)
    card, place = published.card, published.place
    print(f"input: uint8 RGB, batch × 3 × {card.height} × {card.width}; output: float32, batch × {card.dim}")
    print(f"torch: torch.export.load('{place}/{PT2}').module()")
    print(f"ONNX: onnxruntime.InferenceSession('{place}/{ONNX}')")
    if published.version is None:
        raise ConnectionError(f"MLflow at {runs.uri} did not take the model: the files are in {place}, export again")
    print(f"MLflow: {runs.uri}, model {MODEL_NAME}, version {published.version}, alias {alias}")
    print(f"load: mlflow.pytorch.load_model('models:/{MODEL_NAME}@{alias}') with MLFLOW_TRACKING_URI={runs.uri}")
    return published


def publish_checkpoint(
    config: RunConfig,
    checkpoint: str,
    *,
    storage: Storage,
    runs: Recorder,
    names: tuple[str, ...],
    alias: str,
    run_key: str | None,
) -> Published:
    """Export a checkpoint into a folder of the storage and register the result, as far as MLflow is within reach.

    Args:
        names: of the folder under the storage's root.
        run_key: key of the run that trained it.

    Raises:
        ValueError: see `export_checkpoint`; or the alias is not allowed.
    """
    folder = storage.scratch.joinpath(*names)
    card = export_checkpoint(config, checkpoint, folder)
    if not storage.is_local:
        for file in sorted(folder.iterdir()):
            storage.upload(file, *names, file.name)
    version = runs.publish(folder, alias=alias, run_key=run_key)
    return Published(place=storage.place(*names), card=card, version=version)


def export_checkpoint(config: RunConfig, checkpoint: str, folder: Path) -> Card:
    """Write a checkpoint's model as programs into a local folder, which is there whole or not at all.

    A folder that holds the same model is left as it is, one that holds another export is replaced.

    Raises:
        ValueError: the checkpoint is damaged, of another architecture or of the pose phase, a program fails the check,
            or the folder holds something else or cannot be written.
    """
    model, state = load_describer(checkpoint, config, torch.device("cpu"))
    descriptor = Descriptor(model, (config.data.height, config.data.width))
    digest = descriptor.digest()
    try:
        if folder.is_dir() and any(folder.iterdir()):
            if not (folder / CARD).is_file():
                raise ValueError(f"{folder} is not empty and holds no export: choose another folder for the export")
            if (former := Card.read(folder)).digest == digest:
                return former
        card = Card(
            height=config.data.height,
            width=config.data.width,
            dim=descriptor(example_images(1, descriptor.image_size)).shape[1],
            phase=state.phase,
            dataset=config.data.name,
            layout=_layout(config.model),
            checkpoint=checkpoint,
            digest=digest,
            mAP=state.history[-1].metrics.get("eval/mAP") if state.history else None,
        )
        _write(descriptor, card, folder)
    except OSError as error:
        raise ValueError(f"the export cannot be written to {folder} ({error}): choose another folder for it") from error
    return card


def run_of(checkpoint: str, phase: str) -> str | None:
    """Key of the run that a checkpoint lies in the folder of; None where it lies elsewhere."""
    *_, run, folder, _ = ("", "", *PurePosixPath(checkpoint).parts)
    return f"{run}.{phase}" if folder == phase else None


def _write(descriptor: Descriptor, card: Card, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    written = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        distances = export_descriptor(descriptor, card, written)
        written.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        written.rename(folder)
    finally:
        shutil.rmtree(written, ignore_errors=True)
    for name, distance in distances.items():
        print(f"{name}: cosine distance from the model at most {distance:.1e}", flush=True)


def _layout(model: ModelConfig) -> str:
    return model.layout if isinstance(model.layout, str) else "+".join(part.name for part in model.layout.parts)

"""The configuration of a whole run: one frozen, typed tree."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from reid.config.data import DataConfig
from reid.config.extensions import load_extensions
from reid.config.model import ModelConfig
from reid.config.search import SearchConfig
from reid.config.secrets import require_no_password
from reid.config.section import Count, Positive, Section
from reid.config.training import MAX_WORKERS, LossConfig, PhaseConfig, ScalingConfig

PhaseName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class EvaluationConfig(Section):
    """Scoring query against gallery."""

    every: Count = 0
    """Epochs between evaluations within a phase; 0 = after its last epoch alone."""
    sample: Count = 16
    """Identities, of those that are scored in the end, that a phase is followed by after every epoch, in a gallery of
    theirs alone, which is far easier than the whole; where there are none, as in scenes, 16 images for each; 0 = not
    followed."""
    batch_size: Positive = 128
    """Images per forward pass and worker."""
    average_precision: Literal["rectangle", "trapezoid"] = "rectangle"
    """`trapezoid` is the original MATLAB evaluation."""
    rerank: bool = False
    """Also score after k-reciprocal re-ranking; its time grows with the number of images squared."""


class AblationConfig(Section):
    """`jobs/ablation.py`: what each component brings, at equal training budgets."""

    seeds: Positive = 3
    """Trainings of every row of the table, with `seed`, `seed` + 1, …"""
    epoch_share: float = Field(1.0, gt=0, le=1)
    """Share of the configured epochs that is trained, to afford many trainings."""
    workers: int = Field(1, ge=1, le=MAX_WORKERS)
    """Workers of each training, in place of `scaling.num_workers`; what they leave of the cluster trains others."""


class TrackingConfig(Section):
    """MLflow."""

    uri: str | None = None
    """Tracking server; none = `$MLFLOW_TRACKING_URI`, else the database `<storage>/mlflow.db`."""
    experiment: str = Field("reid", pattern=r"^[^\x00-\x1f]{1,256}$")
    """Name of MLflow's experiment, in which all runs are listed together."""


CACHE_GB = 100.0


def default_storage() -> str:
    """`$REID_STORAGE`, else `~/reid`."""
    return os.environ.get("REID_STORAGE") or str(Path("~/reid").expanduser())


class RunConfig(Section):
    """A whole run."""

    name: str = Field("fgsam", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Name of the run, in its folder and in MLflow."""
    storage: str = Field(default_factory=default_storage)
    """Root of everything a run writes: a local folder or a pyarrow.fs URI; `$REID_STORAGE` if none, else `~/reid`."""
    cache_gb: float = Field(CACHE_GB, ge=0, le=1e6)
    """Most that copies of remote stores, and what was computed of images once (pose maps, textures), take on a node, or
    under a local storage, in 10^9 bytes. What was not used for longest is removed first, and nothing that a job uses.
    """
    seed: int = Field(0, ge=0, lt=2**31)
    """Of every random draw of the run: new weights, batches, augmentation, held-out identities, trials."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` is bf16 autocast where the hardware has it, else fp32."""
    channels_last: bool = True
    """Memory format of images and convolutions."""
    extensions: tuple[str, ...] = ()
    """Python files or modules that add to the tables: models, stages, layouts, spaces, readers, presets."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    models: dict[str, SerializeAsAny[Section]] = Field(default_factory=dict)
    """Settings of models other than FGSAM, by family."""
    loss: LossConfig = LossConfig()
    phases: dict[PhaseName, PhaseConfig] = Field(min_length=1)
    """Phases by name, in the order in which they run."""
    scaling: ScalingConfig = ScalingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    ablation: AblationConfig = AblationConfig()
    search: SearchConfig = SearchConfig()
    tracking: TrackingConfig = TrackingConfig()

    @field_validator("phases", mode="before")
    @classmethod
    def _null_leaves_out(cls, phases: Any) -> Any:
        """`phases.pose=null` takes a preset's phase out."""
        if not isinstance(phases, dict):
            return phases
        return {name: phase for name, phase in phases.items() if phase is not None}

    @field_validator("storage")
    @classmethod
    def _absolute(cls, storage: str) -> str:
        if not storage:
            raise ValueError("is empty: give a folder, or a URI such as s3://bucket/reid")
        require_no_password(storage)
        return storage if "://" in storage else str(Path(storage).expanduser().absolute())

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """A configuration that comes from another process brings its extensions with it."""
        super().__setstate__(state)
        load_extensions(self.extensions)

    def settings_of(self, family: str) -> Section:
        """The settings of a model's family.

        Raises:
            ValueError: there is no such family.
        """
        known = {"fgsam": self.model, **self.models}
        if family not in known:
            raise ValueError(f"invalid model '{family}', expected one of {', '.join(known)}")
        return known[family]

    @model_validator(mode="after")
    def _workers_share_the_batch(self) -> "RunConfig":
        problems = []
        for name, phase in self.phases.items():
            units = phase.batch_size // (phase.images_per_identity or 1)
            if self.scaling.max_workers > units:
                what = "identities" if phase.images_per_identity else "images"
                problems.append(
                    f"phases.{name}.batch_size: gives {units} {what} a batch for "
                    f"scaling.num_workers = {self.scaling.max_workers}: raise the one or lower the other"
                )
        if problems:
            raise ValueError("\n".join(problems))
        return self

"""The configuration of a whole run: one frozen, typed tree."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_serializer,
    field_validator,
    model_validator,
)

from reid.config.body import LAYOUTS, Layout
from reid.config.search import SearchConfig
from reid.config.secrets import without_passwords
from reid.config.section import Section

Stage = Literal["pose", "baseline", "intermediate", "final"]
MAX_WORKERS = 4096
Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0, le=1e4, allow_inf_nan=False)]
PhaseName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]

UNION_TAGS = ("<named>", "<written out>")
"""How pydantic names the two ways to give a layout within the place of an error."""


def _way_to_give_layout(layout: Any) -> str:
    return UNION_TAGS[isinstance(layout, dict | Layout)]


def _whole_number_or_range(workers: Any) -> int | tuple[int, int]:
    match workers:
        case int() if 0 <= workers <= MAX_WORKERS:
            return workers
        case int(fewest), int(most) if 1 <= fewest <= most <= MAX_WORKERS:
            return fewest, most
    raise ValueError(
        f"must be a whole number from 0 to {MAX_WORKERS}, or [min, max] with 1 ≤ min ≤ max for an elastic run"
    )


DATASET_LAYOUT = "dataset"


class AugmentationConfig(Section):
    """Random changes to training images, drawn for the whole global batch; the paper has the flip alone."""

    flip: float = Field(0.5, ge=0, le=1)
    """Probability of a horizontal flip."""
    pad: int = Field(0, ge=0, le=64)
    """Pixels of zero padding around the image before a crop of the original size; 0 = no crop."""
    erase: float = Field(0.0, ge=0, le=1)
    """Probability of erasing one random rectangle."""
    colour: float = Field(0.0, ge=0, lt=1)
    """Largest relative change of each colour channel's gain and of the contrast, e.g. 0.2."""


class DataConfig(Section):
    """Which images, from where, at what size."""

    name: str = "embedded"
    """A manifest in `datasets/`, such as `market1501`; `embedded` renders the benchmark that comes with the project."""
    source: str | None = None
    """Folder of the dataset in its original format; not used by `embedded`."""
    pose_source: str | None = None
    """Folder of COCO (`annotations/`, `train2017/`) for the pose phase; not used by `embedded`."""
    pose_images: Literal["crops", "whole"] = "crops"
    """What the pose phase sees: an upright crop of each person, or whole images fitted into the model's input, where
    people are smaller."""
    size: Literal["smoke", "demo", "market"] = "demo"
    """How much `embedded` renders."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of what `embedded` renders; apart from the run's, so that runs with other seeds see the same people."""
    height: int = Field(256, ge=16, le=1024, multiple_of=8)
    """Height of the model's input in pixels."""
    width: int = Field(128, ge=16, le=1024, multiple_of=8)
    """Width of the model's input in pixels."""
    encoding: Literal["raw", "compressed"] = "raw"
    """Pixels in the Arrow store, or the original JPEG/PNG bytes (smaller, decoded anew for each batch)."""
    augmentation: AugmentationConfig = AugmentationConfig()


class PoseNetConfig(Section):
    """The pose resolve net."""

    width: float = Field(1.0, gt=0, le=4)
    """Channels as a multiple of the paper's."""
    stages: int = Field(3, ge=1, le=6)
    """Two-stream stages behind the VGG front end."""
    parse_blocks: bool = True
    """Channel parse blocks after every stage (Table V)."""
    weights: str | None = None
    """A safetensors or torch file of an OpenPose COCO body model, for the whole net, or of a VGG-19, for its front end;
    `imagenet` for torchvision's VGG-19; none = from scratch."""


class ModelConfig(Section):
    """FGSAM."""

    trunk: str = "resnet50"
    """Any torchvision classification trunk by name."""
    weights: str | None = "imagenet"
    """`imagenet` for torchvision's default weights, a local weights file, or none = from scratch."""
    last_stride: Literal[1, 2] = 2
    """Stride of a ResNet's last stage."""
    pose: bool = True
    """Whether the pose maps are fused in; without, every branch sees the trunk alone (Table IV)."""
    pose_net: PoseNetConfig = PoseNetConfig()
    sketch_dim: int = Field(8192, ge=16, le=65536)
    """Length of the compact bilinear sketch."""
    layout: Annotated[
        Annotated[str, Tag(UNION_TAGS[0])] | Annotated[Layout, Tag(UNION_TAGS[1])], Discriminator(_way_to_give_layout)
    ] = "six_parts"
    """A named branch layout, one written out, or `dataset`: the one that the dataset's manifest names."""
    batch_norm: Literal["local", "synchronised", "frozen"] = "local"
    """Statistics per worker, over all workers (GPU only), or not updated at all."""

    @field_validator("layout")
    @classmethod
    def _layout_exists(cls, layout: str | Layout) -> str | Layout:
        known = (DATASET_LAYOUT, *LAYOUTS)
        if isinstance(layout, str) and layout not in known:
            raise ValueError(f"invalid layout '{layout}', expected one of {', '.join(known)}, or parts written out")
        return layout

    def resolved_layout(self) -> Layout:
        assert self.layout != DATASET_LAYOUT, "the job replaces it by the manifest's"
        return LAYOUTS[self.layout] if isinstance(self.layout, str) else self.layout


class LossConfig(Section):
    """The focal triplet loss (eq. 10) and the weights of the total loss (eq. 11)."""

    triplet: Literal["focal", "plain"] = "focal"
    """`plain` is eq. 9: no focal weight, no absolute constraint."""
    alpha: float = Field(0.5, ge=0, le=4, allow_inf_nan=False)
    """Margin α between intra- and inter-class distance."""
    beta: float = Field(0.01, ge=0, le=4, allow_inf_nan=False)
    """Largest intra-class distance β that costs nothing."""
    gamma: float = Field(2.0, ge=0, le=16, allow_inf_nan=False)
    """Exponent γ of the focal weight."""
    mining: Literal["batch_all", "batch_hard"] = "batch_all"
    """Every valid triplet of the global batch, or the hardest positive and negative of each anchor."""
    identity_weight: Weight = 1.0
    attribute_weight: Weight = 1.0
    triplet_weight: Weight = 1.0
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Smoothing of the identity labels; the paper has none."""


class PhaseConfig(Section):
    """One training phase. It starts from the weights that all phases before it left."""

    stage: Stage
    """What is trained: the model's stage and with it the objective and the dataset."""
    epochs: Positive
    learning_rate: float = Field(gt=0, le=1, allow_inf_nan=False)
    """Adam's initial learning rate."""
    halve_every: int = Field(ge=1)
    """Epochs after which the learning rate is halved, again and again."""
    warmup: int = Field(0, ge=0)
    """Epochs over which the learning rate first rises linearly; the paper has none."""
    batch_size: int = Field(64, ge=2)
    """Images in a global batch, over all workers."""
    images_per_identity: int | None = Field(None, ge=2)
    """K of identity-balanced P×K batches, P = batch_size / K; none = shuffled batches."""

    @model_validator(mode="after")
    def _batch_divides(self) -> "PhaseConfig":
        if self.images_per_identity and self.batch_size % self.images_per_identity:
            raise ValueError(
                f"batch_size = {self.batch_size} is no multiple of images_per_identity = {self.images_per_identity}: "
                "change one of them"
            )
        if self.images_per_identity and self.batch_size < 2 * self.images_per_identity:
            raise ValueError("a P×K batch needs two identities at least: raise batch_size or lower images_per_identity")
        if self.stage == "pose" and self.images_per_identity:
            raise ValueError("the pose phase has no identities: leave images_per_identity out")
        return self


class ScalingConfig(Section):
    """How a phase is spread over the cluster."""

    num_workers: Annotated[int | tuple[int, int], BeforeValidator(_whole_number_or_range)] = 1
    """Workers; (min, max) grows and shrinks with the cluster; 0 trains in the driver's process, for debugging."""
    accelerator: Literal["auto", "gpu", "cpu"] = "auto"
    """`auto` takes GPUs when the cluster has one for each worker."""
    cpus_per_worker: float = Field(1, gt=0)
    gpus_per_worker: float = Field(1, gt=0)
    """GPUs of each worker where GPUs are used; below 1, several workers share one."""
    max_failures: int = Field(3, ge=0)
    """Times a phase may restart from its last checkpoint after a worker was lost."""
    start_timeout: float = Field(120, gt=0)
    """Seconds to wait for the cluster to place the workers."""

    @property
    def min_workers(self) -> int:
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[0]

    @property
    def max_workers(self) -> int:
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[1]


class EvaluationConfig(Section):
    """Scoring query against gallery."""

    every: int = Field(0, ge=0)
    """Epochs between evaluations within a phase; 0 = after its last epoch alone."""
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
    experiment: str = Field("reid", min_length=1)

    @field_serializer("uri", when_used="json-unless-none")
    def _masked(self, uri: str) -> str:
        """What is dumped as JSON is recorded and printed; a job and its workers hold the address as it is."""
        return without_passwords(uri)


class RunConfig(Section):
    """A whole run."""

    name: str = Field("fgsam", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Name of the run, in its folder and in MLflow."""
    storage: str = Field(default_factory=lambda: os.environ.get("REID_STORAGE") or str(Path("~/reid").expanduser()))
    """Root of everything a run writes: a local folder or a pyarrow.fs URI."""
    seed: int = Field(0, ge=0, lt=2**31)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` is bf16 autocast where the hardware has it, else fp32."""
    channels_last: bool = True
    """Memory format of images and convolutions."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
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
        if without_passwords(storage) != storage:
            raise ValueError("holds a password, which every record would show: give it by the environment instead")
        return storage if "://" in storage else str(Path(storage).expanduser().absolute())

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

"""Settings of training: the loss, the phases, and how a phase is spread over the cluster."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from reid.config.section import Count, Positive, Section

MAX_WORKERS = 4096
MAX_TIMEOUT = 7 * 24 * 3600
Weight = Annotated[float, Field(ge=0, le=1e4, allow_inf_nan=False)]


def _whole_number_or_range(workers: Any) -> int | tuple[int, int]:
    match workers:
        case int() if 0 <= workers <= MAX_WORKERS:
            return workers
        case int(fewest), int(most) if 1 <= fewest <= most <= MAX_WORKERS:
            return fewest, most
    raise ValueError(
        f"must be a whole number from 0 to {MAX_WORKERS}, or [min, max] with 1 ≤ min ≤ max for an elastic run"
    )


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
    averaging: Literal["valid", "active"] = "valid"
    """Over all mined triplets, or over those alone that cost anything: easy ones then do not shrink the loss."""
    reduction: Literal["sum", "mean"] = "sum"
    """How the terms of several attributes, and those of several branches, are put together; eq. 11 sums them."""
    identity_weight: Weight = 1.0
    """Factor of the identity loss in the sum."""
    attribute_weight: Weight = 1.0
    """Factor of the attributes' loss."""
    triplet_weight: Weight = 1.0
    """Factor of the triplet loss."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Smoothing of the identity labels; the paper has none."""


class PhaseConfig(Section):
    """One training phase. It starts from the weights that the phases before it left."""

    stage: str
    """What is trained, a row of the stage table: the form of the model, and with it the loss and the dataset."""
    epochs: Positive
    """Epochs in all; an interrupted phase trains those that are left."""
    learning_rate: float = Field(gt=0, le=1, allow_inf_nan=False)
    """Adam's initial learning rate."""
    halve_every: Positive
    """Epochs after which the learning rate is halved, again and again."""
    decay: Literal["halve", "cosine"] = "halve"
    """`cosine` lets the learning rate fall to zero along half a cosine over the phase, in place of halving it."""
    warmup: Count = 0
    """Epochs over which the learning rate first rises; the paper has none."""
    warmup_curve: Literal["linear", "exponential"] = "linear"
    """From next to nothing along a line, by step; or from a hundredth by an equal factor after each epoch."""
    decay_from: Literal["start", "warmup"] = "start"
    """Whether the epochs of halving or cosine are counted from the first, or from the end of the warm-up."""
    batch_size: int = Field(64, ge=2, lt=2**31)
    """Images in a global batch, over all workers."""
    images_per_identity: int | None = Field(None, ge=2, lt=2**31)
    """K of identity-balanced P×K batches, P = batch_size / K; none = shuffled batches."""
    weight_decay: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    """Adam's weight decay, an L2 penalty; the paper has none."""
    amsgrad: bool = False
    """Whether Adam keeps the largest second moment (AMSGrad)."""
    rates: dict[str, Weight] = Field(default_factory=dict)
    """Learning rate of a module of the model, as a multiple of the phase's, such as {pose_net: 0.1}, or
    {pose_net.front_end: 0.1} for a part of it; 0 = frozen: weights and statistics stay as they are. Where none is given
    it is 1, but 0 for modules that the stage keeps as a former phase left them: FGSAM's pose resolve net after its own
    phase, up to the last parse block."""
    clip_gradient: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Largest norm of the gradient of all weights together; larger ones are scaled down; none = not clipped."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay of an exponential moving average of the weights, by step, which is then what the phase leaves; 0 = none."""

    @model_validator(mode="after")
    def _batch_divides(self) -> "PhaseConfig":
        if self.images_per_identity and self.batch_size % self.images_per_identity:
            raise ValueError(
                f"batch_size = {self.batch_size} is no multiple of images_per_identity = {self.images_per_identity}: "
                "change one of them"
            )
        if self.images_per_identity and self.batch_size < 2 * self.images_per_identity:
            raise ValueError("a P×K batch needs two identities at least: raise batch_size or lower images_per_identity")
        return self


class ScalingConfig(Section):
    """How a phase is spread over the cluster."""

    num_workers: Annotated[int | tuple[int, int], BeforeValidator(_whole_number_or_range)] = 1
    """Workers; (min, max) grows and shrinks with the cluster; 0 trains in the driver's process, for debugging."""
    accelerator: Literal["auto", "gpu", "cpu"] = "auto"
    """`auto` takes GPUs when the cluster has one for each worker."""
    cpus_per_worker: float = Field(1, gt=0, le=4096)
    """CPU cores that the cluster reserves for each worker, and threads that it computes with."""
    gpus_per_worker: float = Field(1, gt=0, le=4096)
    """GPUs of each worker where GPUs are used; below 1, several workers share one."""
    max_failures: Count = 3
    """Times a phase may restart from its last checkpoint after a worker was lost."""
    checkpoint_epochs: Positive = 1
    """A checkpoint is written after an epoch if so many have been trained since the last one, and after the last. An
    epoch is recorded, and a trial judged by it, once a checkpoint holds it: what a crash takes was never recorded."""
    checkpoint_minutes: float = Field(0, ge=0, le=MAX_TIMEOUT / 60)
    """And if so many minutes have passed since the last one."""
    start_timeout: float = Field(120, gt=0, le=MAX_TIMEOUT)
    """Seconds to wait for the cluster to place the workers, at first and whenever some were lost."""

    @property
    def min_workers(self) -> int:
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[0]

    @property
    def max_workers(self) -> int:
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[1]

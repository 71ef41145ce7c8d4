"""Settings of the hyper-parameter search."""

from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from reid.config.body import LAYOUTS
from reid.config.section import Positive, Section

Objective = Literal["mAP", "descriptor_dim", "images_per_second"]


class SearchConfig(Section):
    """`jobs/sweep.py`: a search over settings of the last phase, by mAP on identities held out of training."""

    space: str = "focal_triplet"
    """A space by name (focal_triplet, branch_layout, optimizer, joint, san), or `FILE.py` with a function `space`, or
    `FILE.py:function`."""
    layouts: tuple[str, ...] = ()
    """Named layouts that `branch_layout` starts from; none = all that there are when the sweep begins."""
    trials: Positive = 16
    """Trials in all, failed ones and the first, the configuration as it is, included."""
    random_trials: Positive = 10
    """Until so many trials are over, failed ones aside, all are drawn at random; then TPE suggests from them."""
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)] = ("mAP",)
    """`mAP` first, on held-out identities; then what it is weighed against: `descriptor_dim` (smaller is better) or
    `images_per_second` of training (more is better)."""
    held_out: float = Field(0.2, gt=0, lt=1)
    """Share of the training split's identities that trials are scored on and never trained on."""
    early_stopping: bool = True
    """Stop weak trials early (asynchronous successive halving, by epoch); with several objectives none is, since a
    small descriptor may be worth a lower mAP."""
    grace: Positive = 1
    """Epochs that every trial gets."""
    reduction: int = Field(3, ge=2, lt=2**31)
    """One trial in so many goes on at epoch `grace`, again at `grace` · `reduction`, and so on."""
    workers: Positive = 1
    """Workers of each trial, in place of `scaling.num_workers`."""
    concurrency: Positive | None = None
    """Most trials at a time; none = as many as the cluster holds, which is never exceeded."""
    study: str | None = None
    """Database of the Optuna study, any SQLAlchemy address; none = that in `$REID_STUDY`, else the file `study.db` in
    the run's folder. Where it has a password, only the environment keeps it out of command lines."""
    retrain: bool = True
    """Train the winner, and the configuration as it is, on all of train and score both on query and gallery."""

    @field_validator("layouts")
    @classmethod
    def _layouts_exist(cls, layouts: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [layout for layout in layouts if layout not in LAYOUTS]
        if unknown:
            raise ValueError(f"invalid layout '{unknown[0]}', expected some of {', '.join(LAYOUTS)}")
        return layouts

    @field_validator("objectives")
    @classmethod
    def _mAP_comes_first(cls, objectives: tuple[Objective, ...]) -> tuple[Objective, ...]:  # noqa: N802
        if objectives[0] != "mAP" or len(set(objectives)) < len(objectives):
            raise ValueError(f"must be mAP, then any of {', '.join(get_args(Objective)[1:])}, each once")
        return objectives

"""What a stage is, and the loop that trains any of them: one step, one cadence, checkpoints. Without a cluster."""

from reid.training.checkpoint import (
    MODEL,
    PICTURES,
    STATE,
    Save,
    load_into,
    load_state,
    load_weights,
    pictures_in,
    require_sound,
    save_pictures,
)
from reid.training.device import autocast, choose_device, resolve_precision
from reid.training.distributed import ProcessGroupRanks, gather_rows, rank_and_world
from reid.training.job import PhaseJob, Scoring, rates_of
from reid.training.loop import derive_seed, epoch_images, require_trainable, run_phase
from reid.training.optimizer import Rates, make_optimizer, train_mode
from reid.training.phase_folder import (
    KEPT_CHECKPOINTS,
    Cadence,
    best_checkpoint,
    checkpoints_in,
    last_sound_checkpoint,
    write_checkpoint,
)
from reid.training.stage import Build, Evaluate, Know, Known, Labels, Stage, StageLoss, Terms, without_training_modules
from reid.training.state import CheckpointError, DamagedCheckpointError, EpochRecord, PhaseState
from reid.training.step import NonFiniteLossError, train_step
from reid.training.writer import CheckpointWriter

__all__ = [
    "KEPT_CHECKPOINTS",
    "MODEL",
    "PICTURES",
    "STATE",
    "Build",
    "Cadence",
    "CheckpointError",
    "CheckpointWriter",
    "DamagedCheckpointError",
    "EpochRecord",
    "Evaluate",
    "Know",
    "Known",
    "Labels",
    "NonFiniteLossError",
    "PhaseJob",
    "PhaseState",
    "ProcessGroupRanks",
    "Rates",
    "Save",
    "Scoring",
    "Stage",
    "StageLoss",
    "Terms",
    "autocast",
    "best_checkpoint",
    "checkpoints_in",
    "choose_device",
    "derive_seed",
    "epoch_images",
    "gather_rows",
    "last_sound_checkpoint",
    "load_into",
    "load_state",
    "load_weights",
    "make_optimizer",
    "pictures_in",
    "rank_and_world",
    "rates_of",
    "require_sound",
    "require_trainable",
    "resolve_precision",
    "run_phase",
    "save_pictures",
    "train_mode",
    "train_step",
    "without_training_modules",
    "write_checkpoint",
]

"""The stage table: every form of every model, with its loss and how it is judged."""

from reid.stages.rehearsal import rehearse
from reid.stages.retrieval import PLAIN, describe, retrieval_metrics, score, score_mean_colour, score_most_common
from reid.stages.table import (
    STAGES,
    Trained,
    built_on,
    check_phases,
    find_stage,
    load_describer,
    load_model,
    score_checkpoint,
    stage_of,
)

__all__ = [
    "PLAIN",
    "STAGES",
    "Trained",
    "built_on",
    "check_phases",
    "describe",
    "find_stage",
    "load_describer",
    "load_model",
    "rehearse",
    "retrieval_metrics",
    "score",
    "score_checkpoint",
    "score_mean_colour",
    "score_most_common",
    "stage_of",
]

"""Scores of re-identification features and attribute predictions. All accuracies are fractions in 0..1."""

from reid.evaluation.attributes import (
    ATTRIBUTE_PROTOCOLS,
    AttributeScores,
    attribute_accuracy,
    attribute_metrics,
    pedestrian_attribute_scores,
)
from reid.evaluation.cameras import CameraPairs, camera_pairs
from reid.evaluation.floor import mean_colour_descriptor
from reid.evaluation.nearest import Nearest, Ranking, nearest, rank
from reid.evaluation.neighbours import Neighbours, nearest_kept, spread_by_precision
from reid.evaluation.pointing import ON_PART, Pointed, judge_pointing
from reid.evaluation.pose import THRESHOLD, JudgedJoints, judge_joints, pck_by_joint
from reid.evaluation.rerank import k_reciprocal_distances, require_rerankable
from reid.evaluation.result import Evaluation
from reid.evaluation.retrieval import (
    QueryScores,
    RetrievalResult,
    evaluate_retrieval,
    score_distances,
    score_queries,
    summarise,
)

__all__ = [
    "ATTRIBUTE_PROTOCOLS",
    "ON_PART",
    "THRESHOLD",
    "AttributeScores",
    "CameraPairs",
    "Evaluation",
    "JudgedJoints",
    "Nearest",
    "Neighbours",
    "Pointed",
    "QueryScores",
    "Ranking",
    "RetrievalResult",
    "attribute_accuracy",
    "attribute_metrics",
    "camera_pairs",
    "evaluate_retrieval",
    "judge_joints",
    "judge_pointing",
    "k_reciprocal_distances",
    "mean_colour_descriptor",
    "nearest",
    "nearest_kept",
    "pck_by_joint",
    "pedestrian_attribute_scores",
    "rank",
    "require_rerankable",
    "score_distances",
    "score_queries",
    "spread_by_precision",
    "summarise",
]

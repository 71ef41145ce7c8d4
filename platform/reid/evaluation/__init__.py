"""Scores of re-identification features and attribute predictions. All accuracies are fractions in 0..1."""

from .attributes import (
    ATTRIBUTE_PROTOCOLS,
    AttributeScores,
    attribute_accuracy,
    attribute_metrics,
    pedestrian_attribute_scores,
)
from .floor import mean_colour_descriptor
from .rerank import k_reciprocal_distances
from .result import Evaluation
from .retrieval import (
    QueryScores,
    RetrievalResult,
    evaluate_retrieval,
    score_distances,
    score_queries,
    summarise,
)

__all__ = [
    "ATTRIBUTE_PROTOCOLS",
    "AttributeScores",
    "Evaluation",
    "QueryScores",
    "RetrievalResult",
    "attribute_accuracy",
    "attribute_metrics",
    "evaluate_retrieval",
    "k_reciprocal_distances",
    "mean_colour_descriptor",
    "pedestrian_attribute_scores",
    "score_distances",
    "score_queries",
    "summarise",
]

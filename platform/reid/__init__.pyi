from .data import Dataset, open_dataset
from .evaluation import Ranking, RetrievalResult, evaluate_retrieval, rank
from .inference import Model, load

__all__ = [
    "Dataset",
    "Model",
    "Ranking",
    "RetrievalResult",
    "evaluate_retrieval",
    "load",
    "open_dataset",
    "rank",
]

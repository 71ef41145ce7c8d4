"""What the jobs do: pipelines, sweeps, ablations, and the uses of a trained model."""

from reid.experiments.ablation import run_ablation
from reid.experiments.data import prepare_all
from reid.experiments.estimate import run_dry
from reid.experiments.evaluation import run_evaluation
from reid.experiments.export import run_export
from reid.experiments.extraction import Extraction, file_in, run_extraction
from reid.experiments.flush import run_flush
from reid.experiments.lookup import Lookup
from reid.experiments.matches import Matching, match_tables
from reid.experiments.pipeline import run_pipeline
from reid.experiments.sweep import run_sweep

__all__ = [
    "Extraction",
    "Lookup",
    "Matching",
    "file_in",
    "match_tables",
    "prepare_all",
    "run_ablation",
    "run_dry",
    "run_evaluation",
    "run_export",
    "run_extraction",
    "run_flush",
    "run_pipeline",
    "run_sweep",
]

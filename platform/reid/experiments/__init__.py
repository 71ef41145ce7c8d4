"""What the jobs do: pipelines, sweeps, ablations, and the uses of a trained model."""

from reid.experiments.ablation import run_ablation
from reid.experiments.data import prepare_all
from reid.experiments.estimate import run_dry
from reid.experiments.evaluation import run_evaluation
from reid.experiments.export import run_export
from reid.experiments.extraction import FILE_NAME, Extraction, run_extraction, table_in
from reid.experiments.flush import run_flush
from reid.experiments.lookup import Lookup
from reid.experiments.pipeline import run_pipeline
from reid.experiments.sweep import run_sweep

__all__ = [
    "FILE_NAME",
    "Extraction",
    "Lookup",
    "prepare_all",
    "run_ablation",
    "run_dry",
    "run_evaluation",
    "run_export",
    "run_extraction",
    "run_flush",
    "run_pipeline",
    "run_sweep",
    "table_in",
]

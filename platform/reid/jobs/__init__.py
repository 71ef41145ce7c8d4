"""The command line: `reid` and each of its commands."""

from reid.jobs.ablation import ablation
from reid.jobs.config import config
from reid.jobs.evaluate import evaluate
from reid.jobs.export import export
from reid.jobs.extract import extract
from reid.jobs.flush import flush
from reid.jobs.group import main
from reid.jobs.page import page
from reid.jobs.pipeline import pipeline
from reid.jobs.prepare import prepare
from reid.jobs.sweep import sweep
from reid.jobs.ui import ui

__all__ = [
    "ablation",
    "config",
    "evaluate",
    "export",
    "extract",
    "flush",
    "main",
    "page",
    "pipeline",
    "prepare",
    "sweep",
    "ui",
]

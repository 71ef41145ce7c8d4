#!/usr/bin/env python3
"""Scores a checkpoint on query and gallery of the configured dataset and records the scores in MLflow."""

import sys
from pathlib import Path

# what runs is the tree that was submitted, whatever version is installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from reid.jobs.evaluation import main

if __name__ == "__main__":
    main()

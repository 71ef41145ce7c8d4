#!/usr/bin/env python3
"""Trains every phase of FGSAM, scores each and records all in MLflow."""

import sys
from pathlib import Path

# what runs is the tree that was submitted, whatever version is installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from reid.jobs.pipeline import main

if __name__ == "__main__":
    main()

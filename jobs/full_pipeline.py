#!/usr/bin/env python3
"""Trains every phase of FGSAM, scores each and records all in MLflow."""

import _tree  # noqa: F401 - first: it puts this tree's package on the path

from reid.jobs.full_pipeline import main

if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Scores a checkpoint on query and gallery of the configured dataset and records the scores in MLflow."""

import _tree  # noqa: F401 - first: it puts this tree's package on the path

from reid.jobs import evaluate

if __name__ == "__main__":
    evaluate()

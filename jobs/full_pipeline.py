#!/usr/bin/env python3
"""Trains every phase of FGSAM, scores each and records all in MLflow."""

import source  # noqa: F401 - first: the submitted tree goes before any installed package

from reid.jobs.pipeline import main

if __name__ == "__main__":
    main()

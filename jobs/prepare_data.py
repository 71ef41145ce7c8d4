#!/usr/bin/env python3
"""Prepares the configured datasets as Arrow stores, rendering the embedded benchmark if that is what is configured."""

import sys
from pathlib import Path

# what runs is the tree that was submitted, whatever version is installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from reid.jobs.data import main

if __name__ == "__main__":
    main()

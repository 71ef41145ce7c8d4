#!/usr/bin/env python3
"""Prepares the configured datasets as Arrow stores, rendering the embedded benchmark if that is what is configured."""

import _tree  # noqa: F401 - first: it puts this tree's package on the path

from reid.jobs import prepare

if __name__ == "__main__":
    prepare()

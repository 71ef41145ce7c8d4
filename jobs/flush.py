#!/usr/bin/env python3
"""Sends MLflow the records that earlier jobs could not."""

import _tree  # noqa: F401 - first: it puts this tree's package on the path

from reid.jobs import flush

if __name__ == "__main__":
    flush()

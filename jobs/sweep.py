#!/usr/bin/env python3
"""Searches settings of the last phase on held-out identities and trains the winner on all of train."""

import _tree  # noqa: F401 - first: it puts this tree's package on the path

from reid.jobs import sweep

if __name__ == "__main__":
    sweep()

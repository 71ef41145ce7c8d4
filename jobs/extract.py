#!/usr/bin/env python3
"""Describes images with a checkpoint's model, and finds those that are nearest to one."""

import _tree  # noqa: F401 - first: it puts this tree's package on the path

from reid.jobs import extract

if __name__ == "__main__":
    extract()

#!/usr/bin/env python3
"""Trains FGSAM without each of its components, with equal budgets, and tables what each brings."""

import _tree  # noqa: F401 - first: it puts this tree's package on the path

from reid.jobs import ablation

if __name__ == "__main__":
    ablation()

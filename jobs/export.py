#!/usr/bin/env python3
"""Exports a checkpoint's model as torch.export program and as ONNX and registers it in MLflow."""

import _tree  # noqa: F401 - first: it puts this tree's package on the path

from reid.jobs import export

if __name__ == "__main__":
    export()

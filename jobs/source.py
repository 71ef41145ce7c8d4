"""Puts this tree's own package first on the path, so that what runs is what was submitted."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

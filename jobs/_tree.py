"""Makes a job run the tree that it lies in, whatever is installed: imported by every job before anything else."""

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv" / "bin" / "python"

sys.path.insert(0, str(ROOT / "platform"))

# `ray job submit jobs/….py` runs the script by its shebang, with whatever `python3` the cluster was started beside.
if importlib.util.find_spec("ray") is None:
    if not ENVIRONMENT.exists() or Path(sys.prefix) == ROOT / ".venv":
        sys.exit(f"error: {sys.executable} lacks the project's packages: pip install {ROOT}, or activate a .venv")
    os.execv(ENVIRONMENT, [str(ENVIRONMENT), *sys.argv])  # noqa: S606

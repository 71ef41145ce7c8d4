"""The space of a sweep of stubs, in a file of its own: workers that load `stub.py` need no search."""

from typing import Any

from optuna.trial import BaseTrial

from reid.config import RunConfig


def space(trial: BaseTrial, config: RunConfig) -> dict[str, Any]:
    return {"models.stub.quality": trial.suggest_float("models.stub.quality", 0.0, 0.5)}

"""The space that a sweep draws from: found by name or file, and tried out before the first trial."""

import importlib.util
import traceback
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from reid.config import ConfigError, RunConfig, with_settings
from reid.data import Dataset
from reid.search.optuna_internals import StartTrial
from reid.search.spaces import SPACES, Space, searched_phase, start_values
from reid.stages import stage_of
from reid.training import Labels, derive_seed, epoch_images

DRAWS = 100
"""Random trials that a space is tried with, so that a condition which leads to an error is met."""


@dataclass(frozen=True, kw_only=True)
class ChosenSpace:
    """A space and where its first trial starts."""

    name: str
    draw: Space
    paper: dict[str, Any] = field(default_factory=dict)
    """First values of parameters that are named by no dotted path."""

    def configure(self, trial: optuna.trial.BaseTrial, config: RunConfig) -> tuple[dict[str, Any], RunConfig]:
        """The settings of a trial, and the configuration with them.

        Raises:
            ConfigError: the space cannot draw, or draws what the configuration does not take.
        """
        try:
            settings = self.draw(trial, config)
        except ConfigError:
            raise
        except Exception as error:  # whatever a space of the user's own may raise
            raise ConfigError(f"search.space: {self.name} cannot draw a trial: {_show(error, self._file)}") from error
        if not isinstance(settings, Mapping):
            raise ConfigError(f"search.space: {self.name} must return settings by dotted path, not {settings!r}")
        self._require_searchable(settings, config)
        try:
            return dict(settings), with_settings(config, settings)
        except ConfigError as error:
            raise ConfigError(f"search.space: {self.name}: {error}") from error

    @property
    def _file(self) -> str | None:
        """Where the function was written, if it was."""
        code = getattr(self.draw, "__code__", None)
        return None if code is None else str(code.co_filename)

    def _require_searchable(self, settings: Mapping[str, Any], config: RunConfig) -> None:
        """Trials share all phases before theirs, so what those depend on cannot differ."""
        phase = searched_phase(config)
        prefixes = (*stage_of(config, phase).searched, f"phases.{phase}.", "data.augmentation.")
        known = config.model_dump()
        for path in settings:
            if path.split(".")[0] in known and not path.startswith(prefixes):
                raise ConfigError(
                    f"search.space: {self.name}: {path} cannot be searched, since all trials share the phases before "
                    f"{phase}; expected paths that begin with one of {', '.join(prefixes)}"
                )


def find_space(name: str) -> ChosenSpace:
    """A space by name, or from a file: `FILE.py` or `FILE.py:function`.

    Raises:
        ConfigError: there is no such space, file or function, or the file cannot be run.
    """
    if name in SPACES:
        return ChosenSpace(name=name, draw=SPACES[name])
    file, _, function = name.partition(".py")
    if not name.startswith(f"{file}.py"):
        raise ConfigError(
            f"search.space: invalid space '{name}', expected one of {', '.join(SPACES)}, FILE.py or FILE.py:function"
        )
    path, function = Path(f"{file}.py"), function.removeprefix(":") or "space"
    if not path.is_file():
        raise ConfigError(f"search.space: there is no file {path.absolute()}: correct the path")
    module_spec = importlib.util.spec_from_file_location("reid_search_space", path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file may raise
        raise ConfigError(f"search.space: {path} cannot be run: {_show(error, module_spec.origin)}") from error
    if not callable(getattr(module, function, None)):
        raise ConfigError(f"search.space: {path} has no function {function}(trial, config): add it or name another")
    return ChosenSpace(name=name, draw=getattr(module, function), paper=dict(getattr(module, "PAPER", {})))


def check_space(space: ChosenSpace, config: RunConfig, dataset: Dataset) -> dict[str, Any]:
    """Try a space with its first trial and with many random ones.

    Args:
        dataset: what trials are trained on.

    Returns:
        The parameters of the first trial, the configuration's own values.

    Raises:
        ConfigError: a path is unknown, a value is refused, bounds are the wrong way round, the configuration's own
            value is unknown or lies outside of its bounds, or model or batches do not fit the dataset.
    """
    first = _start(space, config)
    for changed in _drawn(space, config):
        try:
            _require_buildable(changed, dataset)
        except ConfigError:
            raise
        except ValueError as error:
            raise ConfigError(f"search.space: {space.name}: {error}") from error
    return first


def _start(space: ChosenSpace, config: RunConfig) -> dict[str, Any]:
    known = start_values(config) | space.paper
    trial = StartTrial(known)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values out of bounds, which are named below
        space.configure(trial, config)
    for name, distribution in trial.distributions.items():
        if not _contains(distribution, known[name]):
            raise ConfigError(
                f"search.space: {space.name}: the first trial has the configuration's own value {name} = "
                f"{known[name]!r}, which lies outside of the space ({distribution}): widen it or change the setting"
            )
    return dict(trial.params)


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return isinstance(value, int | float) and distribution.low <= value <= distribution.high


def _drawn(space: ChosenSpace, config: RunConfig) -> Iterator[RunConfig]:
    """The configurations of random trials."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.RandomSampler(seed=derive_seed(config.seed, "try the space"))
    study = optuna.create_study(sampler=sampler)
    optuna.logging.set_verbosity(verbosity)
    for _ in range(DRAWS):
        trial = study.ask()
        yield space.configure(trial, config)[1]
        study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _require_buildable(config: RunConfig, dataset: Dataset) -> None:
    """Try what the searched settings may not fit: the stage's own check, or its model, and the batches of one epoch."""
    phase, labels = searched_phase(config), Labels.of(dataset)
    stage = stage_of(config, phase)
    if stage.check is not None:
        stage.check(config, labels)
    else:
        with torch.device("meta"):
            stage.build(config, labels, pretrained=False)
    epoch_images(config, phase, dataset)


def _show(error: Exception, file: str | None) -> str:
    """The error, and the line of a file that it came from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f" (line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"

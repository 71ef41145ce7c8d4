"""What Optuna keeps to itself and we need nevertheless, each with its reason: to be looked at when it is renewed."""

import optuna
from optuna.distributions import BaseDistribution, CategoricalChoiceType
from optuna.trial import FixedTrial, FrozenTrial

from reid.config import ConfigError


class StartTrial(FixedTrial):
    """Answers with given values, and says which one is missing in our own words.

    Every public `suggest_…` goes through `_suggest`, and `FixedTrial`'s own error names no remedy.
    """

    def _suggest(self, name: str, distribution: BaseDistribution) -> CategoricalChoiceType:
        if name not in self._params:
            raise ConfigError(
                f"search.space: parameter '{name}' has no value for the first trial: name it by the dotted path of "
                f"its setting, or give PAPER = {{'{name}': …}} in the space's file"
            )
        value: CategoricalChoiceType = super()._suggest(name, distribution)
        return value


def take_up(study: optuna.Study, interrupted: FrozenTrial) -> optuna.Trial:
    """A trial that is under way in the storage, to be gone on with in this process.

    Optuna hands out new trials alone: a trial that a killed process left behind has no public way back.
    """
    return optuna.Trial(study, interrupted._trial_id)

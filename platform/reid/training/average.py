"""An exponential moving average of a model's weights."""

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightAverage:
    """The average of weights and statistics over the steps, which starts from the first step's.

    Args:
        model: what is trained.
        decay: share of the former average in the new one.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)  # type: ignore[no-untyped-call]

    @property
    def model(self) -> nn.Module:
        """A model with the averaged weights."""
        return self._averaged.module

    def update(self, model: nn.Module) -> None:
        """Take in the weights that a step has left; whole numbers, such as hashes and counts, are taken as they are."""
        self._averaged.update_parameters(model)
        for averaged, latest in zip(self.model.buffers(), model.buffers(), strict=True):
            if not averaged.is_floating_point():
                averaged.copy_(latest)

    def resume(self) -> None:
        """Go on from the weights that `model` was given."""
        self._averaged.n_averaged.fill_(1)

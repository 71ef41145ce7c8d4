from collections.abc import Callable

import pytest
import torch

from reid.models import FGSAM
from reid.training.average import WeightAverage


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.95, 0.99, 0.9999])
def test_the_average_of_a_model_that_stays_as_it_is_is_that_model(build: Callable[..., FGSAM], decay: float) -> None:
    """To the last bit, and so are the hashes of its sketches and the numbers of its channels."""
    model = build("final").eval()
    average = WeightAverage(model, decay)
    for _ in range(20):
        average.update(model)
    buffers = dict(model.named_buffers())
    assert {"alignment.fusions.plenary.pose_channels", "alignment.fusions.plenary.pooling.signs_a"} <= buffers.keys()
    for name, tensor in (*average.model.named_parameters(), *average.model.named_buffers()):
        expected = buffers[name] if name in buffers else model.get_parameter(name)
        assert torch.equal(tensor, expected), name
    own = {parameter.data_ptr() for parameter in average.model.parameters()}
    assert not own & {parameter.data_ptr() for parameter in model.parameters()}

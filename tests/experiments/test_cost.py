from pathlib import Path

import pytest
import torch

from reid.config import load_config
from reid.experiments.cost import descriptor_cost
from reid.stages import STAGES
from reid.storage import Place
from reid.training import Labels, PhaseState, Save, make_optimizer


@pytest.mark.parametrize("phase", ["san_baseline", "san"])
def test_a_description_costs_what_the_encoder_costs(phase: str, tmp_path: Path) -> None:
    config = load_config(preset="san_smoke")
    labels = Labels(num_identities=5, attributes={})
    model = STAGES[phase].build(config, labels, pretrained=False)
    state = PhaseState(phase=phase, config=config, num_identities=5, attributes={}, history=())
    Save.of(model, make_optimizer(model, config.phases[phase]), state, {})(tmp_path)
    cost = descriptor_cost(Place(tmp_path), config)
    weights = sum(p.numel() for n, p in model.named_parameters() if not n.startswith("decoder."))
    assert cost.mb == pytest.approx(4 * weights / 1e6)
    assert cost.images_per_second > 0
    first = 2 * 64 * 3 * 7 * 7 * 32 * 16 / 1e9
    """Of the first convolution alone, whose map is half as high and as wide as the input."""
    assert first < cost.gflop < 40 * first
    assert torch.is_grad_enabled()

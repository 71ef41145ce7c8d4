from collections.abc import Callable

import pytest
import torch

from reid.config import Layout
from reid.models import FGSAM, carry_over

Build = Callable[..., FGSAM]


def test_weights_pass_from_phase_to_phase_by_name(build: Build) -> None:
    pose, baseline, intermediate = (
        build(s, seed=i).state_dict() for i, s in enumerate(("pose", "baseline", "intermediate"))
    )

    model = build("intermediate", seed=7)
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = carry_over(model, [pose, baseline])
    state = model.state_dict()
    assert set(report.carried) == {name for name in state if name.startswith(("trunk.", "pose_net."))}
    assert set(report.dropped) == {"baseline.identity.weight", "baseline.identity.bias"}
    assert set(report.new) == set(state) - set(report.carried)
    assert all(torch.equal(state[name], (pose | baseline)[name]) for name in report.carried)
    assert all(torch.equal(state[name], fresh[name]) for name in report.new)

    final = build("final", seed=8)
    report = carry_over(final, [pose, baseline, intermediate])
    shared = ("trunk.", "pose_net.", "trunk_norm.", "confidence_norm.", "affinity_norm.")
    plenary = ("alignment.fusions.plenary.", "alignment.branches.plenary.")
    assert set(report.carried) == {name for name in final.state_dict() if name.startswith((*shared, *plenary))}
    assert all(name.startswith("alignment.") for name in report.new)
    assert {name.split(".")[0] for name in report.dropped} == {"baseline", "alignment"}
    assert all(".attributes." in name for name in report.dropped if name.startswith("alignment."))
    assert all(torch.equal(final.state_dict()[name], intermediate[name]) for name in report.carried)  # the last counts


def test_the_same_stage_carries_everything(build: Build) -> None:
    report = carry_over(build("final", seed=1), [build("final", seed=2).state_dict()])
    assert report.new == report.dropped == ()


def test_another_number_of_classes_renews_that_classifier_alone(build: Build) -> None:
    model = build("final", seed=1)
    earlier = build("final", seed=2).state_dict()
    classifier = "alignment.branches.plenary.classifiers.identity"
    earlier[f"{classifier}.weight"] = torch.zeros(9, 12)
    earlier[f"{classifier}.bias"] = torch.zeros(9)
    report = carry_over(model, [earlier])
    assert report.new == report.dropped == (f"{classifier}.bias", f"{classifier}.weight")


def test_a_branch_of_another_length_is_new_as_a_whole(build: Build) -> None:
    """Layouts of a sweep start from one intermediate model."""
    intermediate = build("intermediate", seed=2).state_dict()
    usual = build("final", seed=1)
    config = usual.config.model_copy(update={"layout": Layout(plenary_dim=5)})
    model = FGSAM(config, stage="final", num_identities=5, attributes=usual.attributes)
    report = carry_over(model, [intermediate])
    branch = "alignment.branches.plenary."
    assert {name for name in report.new if name.startswith(branch)} == set(report.new)
    assert set(report.dropped) == {name for name in intermediate if name.startswith(branch)}
    assert "alignment.fusions.plenary.mix.weight" in report.carried


def test_another_architecture_is_refused(build: Build) -> None:
    earlier = build("baseline").state_dict()
    for name, shape in (("trunk.conv1.weight", (32, 3, 7, 7)), ("baseline.identity.weight", (5, 256))):
        with pytest.raises(ValueError, match=rf"'{name}' has shape .* and \({shape[0]}, {shape[1]}.* start from"):
            carry_over(build("baseline"), [earlier | {name: torch.zeros(shape)}])

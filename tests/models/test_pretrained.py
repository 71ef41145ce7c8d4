"""Weights that go by names of their own: taken by order and shape, or not at all."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from reid.models.pretrained import load_pretrained, read_weights, require_weights
from reid.models.trunk import Trunk

State = dict[str, Tensor]
COUNTER = "num_batches_tracked"


@pytest.fixture(scope="module")
def mobilenet() -> State:
    """Torchvision's names; every tensor of its own values."""
    generator = torch.Generator().manual_seed(0)
    state: State = torchvision.models.mobilenet_v2().state_dict()
    return {
        name: tensor if name.endswith(COUNTER) else torch.rand(tensor.shape, generator=generator)
        for name, tensor in state.items()
    }


def _features(state: State, *, counters: bool = False) -> State:
    kept = {name: tensor for name, tensor in state.items() if name.startswith("features.")}
    return {name: tensor for name, tensor in kept.items() if counters or not name.endswith(COUNTER)}


def _numbered(state: State) -> State:
    """Under names that say nothing."""
    return {str(number): tensor for number, tensor in enumerate(state.values())}


def _as_elsewhere(state: State) -> State:
    """Under another project's names, counters among them."""
    number = count()
    return {f"encoder.layers.{next(number)}.{name.rpartition('.')[2]}": tensor for name, tensor in state.items()}


def _flat(state: State) -> State:
    """Under the names of blocks that are not nested: some are the model's, of other layers."""
    renamed, convolution, former = {}, 0, ""
    for name, tensor in state.items():
        block, nested, _ = name.partition(".conv.")
        if nested:
            convolution = 0 if block != former else convolution + (tensor.ndim == 4)
            name = f"{block}.conv.{3 * convolution + (tensor.ndim != 4)}.{name.rpartition('.')[2]}"
        renamed[name], former = tensor, block
    assert "features.1.conv.1.weight" in state
    assert renamed["features.1.conv.1.weight"] is not state["features.1.conv.1.weight"]
    return renamed


CASES: dict[str, Callable[[State], State]] = {
    "numbers": lambda state: _numbered(_features(state)),
    "counters too": lambda state: _as_elsewhere(_features(state, counters=True)),
    "a classifier behind": lambda state: _numbered({n: t for n, t in state.items() if not n.endswith(COUNTER)}),
    "both": _as_elsewhere,
    "some of the names": _flat,
}


@pytest.mark.parametrize("case", CASES)
def test_weights_under_other_names_are_taken_in_their_order(mobilenet: State, case: str, tmp_path: Path) -> None:
    torch.save(CASES[case](mobilenet), tmp_path / "weights.pth")
    trunk = Trunk("mobilenet_v2", weights=str(tmp_path / "weights.pth"))
    own = trunk.state_dict()
    assert own.keys() == _features(mobilenet, counters=True).keys()
    assert all(torch.equal(own[name], tensor) for name, tensor in _features(mobilenet).items())


def test_names_count_before_the_order_where_all_are_known() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    own = module.state_dict()
    weights = {name: torch.rand_like(own[name]) for name in ("1.weight", "1.bias", "0.weight", "0.bias")}
    load_pretrained(module, weights, "mine", ignore=())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in module.state_dict().items())


def _swapped(state: State) -> State:
    first, second, *rest = state
    return {first: state[second], second: state[first]} | {name: state[name] for name in rest}


def _turned(state: State) -> State:
    last = next(name for name in reversed(state) if state[name].ndim == 4)
    return state | {last: state[last].transpose(0, 1).contiguous()}


def _cut(state: State) -> State:
    return dict(list(state.items())[:-1])


def _bias_first(state: State) -> State:
    """All shapes are right."""
    names = list(_as_elsewhere(state))
    at = next(at for at, name in enumerate(names) if name.endswith("bias"))
    names[at - 1], names[at] = names[at], names[at - 1]
    return dict(zip(names, state.values(), strict=True))


@pytest.mark.parametrize("change", [_swapped, _turned, _cut, _bias_first])
def test_another_order_or_shape_is_refused(mobilenet: State, change: Callable[[State], State], tmp_path: Path) -> None:
    torch.save(change(_as_elsewhere(_features(mobilenet))), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"lack 'features\.0\.0\.weight', so they belong to another architecture"):
        Trunk("mobilenet_v2", weights=str(tmp_path / "weights.pth"))


def test_a_file_that_sorts_its_tensors_has_no_order_to_go_by(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.BatchNorm1d(4))
    path = tmp_path / "weights.safetensors"
    state = {name: tensor for name, tensor in module.state_dict().items() if not name.endswith(COUNTER)}
    save_file(_numbered(state), path)
    with pytest.raises(ValueError, match=r"weights\.safetensors' lack '0\.weight'"):
        load_pretrained(module, read_weights(str(path), "none"), str(path), ignore=())


def test_refused_weights_leave_a_module_as_it_was() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    weights = {"a": torch.ones(2, 3), "b": torch.ones(2), "c": torch.ones(2, 2), "d": torch.ones(3)}
    with pytest.raises(ValueError, match=r"weights 'mine' lack '0\.weight'"):
        load_pretrained(module, weights, "mine", ignore=())
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    load_pretrained(module, weights | {"d": torch.ones(2)}, "mine", ignore=())
    assert all((tensor == 1).all() for tensor in module.state_dict().values())


def test_a_file_that_a_setting_names_is_looked_for_at_once(tmp_path: Path) -> None:
    for source in (None, "imagenet"):
        require_weights(source, "model.weights")
    (tmp_path / "weights.npz").write_bytes(b"")
    for name, said in (("missing.pth", "does not exist"), ("weights.npz", r"expected one of \*\.safetensors")):
        with pytest.raises(ValueError, match=rf"^model\.weights: .*{name}.* {said}"):
            require_weights(str(tmp_path / name), "model.weights")
    (tmp_path / "weights.pth").write_bytes(b"whatever it holds")
    require_weights(str(tmp_path / "weights.pth"), "model.weights")

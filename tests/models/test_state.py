"""The whole `state_dict` of a module: copied, loaded, encoded and decoded."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orchestrator.errors import ModelError
from orchestrator.models.state import load_whole_state, pack_state, unpack_state, whole_state


def _net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_whole_state_contains_every_tensor_as_a_copy() -> None:
    net = _net()
    state = whole_state(net)
    assert list(state) == list(net.state_dict())
    with torch.no_grad():
        net[0].weight.add_(1.0)
    assert not torch.equal(state["0.weight"], net[0].weight)


def test_tied_tensor_has_an_entry_for_each_name() -> None:
    net = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 4, bias=False))
    net[1].weight = net[0].weight
    assert list(whole_state(net)) == ["0.weight", "1.weight"]


def test_state_of_one_module_is_loaded_into_an_equal_module() -> None:
    source, target = _net(), _net()
    source[1].running_mean += 3.0
    load_whole_state(target, whole_state(source), "run-1")
    assert all(torch.equal(t, source.state_dict()[name]) for name, t in target.state_dict().items())


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"0.bias": None}, "0.bias"),
        ({"extra": torch.zeros(1)}, "extra"),
        ({"0.bias": torch.zeros(3)}, "0.bias"),
        ({"0.bias": torch.zeros(2, dtype=torch.float64)}, "0.bias"),
    ],
    ids=["missing", "unknown", "other shape", "other dtype"],
)
def test_tensors_of_another_module_are_rejected(changed: dict[str, Tensor | None], named: str) -> None:
    tensors = {n: t for n, t in {**whole_state(_net()), **changed}.items() if t is not None}
    with pytest.raises(ModelError) as caught:
        load_whole_state(_net(), tensors, "run-1")
    assert (caught.value.field, caught.value.value) == ("model", "run-1")
    assert named in caught.value.problem


def test_encoded_tensors_keep_values_shapes_and_dtypes() -> None:
    tensors = {
        "weight": torch.tensor([[1.5, -0.0, float("nan")], [float("-inf"), 2.0, 3.0]]).t(),
        "counter": torch.tensor(2**40),
        "flags": torch.tensor([True, False]),
        "half": torch.tensor([0.5], dtype=torch.bfloat16),
        "empty": torch.zeros(0, 3),
    }
    data = pack_state(tensors)
    assert data.dtype == np.uint8
    decoded = unpack_state(data)
    assert decoded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (decoded[name].dtype, decoded[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(decoded[name].nan_to_num(), tensor.nan_to_num())


def test_tensor_of_a_dtype_that_the_format_lacks_is_rejected() -> None:
    with pytest.raises(ModelError) as caught:
        pack_state({"phase": torch.zeros(2, dtype=torch.complex128)})
    assert (caught.value.field, caught.value.value) == ("model", "torch.complex128")

"""Compiled modules are replaced by the modules that were compiled; TorchScript is rejected."""

import pytest
import torch
from torch import nn

from orchestrator.errors import ModelError
from orchestrator.models.uncompile import uncompile

# from torch's own compiler
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


def _net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 2), nn.ReLU())


def test_compiled_module_is_replaced_by_its_original() -> None:
    net = _net()
    assert uncompile("net", torch.compile(net)) is net  # type: ignore[arg-type]


def test_compiled_child_is_replaced_under_its_name() -> None:
    net = _net()
    child = net[0]
    net[0] = torch.compile(child)  # type: ignore[assignment]
    names = list(nn.Sequential(nn.Linear(3, 2), nn.ReLU()).state_dict())
    assert list(net.state_dict()) != names
    found = uncompile("net", net)
    assert found is net
    assert net[0] is child
    assert list(net.state_dict()) == names


def test_module_compiled_in_place_is_called_without_the_compiler() -> None:
    net = _net()
    net[0].compile()
    uncompile("net", net)
    assert net[0]._compiled_call_impl is None


def test_plain_module_is_returned_unchanged() -> None:
    net = _net()
    assert uncompile("net", net) is net
    assert [type(layer) for layer in net] == [nn.Linear, nn.ReLU]


def test_torchscript_is_rejected_also_as_a_child() -> None:
    traced: nn.Module = torch.jit.trace(_net(), torch.zeros(2, 3))  # type: ignore[no-untyped-call]
    for module in (traced, nn.Sequential(nn.Flatten(), traced)):
        with pytest.raises(ModelError) as caught:
            uncompile("net.py:build", module)
        assert (caught.value.field, caught.value.value) == ("model.name", "net.py:build")

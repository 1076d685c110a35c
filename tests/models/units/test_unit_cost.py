"""The products between activations that a unit saves, and the operations of submodels with fewer heads."""

import pytest
import torch
from torch import nn

from orchestrator.federation.local.flops import FlopCounter
from orchestrator.models.cost import ModelCost, measure_cost
from orchestrator.models.parameters import ParameterLayout
from orchestrator.models.registry import resolve_builder
from orchestrator.models.shapes import InputShape, TextShape, example_input
from orchestrator.models.units.groups import UnitGroup
from orchestrator.models.units.submodel import shrink
from orchestrator.models.units.tracing import trace_units
from orchestrator.models.units.unit_cost import with_unit_macs

TEXT = TextShape((5,))


def _counted(
    module: nn.Module, shape: InputShape
) -> tuple[ModelCost, ParameterLayout, tuple[UnitGroup, ...]]:
    layout, groups = ParameterLayout.of(module), trace_units(module, example_input(shape))
    return with_unit_macs(measure_cost(module, layout, shape), module, layout, shape, groups), layout, groups


def test_head_saves_its_scores_and_weighted_values() -> None:
    """5 x 5 scores and 5 x 5 weights of values, 16 features each; hidden units have no such products."""
    cost, _, _ = _counted(resolve_builder("char_transformer")(TEXT, 11), TEXT)
    per_head = 2 * 5 * 5 * 16
    assert cost.unit_macs == {
        "blocks.0.attention.query": per_head,
        "blocks.1.attention.query": per_head,
    }
    assert cost.other_macs == 2 * 4 * per_head


def test_model_without_products_of_activations_has_no_unit_macs() -> None:
    cost, _, _ = _counted(resolve_builder("cnn_mnist")((1, 28, 28), 10), (1, 28, 28))
    assert cost.unit_macs == {}


@pytest.mark.parametrize(("name", "shape"), [("vit", (1, 8, 8)), ("char_transformer", TEXT)])
@pytest.mark.parametrize("heads", [1, 3])
def test_operations_of_a_submodel_equal_those_measured_on_it(
    name: str, shape: InputShape, heads: int
) -> None:
    module = resolve_builder(name)(shape, 11)
    cost, layout, groups = _counted(module, shape)
    num_kept = {group.name: heads if group.num_units == 4 else 40 * heads for group in groups}
    smaller = shrink(module, groups, num_kept)
    measured = measure_cost(smaller, layout.with_shapes_of(smaller), shape)
    counter = FlopCounter(cost)
    removed = {group.name: group.num_units - num_kept[group.name] for group in groups}
    counter.load_model(layout.with_shapes_of(smaller), removed)
    assert counter.step == counter.unmasked == 3 * measured.forward_flops()
    sub = layout.with_shapes_of(smaller)
    counter.set_mask(sub, torch.zeros(sub.size, dtype=torch.bool))
    assert counter.step == 6 * measured.other_macs
    counter.load_model(None)
    assert counter.step == 3 * cost.forward_flops()

"""Counts what a unit saves besides the entries of its weights: the products between activations, as in attention."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from orchestrator.models.cost import ModelCost, measure_cost
from orchestrator.models.parameters import ParameterLayout
from orchestrator.models.shapes import InputShape
from orchestrator.models.units.groups import UnitGroup
from orchestrator.models.units.submodel import shrink


def with_unit_macs(
    cost: ModelCost,
    module: nn.Module,
    layout: ParameterLayout,
    input_shape: InputShape,
    groups: Sequence[UnitGroup],
) -> ModelCost:
    """Return the cost of the module with `unit_macs`, measured on submodels with one unit less in one group.

    A product between activations has units along one dimension only (`coupling.py` fixes all others), so that its MACs
    are proportional to their number, and the units of different groups save independently of each other.
    """
    if not cost.other_macs:
        return cost
    saved = {}
    for group in groups:
        smaller = shrink(module, groups, {group.name: group.num_units - 1})
        measured = measure_cost(smaller, layout.with_shapes_of(smaller), input_shape)
        if macs := cost.other_macs - measured.other_macs:
            saved[group.name] = macs
    return replace(cost, unit_macs=saved)

"""Gates on units: closes the outputs of some units, and computes the gradient of the loss by each gate.

A gate g_j scales all outputs of unit j. This equals scaling the columns of the layers that consume the unit. The rows
of a closed unit do not change, so that the loss has a gradient at its gate too. A tensor that both produces and
consumes a unit, such as a tied embedding, counts as the producer and stays open.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from orchestrator.method import (
    KeptUnits,
    ParameterLayout,
    UnitGroup,
    unit_sums,
)


def close_units(
    layout: ParameterLayout, groups: Sequence[UnitGroup], kept: KeptUnits, vector: Tensor
) -> Tensor:
    """float32[D]: a copy of the vector in which no layer consumes the dropped units."""
    closed = vector.clone()
    views = layout.views(closed)
    for group in groups:
        dropped = torch.ones(group.num_units, dtype=torch.bool)
        dropped[kept[group.name]] = False
        for part in group.slices:
            if part.role == "input" and part.segment in views:
                positions = torch.from_numpy(part.index)[dropped].reshape(-1)
                views[part.segment].index_fill_(part.dim, positions.to(vector.device), 0.0)
    return closed


def gate_gradient(
    layout: ParameterLayout, groups: Sequence[UnitGroup], vector: Tensor, gradient: Tensor
) -> dict[str, Tensor]:
    """By group name, float32[num_units]: dL/dg_j = sum over consumers' entries of unit j of (dL/dw) w.

    `gradient` is float32[T], taken at `close_units(...)` of the float32[D] `vector`, whose open entries g_j w
    it is the derivative by.
    """
    product = torch.zeros_like(vector)
    product[: gradient.numel()] = gradient * vector[: gradient.numel()]
    return unit_sums(layout, groups, product, "input")

"""Replaces a method's average by a robust rule. It keeps all updates of a phase and combines them at its end.

The rule combines the same items as the average: the model, each coordinate over the clients that hold it, and every
further item. The kind of the average decides which values of the model are combined and which coordinates change:

    wmean, covmean  the values of the clients; a coordinate that no client holds keeps the server's value
    dmean           the changes of the clients, added to the server's model
    ipart           the values; a coordinate that not all clients hold keeps the server's value

Without masks, or with one mask for all clients, the four averages agree, and a rule that leaves nothing out (trimmed
mean with share 0, Multi-Krum with all updates) is the average itself up to rounding.
"""

from functools import partial
from typing import final

import numpy as np
import torch
from torch import Tensor

from orchestrator.config.robustness import AggregationConfig, RuleName
from orchestrator.federation.aggregate import Aggregate, AggregationName, Contribution
from orchestrator.federation.exchange import MODEL_ITEM
from orchestrator.federation.robust.coordinates import CoordinateRule, median, trimmed_mean
from orchestrator.federation.robust.kept_updates import (
    Float64,
    KeptUpdate,
    ValueBlock,
    VectorStack,
    vector_names,
)
from orchestrator.federation.robust.own_rule import OwnRule, own_rule
from orchestrator.federation.robust.update_weights import WeightRule, geometric_median, krum, weighted_mean

#: rules that combine each coordinate by itself, so that slices of the updates may be combined apart
COORDINATE_RULES: tuple[RuleName, ...] = ("median", "trimmed_mean")


def _coordinate_rule(config: AggregationConfig) -> CoordinateRule:
    return median if config.rule == "median" else trimmed_mean(config.num_attackers)


def _weight_rule(config: AggregationConfig) -> WeightRule:
    if config.rule == "geometric_median":
        return geometric_median(config.iterations, config.smoothing)
    return krum(config.num_attackers, 1 if config.rule == "krum" else config.num_selected)


@final
class RobustAggregator:
    """Combines contributions by a robust rule: call `add` for each in plan order, then `finish` once."""

    def __init__(
        self, config: AggregationConfig, average: AggregationName, function: OwnRule | None = None
    ) -> None:
        """`function` is the user's function if `config.rule` names one."""
        self._config, self._average, self._function = config, average, function
        self._updates: list[KeptUpdate] = []

    def add(self, contribution: Contribution) -> None:
        """Keep one contribution."""
        self._updates.append(KeptUpdate.of(contribution, as_change=self._average == "dmean"))

    def finish(self, server: Tensor) -> Aggregate:
        """The combined updates; coordinates without a contribution take the value of the float32[D] `server` model.

        `coverage` and `total_weight` contain the weights, as the method gives them, of the updates that the rule uses.
        Raises ValueError if no contribution has a positive weight, or if the rule needs more of them.
        """
        given = np.array([update.weight for update in self._updates])
        if not given.size or given.sum() <= 0.0:
            raise ValueError("nothing to aggregate: no contribution with a positive weight")
        combine, used = self._combine(given)
        names = vector_names(self._updates)
        scalars: dict[str, dict[int, float]] = {}
        for update in self._updates:
            for name, value in update.scalars.items():
                scalars.setdefault(name, {})[update.client_id] = value
        extras = {
            name: _extra(VectorStack(self._updates, name), combine, is_scalar=name in scalars)
            for name in names
            if name != MODEL_ITEM
        }
        values, coverage = server.to(torch.float64), torch.zeros_like(server, dtype=torch.float64)
        if MODEL_ITEM not in names:
            return Aggregate(values, coverage, 0.0, extras, len(self._updates), scalars)
        stack = VectorStack(self._updates, MODEL_ITEM)
        values, coverage = self._model(stack, combine, used, values)
        total_weight = float(sum(used[number] for number in stack.numbers))
        return Aggregate(
            values,
            coverage if stack.has_masks else None,
            total_weight,
            extras,
            len(self._updates),
            scalars,
        )

    def _combine(self, given: Float64) -> tuple[CoordinateRule, Float64]:
        """The rule for a block, and the given weights, float64[n], of the updates that the rule uses."""
        if self._function is not None:
            return own_rule(self._function, self._config.options), given
        if self._config.rule in COORDINATE_RULES:
            return _coordinate_rule(self._config), given
        weights = _weight_rule(self._config)(self._updates)
        return partial(weighted_mean, weights=weights), np.where(weights > 0.0, given, 0.0)

    def _model(
        self, stack: VectorStack, combine: CoordinateRule, used: Float64, server: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The model, float64[D], and the weights of the clients that hold each coordinate, float64[D]."""
        values, coverage = server.numpy().copy(), np.empty(stack.size)
        for block in stack.blocks():
            part = slice(block.start, block.start + block.held.shape[1])
            coverage[part] = _coverage(block, used)
            changes = coverage[part] > 0.0
            if self._average == "ipart":
                changes &= block.held.all(axis=0)
            base = values[part] if self._average == "dmean" else 0.0
            values[part] = np.where(changes, base + combine(block), values[part])
        return torch.from_numpy(values), torch.from_numpy(coverage)


def _coverage(block: ValueBlock, used: Float64) -> Float64:
    total = np.zeros(block.held.shape[1])
    for row, number in enumerate(block.numbers):
        total += np.where(block.held[row], used[number], 0.0)
    return total


def _extra(stack: VectorStack, combine: CoordinateRule, *, is_scalar: bool) -> Tensor:
    values = np.concatenate([combine(block) for block in stack.blocks()]) if stack.size else np.empty(0)
    return torch.from_numpy(values.reshape(()) if is_scalar else values)

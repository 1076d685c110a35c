"""REFL's weights of late updates, by hand."""

from math import exp

import numpy as np
import pytest
import torch

from orchestrator.aggregation.received_update import DecodedUpdate
from orchestrator.aggregation.refl_sums import ReflSums
from orchestrator.aggregation.sums import LocalSums, Term
from orchestrator.config.rounds import AsynchronyConfig
from orchestrator.federation.aggregate import AGGREGATORS, WeightedMean
from orchestrator.federation.exchange import ModelValues
from orchestrator.sparsity.payload import Dense

CONFIG = AsynchronyConfig(staleness="refl")
CURRENT = torch.tensor([10.0, 20.0])


def content(
    start: tuple[float, float], change: tuple[float, float], mask: list[bool] | None = None
) -> DecodedUpdate:
    """The update of a client that changed the model `start`; the values outside the mask are 0."""
    values = torch.tensor(start) + torch.tensor(change)
    kept = None if mask is None else torch.tensor(mask)
    model = ModelValues(values if kept is None else values * kept, kept)
    return DecodedUpdate(received=ModelValues(torch.tensor(start), None), model=model, items=())


def term(client_id: int, staleness: int = 0) -> Term:
    return Term(client_id=client_id, weight=1.0, staleness=staleness)


def fresh(sums: ReflSums | LocalSums) -> None:
    """Two updates in time: the mean change is (1, 1)."""
    sums.add(content((10.0, 20.0), (1.0, 0.0)), term(0), None)
    sums.add(content((10.0, 20.0), (1.0, 2.0)), term(1), None)


def test_late_updates_count_by_delay_and_distance() -> None:
    """The changes (1, 1) and (1, 4) have the squared distances 0 and 9 from (1, 1), and the delays 1 and 2.

    s = .65 / 2 + .35 (1 - 1 / 10) = .64, and s = .65 / 3 + .35 (1 - exp(-1) / 10). The changes start from (10, 20).
    """
    sums = ReflSums(WeightedMean(), CONFIG)
    fresh(sums)
    sums.add(content((0.5, 0.5), (1.0, 1.0)), term(2, 1), CURRENT)
    sums.add(content((2.0, 3.0), (1.0, 4.0)), term(3, 2), CURRENT)
    near, far = 0.64, 0.65 / 3 + 0.35 * (1 - exp(-1) / 10)
    found = sums.finish(CURRENT)
    second = (20.0 + 22.0 + near * 21.0 + far * 24.0) / (2.0 + near + far)
    assert found.values.tolist() == pytest.approx([11.0, second], rel=1e-12)
    assert found.total_weight == pytest.approx(2.0 + near + far, rel=1e-12)


def test_updates_in_time_have_the_bits_of_the_usual_sums() -> None:
    usual, refl = LocalSums(WeightedMean(), CONFIG), ReflSums(WeightedMean(), CONFIG)
    fresh(usual)
    fresh(refl)
    assert torch.equal(usual.finish(CURRENT).values, refl.finish(CURRENT).values)


def test_late_update_alone_has_no_distance() -> None:
    sums = ReflSums(WeightedMean(), CONFIG)
    sums.add(content((0.0, 0.0), (3.0, 4.0)), term(2, 1), CURRENT)
    found = sums.finish(CURRENT)
    assert found.values.tolist() == [13.0, 24.0]
    assert found.total_weight == pytest.approx(0.64, rel=1e-12)


def test_masked_update_is_compared_inside_its_mask() -> None:
    """Its change is (0, 2) at the squared distance 2 from (1, 1), the largest; the other's is (1, 2) at 1."""
    sums = ReflSums(AGGREGATORS["covmean"](), CONFIG)
    fresh(sums)
    sums.add(content((0.0, 0.0), (5.0, 2.0), mask=[False, True]), term(2, 1), CURRENT)
    sums.add(content((0.0, 0.0), (1.0, 2.0)), term(3, 1), CURRENT)
    far = 0.65 / 2 + 0.35 * (1 - exp(-1) / 10)
    near = 0.65 / 2 + 0.35 * (1 - exp(-0.5) / 10)
    found = sums.finish(CURRENT)
    second = (20.0 + 22.0 + far * 22.0 + near * 22.0) / (2.0 + far + near)
    assert found.values.tolist() == pytest.approx([11.0, second], rel=1e-12)


def test_late_update_without_a_model_keeps_its_place() -> None:
    """Its weight is .64: the mean of 1 and 3 is (1 + .64 * 3) / 1.64."""
    sums = ReflSums(WeightedMean(), CONFIG)
    for client_id, value, staleness in ((0, 1.0, 0), (1, 3.0, 1)):
        items = (Dense("scores", np.array([value], np.float32)),)
        update = DecodedUpdate(received=None, model=None, items=items)
        sums.add(update, term(client_id, staleness), CURRENT if staleness else None)
    found = sums.finish(CURRENT).extras["scores"]
    assert found.tolist() == pytest.approx([(1.0 + 0.64 * 3.0) / 1.64], rel=1e-12)
    assert sums.losses() == ()

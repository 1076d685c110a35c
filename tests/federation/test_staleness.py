"""Stale updates: their discount, and the result of adding them, computed by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from orchestrator.config.rounds import AsynchronyConfig
from orchestrator.federation.aggregate import AGGREGATORS, Contribution
from orchestrator.federation.staleness import discount, discounted, refl_weight, restarted
from orchestrator.sparsity.payload import Dense


def _config(kind: str = "fedbuff", staleness: str = "constant", **options: Any) -> AsynchronyConfig:
    return AsynchronyConfig.model_validate({"kind": kind, "staleness": staleness, **options})


def _floats(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _update(
    values: Tensor | None, start: Tensor | None = None, mask: list[bool] | None = None, weight: float = 4.0
) -> Contribution:
    return Contribution(
        client_id=7,
        weight=weight,
        values=values,
        mask=None if mask is None else torch.tensor(mask),
        start=start,
        items=(Dense("scores", np.ones(2, np.float32)),),
    )


@pytest.mark.parametrize(
    ("beta", "scale", "staleness", "deviation", "expected"),
    [
        (0.35, 10.0, 1, 0.0, 0.325 + 0.35 * 0.9),
        (0.35, 10.0, 1, 1.0, 0.325 + 0.35 * (1 - 0.36787944117144233 / 10)),
        (0.0, 10.0, 3, 1.0, 0.25),
        (1.0, 1.0, 3, 0.0, 0.0),
    ],
)
def test_weight_of_refl(beta: float, scale: float, staleness: int, deviation: float, expected: float) -> None:
    config = _config("none", "refl", refl_beta=beta, refl_scale=scale)
    assert refl_weight(config, staleness, deviation) == pytest.approx(expected, rel=1e-12)


def test_restarted_update_has_the_same_change_from_the_current_model() -> None:
    found = restarted(_update(_floats(3.0, 0.0), _floats(1.0, 5.0), [True, False]), _floats(10.0, 20.0))
    entries = found.masked_entries()
    assert entries is not None
    assert (entries.values.tolist(), found.weight) == ([12.0], 4.0)
    without = _update(None)
    assert restarted(without, _floats(10.0, 20.0)) is without


class TestDiscount:
    """s(tau)."""

    @pytest.mark.parametrize("staleness", [0, 1, 1000])
    def test_constant_discount(self, staleness: int) -> None:
        assert discount(_config(), staleness) == 1.0

    @pytest.mark.parametrize(
        ("exponent", "staleness", "expected"),
        [(0.5, 0, 1.0), (0.5, 3, 0.5), (0.5, 8, 1 / 3), (2.0, 1, 0.25), (1.0, 99, 0.01), (0.0, 5, 1.0)],
    )
    def test_polynomial_discount(self, exponent: float, staleness: int, expected: float) -> None:
        found = discount(_config(staleness="polynomial", exponent=exponent), staleness)
        assert found == pytest.approx(expected, rel=1e-15)

    @pytest.mark.parametrize(
        ("hinge", "exponent", "staleness", "expected"),
        [
            (4, 0.5, 0, 1.0),
            (4, 0.5, 4, 1.0),
            (4, 0.5, 5, 1 / 1.5),
            (4, 10.0, 5, 1 / 11),
            (4, 0.5, 14, 1 / 6),
            (0, 1.0, 1, 0.5),
            (0, 1.0, 0, 1.0),
            (2, 0.0, 9, 1.0),
        ],
    )
    def test_hinge_discount(self, hinge: int, exponent: float, staleness: int, expected: float) -> None:
        found = discount(_config(staleness="hinge", hinge=hinge, exponent=exponent), staleness)
        assert found == pytest.approx(expected, rel=1e-15)

    def test_default_discount_is_one_over_the_square_root(self) -> None:
        assert discount(AsynchronyConfig(), 3) == 0.5


class TestFedBuff:
    """x = w + s (w_k - w_k0)."""

    def test_change_is_added_to_the_current_model(self) -> None:
        update = _update(_floats(3.0, 0.0), start=_floats(1.0, 1.0))
        moved = discounted(update, _floats(10.0, 20.0), _config(), 1)
        assert moved.values is not None
        assert moved.values.dtype == torch.float32
        assert moved.values.tolist() == [12.0, 19.0]
        assert moved.start is not None
        assert moved.start.tolist() == [10.0, 20.0]
        assert (moved.weight, moved.client_id, moved.items) == (4.0, 7, update.items)

    def test_discount_multiplies_the_change_and_not_the_weight(self) -> None:
        update = _update(_floats(3.0, 0.0), start=_floats(1.0, 1.0))
        moved = discounted(update, _floats(10.0, 20.0), _config(staleness="polynomial"), 3)
        assert moved.values is not None
        assert moved.values.tolist() == [11.0, 19.5]
        assert moved.weight == 4.0

    def test_fresh_update_keeps_its_bits(self) -> None:
        """The client may have started with a rounded or masked model.

        The start then differs from the server's model.
        """
        update = _update(_floats(0.1, 0.7), start=_floats(0.3, 0.3))
        assert discounted(update, _floats(0.30000001, 5.0), _config(staleness="polynomial"), 0) is update

    def test_stale_sparse_update_changes_only_entries_in_its_mask(self) -> None:
        """Only the server has entry 1 now. Only the client has entry 2, which the server has pruned."""
        update = _update(
            _floats(3.0, 0.0, 5.0, 0.0), start=_floats(1.0, 0.0, 4.0, 0.0), mask=[True, False, True, False]
        )
        present = _floats(10.0, 20.0, 0.0, 0.0)
        moved = discounted(update, present, _config(staleness="polynomial"), 3)
        assert moved.entries is not None
        assert moved.entries.full().tolist() == [11.0, 0.0, 0.5, 0.0]
        assert moved.entries.mask().tolist() == [True, False, True, False]
        averaged = {name: _average(name, moved, present) for name in AGGREGATORS}
        assert averaged == {
            "covmean": [11.0, 20.0, 0.5, 0.0],
            "dmean": [11.0, 20.0, 0.5, 0.0],
            "ipart": [11.0, 20.0, 0.5, 0.0],
            "wmean": [11.0, 20.0, 0.5, 0.0],
        }

    def test_buffer_adds_the_mean_of_the_discounted_changes(self) -> None:
        """FedBuff, algorithm 1 with a server rate of 1: w + (1 / K) sum s(tau_k) (w_k - w_k0)."""
        rng = np.random.default_rng(0)
        present = rng.standard_normal(50).astype(np.float32)
        starts, ends = rng.standard_normal((2, 3, 50)).astype(np.float32)
        staleness, aggregator = (0, 2, 5), AGGREGATORS["wmean"]()
        starts[0] = present
        for start, end, tau in zip(starts, ends, staleness, strict=True):
            update = _update(torch.from_numpy(end), start=torch.from_numpy(start), weight=1.0)
            config = _config(staleness="polynomial", exponent=1.0)
            aggregator.add(discounted(update, torch.from_numpy(present), config, tau))
        changes = [
            (e - s.astype(float)) / (1 + tau) for s, e, tau in zip(starts, ends, staleness, strict=True)
        ]
        found = aggregator.finish(torch.from_numpy(present)).values.numpy()
        np.testing.assert_allclose(found, present + sum(changes) / 3, rtol=0, atol=1e-6)

    def test_inputs_do_not_change(self) -> None:
        values, start, present = _floats(3.0, 0.0), _floats(1.0, 1.0), _floats(10.0, 20.0)
        discounted(_update(values, start=start, mask=[True, False]), present, _config(), 2)
        assert (values.tolist(), start.tolist(), present.tolist()) == ([3.0, 0.0], [1.0, 1.0], [10.0, 20.0])


class TestFedAsync:
    """x = w + alpha s (w_k - w)."""

    def test_model_is_mixed_in_for_any_start(self) -> None:
        config = _config("fedasync", "polynomial", mixing=0.5)
        for start in (_floats(0.0, 0.0), _floats(9.0, 9.0)):
            moved = discounted(_update(_floats(3.0, 1.0), start=start), _floats(1.0, 5.0), config, 3)
            assert moved.values is not None
            assert moved.values.tolist() == [1.0 + 0.25 * 2.0, 5.0 - 0.25 * 4.0]

    def test_fresh_model_is_mixed_too(self) -> None:
        update = _update(_floats(3.0, 1.0), start=_floats(1.0, 5.0))
        moved = discounted(update, _floats(1.0, 5.0), _config("fedasync", mixing=0.6), 0)
        assert moved.values is not None
        assert moved.values.tolist() == pytest.approx([2.2, 2.6], rel=1e-6)

    def test_mixing_of_one_gives_the_clients_model(self) -> None:
        update = _update(_floats(3.0, 1.0), start=_floats(1.0, 5.0))
        assert discounted(update, _floats(7.0, 7.0), _config("fedasync", mixing=1.0), 9) is update

    def test_sparse_model_is_mixed_in_inside_its_mask(self) -> None:
        update = _update(_floats(3.0, 0.0), start=_floats(0.0, 0.0), mask=[True, False])
        moved = discounted(update, _floats(1.0, 5.0), _config("fedasync", mixing=0.5), 1)
        assert moved.entries is not None
        assert moved.entries.full().tolist() == [2.0, 0.0]
        assert _average("covmean", moved, _floats(1.0, 5.0)) == [2.0, 5.0]


@pytest.mark.parametrize(
    ("config", "expected"),
    [(_config(staleness="polynomial"), 2.0), (_config("fedasync", "polynomial", mixing=0.5), 1.0)],
)
@pytest.mark.parametrize("start", [None, _floats(1.0)])
def test_update_without_a_model_has_the_discount_as_its_weight(
    config: AsynchronyConfig, expected: float, start: Tensor | None
) -> None:
    update = _update(None, start=start)
    moved = discounted(update, _floats(1.0), config, 3)
    assert (moved.values, moved.weight, moved.items) == (None, expected, update.items)


def _average(name: Any, contribution: Contribution, server: Tensor) -> list[float]:
    """The server's model after one update."""
    aggregator = AGGREGATORS[name]()
    aggregator.add(contribution)
    return aggregator.finish(server).values.tolist()

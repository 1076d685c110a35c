"""The four averages, computed by hand and compared with a slow oracle that visits each coordinate."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from orchestrator.federation.aggregate import AGGREGATORS, Aggregate, AggregationName, Contribution
from orchestrator.sparsity.payload import Bits, Dense, Item, Masked, Scalar
from orchestrator.sparsity.sparse_sum import entries_of

NAMES: tuple[AggregationName, ...] = ("wmean", "covmean", "dmean", "ipart")


def contribution(
    weight: float, values: Sequence[float], mask: Sequence[int] | None = None, start: float = 0.0
) -> Contribution:
    held = None if mask is None else torch.tensor(mask, dtype=torch.bool)
    return Contribution(
        client_id=0,
        weight=weight,
        values=torch.tensor(values, dtype=torch.float32),
        mask=held,
        start=torch.full((len(values),), start),
    )


def fold(name: AggregationName, contributions: Sequence[Contribution], server: Tensor) -> Aggregate:
    aggregator = AGGREGATORS[name]()
    for one in contributions:
        aggregator.add(one)
    return aggregator.finish(server)


def oracle(name: AggregationName, contributions: Sequence[Contribution], server: Tensor) -> list[float]:
    """The definitions, coordinate by coordinate, in Python floats."""
    total = sum(c.weight for c in contributions)
    result = []
    for j in range(server.numel()):
        held = [c for c in contributions if c.mask is None or bool(c.mask[j])]
        weight = sum(c.weight for c in held)
        mean_of = [c.weight * float(c.values[j]) for c in held]
        old = float(server[j])
        if weight == 0 or (name == "ipart" and len(held) < len(contributions)):
            result.append(old)
        elif name == "dmean":
            result.append(
                old + sum(c.weight * (float(c.values[j]) - float(c.start[j])) for c in held) / total
            )
        elif name == "wmean":
            result.append(sum(mean_of) / total)
        else:
            result.append(sum(mean_of) / weight)
    return result


def test_disjoint_masks_from_an_old_value_of_zero() -> None:
    """Values 2 and 4 at half coverage: dmean gives 1 and 2, covmean gives 2 and 4."""
    clients = [contribution(1, [2, 0], [1, 0]), contribution(1, [0, 4], [0, 1])]
    found = {name: fold(name, clients, torch.zeros(2)).values.tolist() for name in NAMES}
    assert found == {"wmean": [1, 2], "covmean": [2, 4], "dmean": [1, 2], "ipart": [0, 0]}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("wmean", [6, 7, 15]),
        ("covmean", [12, 14, 15]),
        ("dmean", [11, 12, 15]),
        ("ipart", [10, 10, 15]),
    ],
)
def test_all_four_averages_differ_from_an_old_value_of_ten(
    name: AggregationName, expected: list[float]
) -> None:
    """Client A has coordinates 0 and 2, client B has 1 and 2. Both started from 10."""
    clients = [
        contribution(1, [12, 0, 13], [1, 0, 1], start=10),
        contribution(1, [0, 14, 17], [0, 1, 1], start=10),
    ]
    assert fold(name, clients, torch.full((3,), 10.0)).values.tolist() == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # weights 1 and 3: values 4 and 8 where both clients have the coordinate, else 4
        ("wmean", [7.0, 1.0]),
        ("covmean", [7.0, 4.0]),
        ("dmean", [7.0, 2.5]),
        ("ipart", [7.0, 2.0]),
    ],
)
def test_averages_with_unequal_weights(name: AggregationName, expected: list[float]) -> None:
    clients = [contribution(1, [4, 4], [1, 1], start=2), contribution(3, [8, 0], [1, 0], start=2)]
    aggregate = fold(name, clients, torch.tensor([2.0, 2.0]))
    assert aggregate.values.tolist() == expected
    assert aggregate.total_weight == 4
    assert aggregate.coverage is not None
    assert aggregate.coverage.tolist() == [4, 1]


@pytest.mark.parametrize("name", NAMES)
def test_coordinate_that_no_client_has_keeps_the_servers_value(name: AggregationName) -> None:
    clients = [contribution(2, [5, 0], [1, 0], start=5), contribution(3, [5, 0], [1, 0], start=5)]
    aggregate = fold(name, clients, torch.tensor([5.0, -7.5]))
    assert aggregate.values.tolist() == [5.0, -7.5]
    assert aggregate.union is not None
    assert aggregate.union.tolist() == [True, False]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("masked_first", [True, False])
def test_contribution_without_a_mask_has_every_coordinate(name: AggregationName, masked_first: bool) -> None:
    """It may come before or after a masked contribution."""
    server = torch.tensor([1.0, 1.0])
    masked = contribution(1, [3, 0], [1, 0], start=1)
    whole = contribution(1, [5, 7], None, start=1)
    spelled_out = contribution(1, [5, 7], [1, 1], start=1)
    order = [masked, whole, whole] if masked_first else [whole, whole, masked]
    aggregate = fold(name, order, server)
    expected = oracle(name, [masked, spelled_out, spelled_out], server)
    assert aggregate.values.tolist() == pytest.approx(expected, rel=1e-15)
    assert aggregate.coverage is not None
    assert aggregate.coverage.tolist() == [3, 2]


@pytest.mark.parametrize("name", NAMES)
def test_all_four_averages_without_masks_are_the_weighted_mean(name: AggregationName) -> None:
    clients = [contribution(1, [1, 2], start=4), contribution(3, [5, 6], start=4)]
    aggregate = fold(name, clients, torch.full((2,), 4.0))
    assert aggregate.values.tolist() == [4.0, 5.0]
    assert aggregate.coverage is None
    assert aggregate.union is None


@pytest.mark.parametrize("name", ["covmean", "ipart"])
def test_full_masks_give_the_bits_of_the_weighted_mean(name: AggregationName) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, 500)).astype(np.float32)
    plain = [contribution(w, v.tolist()) for w, v in zip((3, 11, 7), values, strict=True)]
    masked = [contribution(c.weight, c.values.tolist(), [1] * 500) for c in plain]
    server = torch.zeros(500)
    assert torch.equal(fold(name, masked, server).values, fold("wmean", plain, server).values)


@pytest.mark.parametrize("name", NAMES)
def test_aggregate_without_contributions_is_an_error(name: AggregationName) -> None:
    with pytest.raises(ValueError, match="nothing to aggregate"):
        AGGREGATORS[name]().finish(torch.zeros(3))
    with pytest.raises(ValueError, match="nothing to aggregate"):
        fold(name, [contribution(0, [1, 2, 3])], torch.zeros(3))


@pytest.mark.parametrize("name", NAMES)
def test_sums_are_in_float64(name: AggregationName) -> None:
    """In float32, 2**24 + 1 is 2**24, and the sum would be 0."""
    clients = [contribution(1, [v]) for v in (2.0**24, 1.0, -(2.0**24))]
    values = fold(name, clients, torch.zeros(1)).values
    assert values.dtype == torch.float64
    assert values.tolist() == [1 / 3]


@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20),
    st.integers(1, 2**29 - 1),
)
@settings(max_examples=100)
def test_single_contribution_keeps_its_value_exactly(values: list[float], num_examples: int) -> None:
    """A count below 2**29 times a float32 is exact in float64. The division by the count is exact too."""
    other = contribution(17, [0.0] * len(values), [0] * len(values))
    alone = contribution(num_examples, values, [1] * len(values))
    found = fold("covmean", [other, alone], torch.full((len(values),), 9.0)).values.to(torch.float32)
    assert found.tolist() == alone.values.tolist()


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[list[Contribution], Tensor]:
    """Up to five clients with any masks over six coordinates, and the server's values."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    server = torch.from_numpy(rng.standard_normal(6).astype(np.float32))
    clients = []
    for k in range(draw(st.integers(1, 5))):
        density = draw(st.sampled_from([0.0, 0.3, 0.7, 1.0]))
        mask = torch.from_numpy(rng.random(6) < density) if draw(st.booleans()) else None
        values = torch.from_numpy(rng.standard_normal(6).astype(np.float32))
        held = values if mask is None else values * mask
        start = server if mask is None else server * mask
        weight = draw(st.integers(1, 500))
        clients.append(Contribution(client_id=k, weight=weight, values=held, mask=mask, start=start))
    return clients, server


@pytest.mark.parametrize("name", NAMES)
@given(cohort=cohorts())
@settings(max_examples=40)
def test_averages_of_any_cohort_equal_the_oracle_and_have_no_nan(
    name: AggregationName, cohort: tuple[list[Contribution], Tensor]
) -> None:
    clients, server = cohort
    values = fold(name, clients, server).values
    assert bool(values.isfinite().all())
    assert values.tolist() == pytest.approx(oracle(name, clients, server), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
@given(cohort=cohorts(), shuffle=st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_order_of_contributions_changes_only_the_last_bits(
    name: AggregationName, cohort: tuple[list[Contribution], Tensor], shuffle: object
) -> None:
    clients, server = cohort
    shuffled = list(clients)
    shuffle.shuffle(shuffled)  # type: ignore[attr-defined]
    values = fold(name, clients, server).values
    assert torch.equal(fold(name, clients, server).values, values)
    assert torch.allclose(fold(name, shuffled, server).values, values, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_contributions_and_server_values_do_not_change(name: AggregationName) -> None:
    clients = [contribution(2, [1, 0], [1, 0], start=3), contribution(1, [4, 5], start=3)]
    server = torch.tensor([3.0, 3.0])
    kept = [t.clone() for c in clients for t in (c.values, c.start)]
    fold(name, clients, server)
    assert all(
        torch.equal(a, b)
        for a, b in zip(kept, [t for c in clients for t in (c.values, c.start)], strict=True)
    )
    assert server.tolist() == [3.0, 3.0]


class TestOtherItems:
    """Items besides the model are averaged by name, over the clients that sent the item."""

    @staticmethod
    def _sent(weight: float, *items: Item, values: Sequence[float] | None = None) -> Contribution:
        model = None if values is None else torch.tensor(values)
        start = None if model is None else torch.zeros_like(model)
        return Contribution(
            client_id=0, weight=weight, values=model, mask=None, start=start, items=tuple(items)
        )

    @pytest.mark.parametrize(
        ("one", "other", "expected"),
        [
            # weights 1 and 3
            (Dense("x", np.float32([4, 0])), Dense("x", np.float32([8, -2])), [7.0, -1.5]),
            (
                Bits("x", np.array([True, True, False])),
                Bits("x", np.array([False, True, False])),
                [0.25, 1, 0],
            ),
            (Scalar("x", 0.5), Scalar("x", -1.5), -1.0),
            (
                Masked("x", np.float32([4, 8]), np.array([True, False, True])),
                Masked("x", np.float32([12]), np.array([False, False, True])),
                [1.0, 0.0, 11.0],
            ),
        ],
        ids=["dense", "bits", "scalar", "masked"],
    )
    @pytest.mark.parametrize("name", NAMES)
    def test_items_of_two_clients_by_hand(
        self, name: AggregationName, one: Item, other: Item, expected: list[float] | float
    ) -> None:
        clients = [self._sent(1, one, values=[1.0]), self._sent(3, other, values=[5.0])]
        aggregate = fold(name, clients, torch.zeros(1))
        assert aggregate.extras.keys() == {"x"}
        assert aggregate.extras["x"].dtype == torch.float64
        assert aggregate.extras["x"].tolist() == expected
        assert aggregate.values.tolist() == [4.0]
        assert aggregate.num_updates == 2

    def test_item_is_averaged_over_the_clients_that_sent_it(self) -> None:
        """`a` comes from the first and third clients, of weights 2 and 4.

        `b` comes from the second client alone.
        """
        clients = [
            self._sent(2, Scalar("a", 3.0)),
            self._sent(8, Scalar("b", 7.0)),
            self._sent(4, Scalar("a", 9.0)),
        ]
        extras = fold("wmean", clients, torch.zeros(1)).extras
        assert {name: float(value) for name, value in extras.items()} == {"a": 7.0, "b": 7.0}

    def test_scalars_are_also_kept_by_client(self) -> None:
        clients = [
            Contribution(client_id=k, weight=1.0, values=None, mask=None, start=None, items=(Scalar("a", x),))
            for k, x in ((3, 1.5), (7, 2.0), (3, 4.0))
        ]
        aggregate = fold("wmean", clients, torch.zeros(1))
        assert aggregate.scalars == {"a": {3: 4.0, 7: 2.0}}
        assert float(aggregate.extras["a"]) == 2.5

    @pytest.mark.parametrize("name", NAMES)
    def test_updates_without_a_model_keep_the_servers_values(self, name: AggregationName) -> None:
        server = torch.tensor([2.5, -1.0])
        aggregate = fold(name, [self._sent(2, Scalar("a", 1.0)), self._sent(3, Scalar("a", 1.0))], server)
        assert aggregate.values.dtype == torch.float64
        assert aggregate.values.tolist() == [2.5, -1.0]
        assert aggregate.union is not None
        assert aggregate.union.tolist() == [False, False]
        assert (aggregate.total_weight, aggregate.num_updates) == (0.0, 2)
        aggregate.values.zero_()
        assert server.tolist() == [2.5, -1.0]

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("model_first", [True, False])
    def test_client_without_a_model_does_not_change_the_average_of_models(
        self, name: AggregationName, model_first: bool
    ) -> None:
        clients = [self._sent(1, Scalar("a", 1.0), values=[4.0, 8.0]), self._sent(3, Scalar("a", 5.0))]
        aggregate = fold(name, clients if model_first else clients[::-1], torch.zeros(2))
        assert aggregate.values.tolist() == [4.0, 8.0]
        assert aggregate.total_weight == 1.0
        assert float(aggregate.extras["a"]) == 4.0

    def test_item_whose_values_do_not_fit_its_mask_is_rejected(self) -> None:
        loose = Masked("x", np.float32([1, 2]), np.array([True, False, False]))
        with pytest.raises(ValueError, match="item 'x'"):
            fold("wmean", [self._sent(1, loose)], torch.zeros(1))

    def test_sums_are_in_float64(self) -> None:
        clients = [self._sent(1, Dense("x", np.float32([v]))) for v in (2.0**24, 1.0, -(2.0**24))]
        assert fold("wmean", clients, torch.zeros(1)).extras["x"].tolist() == [1 / 3]

    def test_items_do_not_change(self) -> None:
        """Decoded items are read-only. The mean is a new tensor."""
        values = np.float32([1, 2])
        values.flags.writeable = False
        extras = fold("wmean", [self._sent(2, Dense("x", values))], torch.zeros(1)).extras
        extras["x"].zero_()
        assert values.tolist() == [1, 2]


@pytest.mark.parametrize("name", NAMES)
@given(cohort=cohorts(), weight=st.sampled_from([1.0, 1 / 3]))
@settings(max_examples=25)
def test_models_by_index_have_the_average_of_full_models(
    name: AggregationName, cohort: tuple[list[Contribution], Tensor], weight: float
) -> None:
    """The sums of full vectors, as `Tensor.add_` computes them, are the oracle."""
    clients, server = cohort
    clients = [replace(c, weight=c.weight * weight) for c in clients]
    by_index = [
        c if c.mask is None else replace(c, values=None, mask=None, entries=entries_of(c.values, c.mask))
        for c in clients
    ]
    found = fold(name, by_index, server)
    total, coverage = torch.zeros(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    for c in clients:
        mask = torch.ones(6, dtype=torch.bool) if c.mask is None else c.mask
        term = c.values.to(torch.float64) - (c.start.to(torch.float64) if name == "dmean" else 0.0)
        total.add_(term * mask, alpha=c.weight)
        coverage.add_(mask, alpha=c.weight)
    weights = sum(c.weight for c in clients)
    held = torch.stack([torch.ones(6, dtype=torch.bool) if c.mask is None else c.mask for c in clients])
    expected = {
        "wmean": torch.where(coverage > 0, total / weights, server),
        "covmean": torch.where(coverage > 0, total / coverage, server),
        "dmean": server + total / weights,
        "ipart": torch.where(held.all(0), total / weights, server),
    }[name]
    assert torch.equal(found.values, expected)
    if found.coverage is not None:
        assert torch.equal(found.coverage, coverage)

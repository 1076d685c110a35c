"""The base class of methods with submodels: ratios, units, messages, averages and the bandit's rewards."""

from typing import Any, final

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.contract.checked_run import CheckedRun
from orchestrator.errors import WireError
from orchestrator.federation.aggregate import AGGREGATORS, Contribution
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.bases.keep_ratio import NUM_REWARDS, REWARD_SUM
from orchestrator.federation.bases.structured import ClientRatio, StructuredAlgorithm, StructuredConfig
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.plan import ClientTask, TaskKind
from orchestrator.federation.setting import Setting
from orchestrator.fleet.registry import FLEETS
from orchestrator.models.parameters import FlatModule
from orchestrator.models.units.groups import UnitGroup
from orchestrator.models.units.submodel import KeptUnits, first_units
from orchestrator.models.units.tracing import trace_units
from orchestrator.sparsity.payload import Dense, Scalar
from tests.support.fakes import (
    make_run,
    make_setting,
    random_data,
    seeded,
)

SHAPE = (1, 1, 2)
#: entries of `net` for the first of its two hidden units
HALF = [0, 1, 4, 6, 8, 10, 11]


@final
class Prefix(StructuredAlgorithm[ClientRatio]):
    """Keeps the first units."""

    def kept(self, task: ClientTask, client_state: ClientRatio) -> KeptUnits:
        return first_units(self.setting.units, self.counts(self.ratio(task, client_state)))


def net() -> nn.Module:
    """2 inputs, 2 hidden units, 2 classes: weights 0-3, biases 4-5, weights 6-9, biases 10-11."""
    return nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))


def setting_of(flat: FlatModule, num_clients: int = 5, **training: object) -> Setting:
    """A setting in which client k has the capability 2^-k."""
    return make_setting(
        flat,
        SHAPE,
        training={"batch_size": 4, "local_epochs": 1, "clients_per_round": 5, **training},
        num_clients=num_clients,
        profiles=FLEETS["five-tier"].profiles,
        units=trace_units(flat.module, torch.zeros(2, *SHAPE)),
    )


def method(setting: Setting | None = None, **options: Any) -> Prefix:
    return Prefix(StructuredConfig(name="prefix", **options), setting or setting_of(seeded(net)))


def task(client_id: int = 0, kind: TaskKind = "train", round_idx: int = 0) -> ClientTask:
    return ClientTask(round_idx=round_idx, position=0, client_id=client_id, kind=kind)


def prepared(client_id: int, **options: Any) -> tuple[Prefix, CheckedRun]:
    """A client's task, with the client's units of the initial model."""
    flat = seeded(net)
    algorithm = method(setting_of(flat), **options)
    state, asked = algorithm.init_client(client_id), task(client_id)
    payload = algorithm.unicast(ServerState(params=flat.values.clone()), asked, state)
    return algorithm, make_run(
        algorithm.setting,
        flat,
        random_data(8, SHAPE, 2),
        received=algorithm.unpack(payload, asked, state),
        payload=payload,
        state=state,
        client_id=client_id,
    )


@pytest.mark.parametrize(
    ("num_units", "ratio", "count"),
    [
        (64, 1.0, 64),
        (64, 1 / 16, 4),
        (10, 0.31, 4),
        (3, 0.5, 2),
        (10, 1 / 16, 1),
        (5, 0.001, 1),
        (10, 0.1 + 0.2, 3),
        (100, 0.07, 7),
    ],
)
def test_numbers_of_units_are_rounded_up_without_rounding_errors(
    num_units: int, ratio: float, count: int
) -> None:
    """0.1 + 0.2 and 100 * 0.07 are slightly too large in floating point, which adds no unit."""
    algorithm = method()
    setting = make_setting(seeded(net), SHAPE, units=(UnitGroup("hidden", num_units, ()),))
    assert Prefix(algorithm.config, setting).counts(ratio) == {"hidden": count}


def test_ratio_is_the_capability_or_the_configured_ratio() -> None:
    by_device, fixed = method(), method(ratio_policy="fixed", ratio=0.3)
    assert [by_device.ratio(task(k), by_device.init_client(k)) for k in range(5)] == [
        1,
        0.5,
        0.25,
        0.125,
        0.0625,
    ]
    assert [fixed.ratio(task(k), fixed.init_client(k)) for k in range(5)] == [0.3] * 5


def test_ratio_of_a_bandit_is_repeatable_and_at_most_the_capability() -> None:
    algorithm = method(ratio_policy="p_ucbv")
    for client_id in range(5):
        capability, state = 2.0**-client_id, algorithm.init_client(client_id)
        sampled = [algorithm.ratio(task(client_id, round_idx=r), state) for r in range(20)]
        assert all(min(capability, 1 / 8) <= ratio <= capability for ratio in sampled)
        assert sampled == [algorithm.ratio(task(client_id, round_idx=r), state) for r in range(20)]
        assert len(set(sampled)) == (20 if client_id < 3 else 1)
        assert algorithm.ratio(task(client_id, "evaluate"), state) == capability


def test_messages_contain_only_the_submodel() -> None:
    algorithm = method()
    params = torch.arange(12.0)
    state = ServerState(params=params)
    assert algorithm.broadcast(state) == ()
    for client_id, expected in ((0, list(range(12))), (1, HALF)):
        (item,) = algorithm.unicast(state, task(client_id), algorithm.init_client(client_id))
        assert isinstance(item, Dense)
        assert item.values.tolist() == expected
    assert algorithm.unpack((), task(), ClientRatio()) is None


def test_uploaded_values_are_placed_at_the_entries_of_the_submodel() -> None:
    algorithm = method()
    payload = (Dense("theta", np.arange(1, 8, dtype=np.float32)),)
    model = algorithm.unpack(payload, task(1), ClientRatio())
    assert model is not None
    assert model.mask is not None
    assert model.mask.nonzero().flatten().tolist() == HALF
    assert model.values[HALF].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert int(model.values.count_nonzero()) == 7


@pytest.mark.parametrize("num_values", [6, 8, 12])
def test_submodel_of_another_size_is_rejected(num_values: int) -> None:
    with pytest.raises(WireError, match=rf"\b{num_values}\b.*\b7\b"):
        method().unpack((Dense("theta", np.zeros(num_values, np.float32)),), task(1), ClientRatio())


def test_coordinate_is_averaged_over_the_clients_that_have_it() -> None:
    """The whole model has value 2 and weight 1; the half has value 4 and weight 3.

    The mean is 3.5 where both have the coordinate, else 2.
    """
    algorithm = method()
    fold = AGGREGATORS[algorithm.capabilities.aggregation]()
    for client_id, value, weight in ((0, 2.0, 1.0), (1, 4.0, 3.0)):
        asked = task(client_id)
        size = len(algorithm.index(algorithm.kept(asked, ClientRatio())))
        model = algorithm.unpack((Dense("theta", np.full(size, value, np.float32)),), asked, ClientRatio())
        assert isinstance(model, ModelValues)
        fold.add(
            Contribution(client_id=client_id, weight=weight, values=model.values, mask=model.mask, start=None)
        )
    state = ServerState(params=torch.full((12,), 7.0))
    after = algorithm.server_update(state, fold.finish(state.params), 0).params
    assert after.tolist() == [3.5 if j in HALF else 2.0 for j in range(12)]


def test_coordinate_that_no_client_has_keeps_its_bits() -> None:
    algorithm, run = prepared(1)
    before = torch.rand(12) / 3
    model = algorithm.unpack(algorithm.client_update(run).payload, run.task, run.state)
    assert model is not None
    fold = AGGREGATORS["covmean"]()
    fold.add(Contribution(client_id=1, weight=3.0, values=model.values, mask=model.mask, start=None))
    after = algorithm.server_update(ServerState(params=before), fold.finish(before), 0).params
    others = [j for j in range(12) if j not in HALF]
    assert torch.equal(after[others], before[others])
    assert torch.equal(after[HALF], model.values[HALF])


def test_flops_and_bytes_decrease_with_the_ratio() -> None:
    """8 MACs, 4 for each hidden unit. 8 images, 6 FLOPs a MAC."""
    found = []
    for client_id in (0, 1):
        algorithm, run = prepared(client_id)
        result = algorithm.client_update(run)
        (item,) = result.payload
        assert isinstance(item, Dense)
        found.append((result.train_flops, result.train_flops_dense, item.values.size))
    assert found == [(384, 384, 12), (192, 384, 7)]


def test_client_without_a_bandit_has_no_bandit_state_and_reports_nothing() -> None:
    algorithm, run = prepared(1)
    assert algorithm.client_update(run).client_state.bandit is None
    assert algorithm.report(run) == ()


def test_cost_by_hand() -> None:
    """Client 1 has half the speed.

    28 bytes each way and 192 FLOPs, against 48 bytes and 384 FLOPs at full speed.
    """
    algorithm, run = prepared(1)
    algorithm.client_update(run)
    speed, up, down = 744_448e6, 14 * 2**20, 110.6 * 2**20
    expected = (28 / down + 192 / (speed / 2) + 28 / up) / (48 / down + 384 / speed + 48 / up)
    assert algorithm.cost(run) == pytest.approx(expected, rel=1e-9)


def test_bandit_gets_the_reward_for_the_trained_ratio() -> None:
    algorithm, run = prepared(0, ratio_policy="p_ucbv")
    played = algorithm.ratio(run.task, run.state)
    result = algorithm.client_update(run)
    after = result.client_state.bandit
    assert after is not None
    accuracy = run.statistics.accuracy()
    (row,) = after.arms[:, NUM_REWARDS].nonzero().flatten().tolist()
    assert float(after.arms[row, 0]) == pytest.approx(
        played
    )  # the right half of the cell; the capability is 1
    assert float(after.arms[row, REWARD_SUM]) == pytest.approx(accuracy - 0.05 * algorithm.cost(run))
    assert (after.num_plays, after.played, after.last_accuracy) == (1, -1, accuracy)


def test_upload_contains_the_accuracy_that_the_bandit_needs() -> None:
    algorithm, run = prepared(0, ratio_policy="p_ucbv")
    algorithm.client_update(run)
    assert algorithm.report(run) == (Scalar("train_accuracy", run.statistics.accuracy()),)

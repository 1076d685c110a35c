"""FedRolex: the rolling window, equal treatment of all units, and equality with HeteroFL at offset 0."""

from math import ceil

import pytest
import torch

from algorithms.fedrolex import FedRolex, FedRolexConfig
from orchestrator.contract.rounds import play
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.bases.structured import ClientRatio
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.setting import Setting
from orchestrator.models.units.groups import UnitGroup
from orchestrator.models.units.tracing import trace_units
from tests.support.fakes import (
    assert_same_params,
    experiment,
    make_run,
    make_setting,
    normalised_net,
    random_data,
    seeded,
)

#: hidden groups of different sizes; no tensor is needed to choose units
GROUPS = (UnitGroup("a", 10, ()), UnitGroup("b", 4, ()))
SHAPE = (1, 4, 4)


def method(ratio: float, setting: Setting | None = None, offset: str = "round") -> FedRolex:
    config = FedRolexConfig.model_validate(
        {"name": "fedrolex", "ratio_policy": "fixed", "ratio": ratio, "offset": offset, "masked_loss": False}
    )
    return FedRolex(
        config, setting or make_setting(seeded(lambda: normalised_net(SHAPE, 3)), SHAPE, units=GROUPS)
    )


def kept(algorithm: FedRolex, round_idx: int, client_id: int = 0) -> dict[str, list[int]]:
    task = ClientTask(round_idx=round_idx, position=0, client_id=client_id)
    return {name: units.tolist() for name, units in algorithm.kept(task, ClientRatio()).items()}


def test_window_starts_at_the_round_and_wraps_around() -> None:
    """ceil(0.35 * 10) = 4 and ceil(0.35 * 4) = 2 units. Each group counts rounds modulo its own size."""
    algorithm = method(0.35)
    assert kept(algorithm, 0) == {"a": [0, 1, 2, 3], "b": [0, 1]}
    assert kept(algorithm, 3) == {"a": [3, 4, 5, 6], "b": [3, 0]}
    assert kept(algorithm, 8) == {"a": [8, 9, 0, 1], "b": [0, 1]}
    assert kept(algorithm, 19) == {"a": [9, 0, 1, 2], "b": [3, 0]}
    assert kept(algorithm, 3, client_id=5) == kept(algorithm, 3)


@pytest.mark.parametrize("ratio", [0.05, 0.35, 0.5, 1.0])
@pytest.mark.parametrize("first", [0, 7])
def test_each_unit_is_kept_equally_often_over_as_many_rounds_as_units(ratio: float, first: int) -> None:
    algorithm = method(ratio)
    for group in GROUPS:
        rounds = [kept(algorithm, first + r)[group.name] for r in range(group.num_units)]
        times = [sum(unit in units for units in rounds) for unit in range(group.num_units)]
        assert times == [ceil(ratio * group.num_units)] * group.num_units


def test_random_units_differ_by_client_and_round_and_are_repeatable() -> None:
    algorithm = method(0.5, offset="random")
    drawn = [kept(algorithm, r, k)["a"] for r in range(4) for k in range(4)]
    assert all(len(set(units)) == 5 and units == sorted(units) for units in drawn)
    assert len({tuple(units) for units in drawn}) > 8
    assert drawn == [kept(algorithm, r, k)["a"] for r in range(4) for k in range(4)]
    assert {unit for units in drawn for unit in units} == set(range(10))


@pytest.mark.parametrize("model", ["auto", "tests.support.fakes:normalised_net"])
def test_round_with_offset_0_equals_heterofl(model: str) -> None:
    options = {"fleet.name": "five-tier", "model.name": model, "training.weight_decay": 0.01}
    rolling, fixed = (play(experiment({"algorithm.name": n, **options}), 2) for n in ("fedrolex", "heterofl"))
    assert_same_params(rolling[:1], fixed[:1])
    for ours, theirs in zip(rolling[0].updates, fixed[0].updates, strict=True):
        assert ours.buffer.tobytes() == theirs.buffer.tobytes()
    assert not torch.equal(rolling[1].after.params, fixed[1].after.params)


def test_submodel_with_all_units_in_another_order_is_the_same_function() -> None:
    flat = seeded(lambda: normalised_net(SHAPE, 3))
    setting = make_setting(flat, SHAPE, units=trace_units(flat.module, torch.zeros(2, *SHAPE)))
    algorithm, values = method(1.0, setting), flat.values.clone()
    values[-8:] = torch.arange(1.0, 9.0)  # each channel has other running statistics
    task = ClientTask(round_idx=3, position=0, client_id=0)
    payload = algorithm.unicast(ServerState(params=values), task, ClientRatio())
    received = algorithm.unpack(payload, task, ClientRatio())
    assert received is not None
    assert torch.equal(received.values, values)
    data = random_data(5, SHAPE, 3)
    run = make_run(setting, flat, data, received=received, round_idx=3, state=ClientRatio())
    algorithm.load(run)
    assert not torch.equal(run.values, values)
    flat.load(values)
    with torch.no_grad():
        expected = flat.module.eval()(data.images)
        found = run.flat.module.eval()(data.images)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_unit_after_the_wrap_is_returned_to_its_place() -> None:
    """Units 3 and 0 of 4, in this order. The client's first unit is unit 3 at the server."""
    flat = seeded(lambda: normalised_net(SHAPE, 3))
    setting = make_setting(flat, SHAPE, units=trace_units(flat.module, torch.zeros(2, *SHAPE)))
    algorithm = method(0.5, setting)
    run = make_run(setting, flat, random_data(4, SHAPE, 3), round_idx=3, state=ClientRatio())
    algorithm.load(run)
    assert [units.tolist() for units in run.kept.values()] == [[3, 0]]
    run.layout.views(run.values)["0.bias"].copy_(torch.tensor([30.0, 10.0]))
    model = algorithm.unpack(algorithm.pack(run), run.task, ClientRatio())
    assert model is not None
    assert setting.layout.views(model.values)["0.bias"].tolist() == [10.0, 0.0, 0.0, 30.0]


def test_all_units_are_trained_although_no_client_has_all_of_them() -> None:
    """Four rounds of half of four channels. A prefix would leave two channels untrained."""
    changed = {}
    for name in ("fedrolex", "heterofl"):
        run = experiment(
            {
                "algorithm.name": name,
                "algorithm.ratio_policy": "fixed",
                "algorithm.ratio": 0.5,
                "model.name": "tests.support.fakes:normalised_net",
            }
        )
        before = run.setting.layout.views(torch.from_numpy(run.initial.copy()))["0.weight"]
        after = run.setting.layout.views(play(run)[-1].after.params)["0.weight"]
        changed[name] = (before != after).flatten(1).any(dim=1).tolist()
    assert changed == {"fedrolex": [True] * 4, "heterofl": [True, True, False, False]}

"""FedMP: units by norm, rewards, the mean of recovered models, and bytes."""

from dataclasses import replace

import pytest
import torch

from algorithms.fedmp import FedMP, FedMPClient, FedMPState
from orchestrator.contract.rounds import play
from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.exchange import find_bits
from orchestrator.federation.plan import ClientTask
from orchestrator.sparsity.payload import Scalar
from tests.support.fakes import experiment

FEDMP = {"algorithm.name": "fedmp"}
TASK = ClientTask(round_idx=1, position=0, client_id=2)


def method(**options: object) -> FedMP:
    algorithm = experiment({**FEDMP, **options}).algorithm
    assert isinstance(algorithm, FedMP)
    return algorithm


def test_units_of_largest_norm_are_kept() -> None:
    """Unit 7 of the first layer, and units 3 and 4 of the second, have the only weights."""
    algorithm = method()
    params = torch.zeros(algorithm.setting.layout.size)
    views = algorithm.setting.layout.views(params)
    views["fc1.weight"][7] = 0.1
    views["fc2.weight"][3] = 1.0
    views["fc2.weight"][4] = -2.0
    kept = algorithm.largest_units(params, 0.02)
    assert {name: len(units) for name, units in kept.items()} == {"fc1": 4, "fc2": 2}
    assert kept["fc2"].tolist() == [3, 4]
    assert 7 in kept["fc1"].tolist()
    assert {name: len(units) for name, units in algorithm.largest_units(params, 1e-4).items()} == {
        "fc1": 1,
        "fc2": 1,
    }


def test_reward_is_the_decrease_of_the_loss_over_the_gap_of_times() -> None:
    """Times 1 and 3 have the mean 2, so that both gaps are .5; .1 is added. Client 5 has no earlier loss."""
    algorithm = method()
    state = algorithm.init(torch.zeros(algorithm.setting.layout.size))
    state = replace(state, losses=state.losses.index_fill(0, torch.tensor([2]), 1.5))
    scalars = {"loss": {2: 0.9, 5: 0.7}, "seconds": {2: 1.0, 5: 3.0}}
    aggregate = Aggregate(state.params.to(torch.float64), None, 2.0, {}, 2, scalars)
    after = algorithm.server_update(state, aggregate, 1)
    assert after.rewards[[2, 5]].tolist() == pytest.approx([0.6 / 0.6, 0.0])
    assert after.losses[[2, 5]].tolist() == [0.9, 0.7]
    assert float(after.losses[0]) == -1.0


def test_both_ends_derive_the_same_bandit() -> None:
    """The bandit that a client returns is the one from which the server chose the units."""
    run = experiment(FEDMP)
    algorithm = run.algorithm
    assert isinstance(algorithm, FedMP)
    rounds = play(run)
    for played in rounds:
        assert isinstance(played.before, FedMPState)
        for job, update, payload in zip(played.jobs, played.updates, played.payloads, strict=True):
            reward = float(played.before.rewards[job.task.client_id])
            chosen = algorithm.played(job.client_state.bandit, reward, job.task)
            assert isinstance(update.client_state, FedMPClient)
            assert update.client_state.bandit.pending == chosen.pending
            kept = algorithm.units_of(payload)
            expected = algorithm.largest_units(played.before.params, chosen.pending)
            assert all(torch.equal(kept[name], expected[name]) for name in expected)
    assert any(len(job.client_state.bandit.ratios) for job in rounds[-1].jobs)


def test_coordinate_without_a_client_keeps_its_value() -> None:
    for played in play(experiment(FEDMP)):
        union = played.aggregate.union
        assert union is not None
        assert bool((~union).any())
        assert torch.equal(played.after.params[~union], played.before.params[~union])


def test_smallest_ratio_of_1_equals_fedavg_of_equal_clients() -> None:
    """HeteroFL at full width is FedAvg with equal weights. Equal to 1e-6: FedMP adds the mean change."""
    heterofl = {"algorithm.name": "heterofl", "algorithm.masked_loss": False}
    rounds = zip(
        play(experiment({**FEDMP, "algorithm.min_ratio": 1})), play(experiment(heterofl)), strict=True
    )
    for ours, fedavg in rounds:
        assert torch.allclose(ours.after.params, fedavg.after.params, rtol=0, atol=1e-6)


def test_bytes_of_every_message() -> None:
    """4 bytes an entry of the perceptron 64-a-b-10, the bits of 300 units, and 8 bytes a scalar."""
    for played in play(experiment(FEDMP)):
        for update, payload, down in zip(played.updates, played.payloads, played.download_bytes, strict=True):
            bits = find_bits(payload, "units")
            first, second = int(bits[:200].sum()), int(bits[200:].sum())
            size = 65 * first + (first + 1) * second + (second + 1) * 10
            model = 12 + 24 + 4 * size
            assert 0 <= update.buffer.nbytes - (model + 24 + (20 + 8) + (24 + 8)) <= 38
            assert 0 <= down - (model + 24 + (24 + 8)) <= 38
            assert [item.name for item in payload if isinstance(item, Scalar)] == ["loss", "seconds"]


def test_whole_model_is_scored() -> None:
    algorithm = method()
    state = algorithm.init(torch.from_numpy(algorithm.setting.initial.copy()))
    payload = algorithm.unicast(state, replace(TASK, kind="evaluate"), algorithm.init_client(2))
    assert find_bits(payload, "units").all()


@pytest.mark.parametrize("edges", [[0.2], [0.2, 0.9], [0.1, 1.0], [0.2, 0.8, 0.5, 1.0]])
def test_bandit_whose_arms_are_no_partition_is_rejected(edges: list[float]) -> None:
    algorithm = method()
    broken = replace(algorithm.init_client(0).bandit, edges=torch.tensor(edges, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"partition \[0.2, 1\]"):
        algorithm.check_client_state(FedMPClient(bandit=broken))
    uneven = replace(algorithm.init_client(0).bandit, ratios=torch.ones(2, dtype=torch.float64))
    with pytest.raises(ValueError, match="number"):
        algorithm.check_client_state(FedMPClient(bandit=uneven))

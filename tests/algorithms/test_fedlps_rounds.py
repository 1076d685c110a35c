"""FedLPS over rounds: messages, the server's averages, and sizes of submodels."""

from itertools import pairwise
from math import ceil

import numpy as np
import pytest
import torch

from algorithms.fedlps import FedLPS, FedLPSClient
from orchestrator.contract.rounds import RecordedRound, play
from orchestrator.federation.aggregate import Contribution
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.bases.keep_ratio import HIGH, LOW
from orchestrator.models.units.submodel import bits_to_units
from orchestrator.sparsity.payload import Bits, Dense
from tests.support.fakes import assert_same_params, experiment
from tests.support.fedlps_client import Client

TIERS = {"algorithm.name": "fedlps", "fleet.name": "five-tier"}
ALONE = {"algorithm.ratio_policy": "fixed", "algorithm.ratio": 0.2}


def kept_counts(played: RecordedRound, position: int) -> list[int]:
    """Numbers of units of the two hidden layers, 200 and 100, in an upload."""
    bits = next(item for item in played.payloads[position] if isinstance(item, Bits))
    return [int(bits.bits[:200].sum()), int(bits.bits[200:].sum())]


@pytest.mark.parametrize("pattern", ["learned", "ordered"])
@pytest.mark.parametrize("setting", [{}, {"model.name": "tests.support.fakes:normalised_net"}])
def test_clients_that_keep_all_units_equal_fedavg(setting: dict[str, object], pattern: str) -> None:
    whole = {
        "algorithm.name": "fedlps",
        "algorithm.ratio_policy": "fixed",
        "algorithm.pattern": pattern,
        "algorithm.agg_weight": "samples",
    }
    assert_same_params(play(experiment(setting | whole)), play(experiment(setting)))


def test_mean_change_of_clients_that_keep_all_units_equals_fedavgs() -> None:
    """Equal to 1e-6: the server adds the mean change, and FedAvg takes the mean of the models."""
    whole = {
        "algorithm.name": "fedlps",
        "algorithm.ratio_policy": "fixed",
        "algorithm.average": "mean_delta",
        "algorithm.agg_weight": "samples",
    }
    for ours, fedavg in zip(play(experiment(whole)), play(experiment()), strict=True):
        assert torch.allclose(ours.after.params, fedavg.after.params, rtol=0, atol=1e-6)


@pytest.mark.parametrize("average", ["per_unit", "mean_delta"])
def test_entries_that_no_client_has_keep_their_bits(average: str) -> None:
    for played in play(experiment(TIERS | ALONE | {"algorithm.average": average})):
        union = played.aggregate.union
        assert union is not None
        before, after = played.before.params, played.after.params
        assert 0.2 < float((~union).float().mean()) < 0.9
        assert torch.equal(after[~union], before[~union])
        assert float((after[union] != before[union]).float().mean()) > 0.5


@pytest.mark.parametrize(
    ("average", "rows"), [("per_unit", [3.0, 6.0, 7.0, 1.0]), ("mean_delta", [1.5, 6.0, 5.5, 1.0])]
)
def test_averages_of_two_clients_by_hand(average: str, rows: list[float]) -> None:
    """All weights are 1.

    Client 0 (10 images) has units 0 and 1 and sends 3, client 1 (30 images) has 1 and 2 and sends 7. Unit 1: (10
    * 3 + 30 * 7) / 40 = 6 in both averages. Unit 0 changes by 2, or by 10 / 40 of 2.
    """
    method = Client(average=average).method
    start, aggregator = torch.ones(55), method.aggregator()
    for client_id, units, weight, value in ((0, [0, 1], 10.0, 3.0), (1, [1, 2], 30.0, 7.0)):
        client = Client(client_id=client_id)
        bits = np.isin(np.arange(4), units)
        payload = (Dense("theta", np.full(2 * 13 + 3, value, np.float32)), Bits("units", bits))
        model = method.unpack(payload, client.run.task, client.run.state)
        assert model is not None
        aggregator.add(
            Contribution(
                client_id=client_id, weight=weight, values=model.values, mask=model.mask, start=start
            )
        )
    after = method.server_update(ServerState(params=start), aggregator.finish(start), 0).params
    w1, b1, w2, b2 = torch.split(after, [36, 4, 12, 3])
    assert w1.view(4, 9).tolist() == [[pytest.approx(row)] * 9 for row in rows]
    assert b1.tolist() == pytest.approx(rows)
    assert w2.view(3, 4).tolist() == [pytest.approx(rows)] * 3
    assert b2.tolist() == pytest.approx([6.0] * 3)


def test_importance_and_personal_models_are_never_sent() -> None:
    """The download is the dense model. The upload is a submodel and its unit bits."""
    for played in play(experiment(TIERS)):
        assert [(item.name, type(item)) for item in played.broadcast.payload] == [("theta", Dense)]
        assert all(job.unicast.size == 0 for job in played.jobs)
        for payload in played.payloads:
            assert [(item.name, type(item)) for item in payload] == [("theta", Dense), ("units", Bits)]


def test_upload_is_the_trained_submodel() -> None:
    """The client sends the model of the last epoch, and its personal model has the same entries."""
    run = experiment(TIERS | {"algorithm.keep": "last"})
    for played in play(run):
        for update, model in zip(played.updates, played.models, strict=True):
            state = update.client_state
            assert model is not None
            assert model.mask is not None
            assert torch.equal(state.personal, model.values)
            kept = bits_to_units(run.setting.units, state.units.numpy())
            assert isinstance(run.algorithm, FedLPS)
            assert torch.equal(torch.nonzero(model.mask).flatten(), run.algorithm.index(kept).sort().values)


def test_ties_among_many_units_go_to_the_lower_index() -> None:
    """Unstable sorts change the order only above 16 entries."""
    equal = {"algorithm.prior": 0.0, "algorithm.importance_lr": 0.0}
    for payload in play(experiment(TIERS | ALONE | equal | {"algorithm.ratio_policy": "fixed"}), 1)[
        0
    ].payloads:
        bits = next(item.bits for item in payload if isinstance(item, Bits))
        assert np.flatnonzero(bits).tolist() == [*range(40), *range(200, 220)]


@pytest.mark.parametrize("policy", ["p_ucbv", "capability", "fixed", "capped"])
def test_submodel_has_the_rounded_up_share_of_each_layer(policy: str) -> None:
    """The share is at most the device's capability, unless the ratio is fixed."""
    ratio = {"algorithm.ratio": 0.3} if policy in ("fixed", "capped") else {}
    run = experiment(TIERS | {"algorithm.ratio_policy": policy} | ratio)
    capabilities = set()
    for played in play(run):
        for position, job in enumerate(played.jobs):
            z = run.setting.profile_of(job.task.client_id, 0).capability
            capabilities.add(z)
            most = [ceil(z * 200), ceil(z * 100)]
            found = kept_counts(played, position)
            assert isinstance(run.algorithm, FedLPS)
            s = run.algorithm.ratio(job.task, job.client_state)
            assert found == [ceil(s * 200), ceil(s * 100)]
            match policy:
                case "capability":
                    assert found == most
                case "fixed":
                    assert found == [60, 30]
                case "capped":
                    assert found == [min(60, most[0]), min(30, most[1])]
                case _:
                    assert min(z, 0.125) <= s <= z
                    assert all(f <= m for f, m in zip(found, most, strict=True))
    assert len(capabilities) >= 3


def test_bandit_changes_with_each_participation() -> None:
    """Cells stay in order, up to a share of 1. Each play splits a cell, and each drop deletes one."""
    run = experiment(TIERS | {"training.clients_per_round": 6})
    num_plays = dict.fromkeys(range(8), 0)
    for played in play(run):
        for update, job in zip(played.updates, played.jobs, strict=True):
            k, state = update.client_id, update.client_state
            num_plays[k] += 1
            z = run.setting.profile_of(k, 0).capability
            bandit, earlier = state.bandit, job.client_state.bandit
            assert isinstance(state, FedLPSClient)
            assert (state.num_trained, bandit.num_plays, bandit.played) == (num_plays[k], num_plays[k], -1)
            assert bandit.last_accuracy > 0.0
            bounds = bandit.arms[:, [LOW, HIGH]].tolist()
            assert bounds[0][0] >= min(1.0, 0.125 / z)
            assert bounds[-1][1] <= 1.0
            assert all(left[1] <= right[0] for left, right in pairwise(bounds))
            if z <= 1 / 8:
                assert bounds == [[1.0, 1.0]]
            else:
                deleted = earlier.last_accuracy - bandit.last_accuracy > 0.05
                assert len(bandit.arms) == len(earlier.arms) + 1 - deleted
    assert max(num_plays.values()) >= 3


def test_first_update_of_a_client_does_not_depend_on_the_cohort() -> None:
    """A client's update in round 0 is the same whatever the cohort."""
    few = play(experiment(TIERS), 1)[0]
    many = play(experiment(TIERS | {"training.clients_per_round": 8, "algorithm.ratio_policy": "p_ucbv"}), 1)[
        0
    ]
    buffers = {u.client_id: u.buffer.tobytes() for u in many.updates}
    for update in few.updates:
        assert update.buffer.tobytes() == buffers[update.client_id]


def test_clients_count_equally_or_by_samples() -> None:
    method = experiment(TIERS).algorithm
    assert (method.weight(70), method.weight(7)) == (1.0, 1.0)
    by_samples = experiment(TIERS | {"algorithm.agg_weight": "samples"}).algorithm
    assert (by_samples.weight(70), by_samples.weight(7)) == (70.0, 7.0)

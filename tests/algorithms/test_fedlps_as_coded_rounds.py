"""FedLPS's public code over rounds: the server's average and noise, the bandits, and personal models."""

import numpy as np
import pytest
import torch

from algorithms._fedlps_as_coded_ratio import REWARD_SUM, utility
from algorithms.fedlps_as_coded import FedLPSAsCoded
from orchestrator.contract.rounds import RecordedRound, play
from orchestrator.federation.aggregate import Contribution
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.seeds import stream
from orchestrator.sparsity.payload import Bits, Dense
from tests.support.fakes import experiment

CODED = {"algorithm.name": "fedlps_as_coded", "fleet.name": "five-tier", "training.clients_per_round": 6}
QUIET = CODED | {"algorithm.noise": 0.0}


def upload_masks(played: RecordedRound) -> list[torch.Tensor]:
    """bool[D] of each upload."""
    return [model.mask for model in played.models if model is not None and model.mask is not None]


def test_changes_are_averaged_over_all_clients_without_weights() -> None:
    """1/6 of the sum of the changes, also for a row that a single client kept."""
    run = experiment(QUIET)
    assert len(set(run.partition.train.sizes().tolist())) > 1
    for played in play(run):
        before, change = played.before.params.double(), torch.zeros(run.setting.layout.size).double()
        for model in played.models:
            assert model is not None
            change += torch.where(model.mask, model.values.double() - before, 0.0)  # type: ignore[arg-type]
        assert len(played.models) == 6
        assert torch.allclose(played.after.params.double(), before + change / 6, rtol=0, atol=1e-6)
        num_holders = torch.stack(upload_masks(played)).sum(dim=0)
        assert set(num_holders.tolist()) >= {0, 6}


def test_rows_that_no_client_kept_keep_their_bits_without_noise() -> None:
    for played in play(experiment(QUIET)):
        nobody = ~torch.stack(upload_masks(played)).any(dim=0)
        assert int(nobody.sum()) > 0
        assert torch.equal(played.after.params[nobody], played.before.params[nobody])


def test_noise_comes_from_its_own_stream() -> None:
    """1e-3 times standard normal numbers for every weight, added to the float64 average and rounded once."""
    run = experiment(CODED)
    for played in play(run):
        rng = stream(run.setting.seed, "server", played.round_idx, "noise")
        noise = torch.from_numpy(0.001 * rng.standard_normal(run.setting.layout.size))
        assert torch.equal(played.after.params, (played.aggregate.values + noise).float())


def test_noise_has_the_configured_standard_deviation() -> None:
    """n differences between the average with and without noise.

    Their mean is within 4 sigma and their deviation within 5.
    """
    quiet, noisy = experiment(QUIET), experiment(CODED)
    played = play(noisy, 1)[0]
    state = ServerState(params=played.before.params)
    without = quiet.algorithm.server_update(state, played.aggregate, 0).params
    difference = (played.after.params - without).double().numpy()
    n = len(difference)
    assert abs(difference.mean()) < 4 * 0.001 / np.sqrt(n)
    assert abs(difference.std() / 0.001 - 1) < 5 / np.sqrt(2 * n)


def test_average_of_equal_changes_is_that_change() -> None:
    """Three clients of 10, 20 and 30 images send the same values."""
    run = experiment(QUIET)
    played = play(run, 1)[0]
    model, start = played.models[0], played.before.params
    assert model is not None
    assert model.mask is not None
    aggregator = run.algorithm.aggregator()
    for client_id in range(3):
        weight = run.algorithm.weight(10 * (client_id + 1))
        aggregator.add(
            Contribution(
                client_id=client_id, weight=weight, values=model.values, mask=model.mask, start=start
            )
        )
    after = run.algorithm.server_update(ServerState(params=start), aggregator.finish(start), 0).params
    assert torch.equal(after, torch.where(model.mask, model.values, start))


def test_importance_personal_models_and_bandits_are_never_sent() -> None:
    for played in play(experiment(CODED)):
        assert [(item.name, type(item)) for item in played.broadcast.payload] == [("theta", Dense)]
        assert all(job.unicast.size == 0 for job in played.jobs)
        for payload in played.payloads:
            assert [(item.name, type(item)) for item in payload] == [("theta", Dense), ("rows", Bits)]


def test_every_layer_except_the_classifier_keeps_rows_by_the_clients_ratio() -> None:
    """Of 200 and 100 rows max(1, floor(s J)) - 1 are kept, with s at most the capability."""
    run = experiment(CODED)
    for played in play(run):
        for update, payload in zip(played.updates, played.payloads, strict=True):
            z = run.setting.profile_of(update.client_id, 0).capability
            ratio = update.client_state.bandit.last_ratio
            assert ratio <= z
            bits = next(item.bits for item in payload if isinstance(item, Bits))
            kept = [int(bits[:200].sum()), int(bits[200:].sum())]
            assert kept == [max(1, int(ratio * 200)) - 1, max(1, int(ratio * 100)) - 1]


def test_only_clients_with_ratios_above_a_quarter_have_a_personal_model() -> None:
    run = experiment(CODED)
    states = play(run)[-1].client_states
    has = {k: state.has_personal for k, state in states.items()}
    assert has == {k: run.setting.profile_of(k, 0).capability > 0.25 for k in states}
    assert set(has.values()) == {False, True}


def test_bandits_get_rewards_by_the_public_codes_cost() -> None:
    """Each participation adds an arm.

    The reward after the first is (U(accuracy) - 0) / cost. cost = 3 * (share of the dense FLOPs) / z + uploaded
    MiB, without the row bits.
    """
    run = experiment(CODED)
    for played in play(run):
        for job, update, payload in zip(played.jobs, played.updates, played.payloads, strict=True):
            before, after = job.client_state.bandit, update.client_state.bandit
            assert len(after.arms) == len(after.rewards) == len(before.arms) + 1 == 5 + after.num_plays
            assert after.num_plays == before.num_plays + 1
            assert after.last_accuracy > 0.0
            if before.num_plays:
                continue
            z = run.setting.profile_of(update.client_id, 0).capability
            values = next(item.values for item in payload if isinstance(item, Dense))
            cost = 3 * update.train_flops / update.train_flops_dense / z + 4 * values.size / 2**20
            rewards = after.rewards[:, REWARD_SUM]
            assert float(rewards.sum()) == pytest.approx(utility(after.last_accuracy) / cost)


def test_flops_are_those_of_the_kept_rows() -> None:
    """64-200-100-10, at 6 FLOPs a weight and image in each step. The mask hardly changes within a round."""
    run = experiment(CODED | {"algorithm.penalty": 0.0})
    assert isinstance(run.algorithm, FedLPSAsCoded)
    for played in play(run, 1):
        for update, payload in zip(played.updates, played.payloads, strict=True):
            bits = next(item.bits for item in payload if isinstance(item, Bits))
            first, second = int(bits[:200].sum()), int(bits[200:].sum())
            per_image = 6 * (64 * first + 200 * second + 100 * 10)
            assert update.train_flops == update.unmasked_flops == 2 * update.num_examples * per_image
            assert update.train_flops_dense == 2 * update.num_examples * 6 * (64 * 200 + 200 * 100 + 1000)

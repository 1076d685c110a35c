"""Recorded rounds: their content, their order, and the masks that an upload omits."""

import numpy as np
import pytest
import torch

from orchestrator.contract.experiment import contract_experiment
from orchestrator.contract.rounds import known_upload_masks, phases, play, recorded_rounds
from tests.support.fakes import cohort


def test_record_of_a_round_has_an_entry_for_each_client_in_plan_order() -> None:
    experiment = contract_experiment("fedavg")
    rounds = play(experiment, 2)
    assert [recorded.round_idx for recorded in rounds] == [0, 1]
    for recorded in rounds:
        clients = [job.task.client_id for job in recorded.jobs]
        assert tuple(clients) == cohort(experiment, recorded.round_idx)
        assert [update.client_id for update in recorded.updates] == clients
        lists = (recorded.received, recorded.payloads, recorded.models, recorded.download_bytes)
        assert {len(entries) for entries in lists} == {3}


def test_next_round_starts_with_the_state_of_the_last_one() -> None:
    experiment = contract_experiment("fedavg")
    first, second = play(experiment, 2)
    assert np.array_equal(first.before.params.numpy(), experiment.initial)
    assert second.before is first.after


def test_server_step_is_the_mean_of_the_recorded_models_weighted_by_samples() -> None:
    (recorded,) = play(contract_experiment("fedavg"), 1)
    sizes = np.array([update.num_examples for update in recorded.updates], np.float64)
    models = np.stack([model.values.numpy() for model in recorded.models if model is not None])
    mean = (sizes[:, None] * models.astype(np.float64)).sum(0) / sizes.sum()
    assert np.allclose(recorded.after.params.numpy(), mean, rtol=0.0, atol=1e-7)


def test_rounds_can_start_from_another_state() -> None:
    experiment = contract_experiment("fedavg")
    second = play(experiment, 1, start=play(experiment, 1)[0].after)
    assert torch.equal(second[0].before.params, play(experiment, 1)[0].after.params)


def test_rounds_are_recorded_once_for_each_experiment() -> None:
    experiment = contract_experiment("fedavg")
    assert recorded_rounds(experiment) is recorded_rounds(experiment)
    assert play(experiment, 1)[0] is not recorded_rounds(experiment)[0]


def test_probes_precede_their_round() -> None:
    rounds = recorded_rounds(contract_experiment("ssfl"))
    assert [len(recorded.probes) for recorded in rounds] == [1, 0, 0, 0]
    kinds = [recorded.jobs[0].task.kind for recorded in phases(rounds)]
    assert kinds == ["probe", "train", "train", "train", "train"]


def test_upload_omits_the_mask_of_the_received_model() -> None:
    experiment = contract_experiment("randommask")
    (received, *_) = recorded_rounds(experiment)[0].received
    assert received is not None
    assert received.mask is not None
    known = known_upload_masks(experiment, received)
    expected = experiment.setting.layout.restrict(received.mask).numpy()
    assert [np.array_equal(mask, expected) for mask in known.values()] == [True]
    assert known_upload_masks(experiment, None) == {}


def test_failed_client_ends_the_rounds_with_its_traceback() -> None:
    experiment = contract_experiment(
        "tests.support.methods:Misbehaving", ["algorithm.client_id=0", "training.clients_per_round=8"]
    )
    with pytest.raises(AssertionError, match="ZeroDivisionError") as caught:
        play(experiment)
    assert "in grad_hook" in caught.value.__notes__[0]

"""Checks of updates before they count; injected faults are in tests/execution/test_fault_injection.py."""

from dataclasses import replace

import pytest
import torch

from orchestrator.contract.rounds import RecordedRound, play
from orchestrator.errors import WireError
from orchestrator.experiment.experiment import Experiment
from orchestrator.rounds.admission import checked
from tests.support.runs import prepared


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return prepared("algorithm.name=feddst", "sparsity.level=0.8")


@pytest.fixture(scope="module")
def dense_round(experiment: Experiment) -> RecordedRound:
    """A round from a model that keeps more than its level allows, as one that was taken over from a denser run."""
    state = experiment.algorithm.init(torch.from_numpy(experiment.initial.copy()))
    (played,) = play(experiment, 1, start=replace(state, mask=experiment.setting.layout.full_mask()))
    return played


def test_upload_may_be_as_dense_as_the_received_model(
    experiment: Experiment, dense_round: RecordedRound
) -> None:
    for request, update, received in zip(
        dense_round.jobs, dense_round.updates, dense_round.received, strict=True
    ):
        model, _ = checked(experiment.algorithm, request, update, received, None)
        assert model is not None
        assert experiment.setting.layout.density(model.mask) == 1.0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"round_idx": 5}, "round_idx is 5"),
        ({"client_id": 77}, "client_id is 77"),
        ({"num_examples": -1}, "num_examples is -1"),
        ({"train_flops": float("nan")}, "train_flops is nan"),
    ],
)
def test_wrong_update_is_rejected_by_name(
    experiment: Experiment, dense_round: RecordedRound, changes: dict[str, float], named: str
) -> None:
    request, update, received = dense_round.jobs[0], dense_round.updates[0], dense_round.received[0]
    with pytest.raises(WireError, match=named):
        checked(experiment.algorithm, request, replace(update, **changes), received, None)

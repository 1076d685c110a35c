"""What an update must be to count; the faults that clients are given on purpose are in test_chaos.py."""

from dataclasses import replace

import pytest
import torch

from orchestrator.contract.rounds import RecordedRound, play
from orchestrator.errors import WireError
from orchestrator.experiment.experiment import Experiment
from orchestrator.rounds.admission import admit
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


def test_a_client_may_send_as_much_as_it_received(experiment: Experiment, dense_round: RecordedRound) -> None:
    for job, update, received in zip(
        dense_round.jobs, dense_round.updates, dense_round.received, strict=True
    ):
        model = admit(experiment.algorithm, job, update, received).model
        assert model is not None
        assert experiment.setting.layout.density(model.mask) == 1.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"round_idx": 5}, "its round_idx is 5, asked was 0"),
        ({"client_id": 77}, "its client_id is 77"),
        ({"num_examples": -1}, "its num_examples is -1"),
        ({"train_flops": float("nan")}, "its train_flops is nan"),
    ],
)
def test_what_is_wrong_is_said(
    experiment: Experiment, dense_round: RecordedRound, changes: dict[str, float], words: str
) -> None:
    job, update, received = dense_round.jobs[0], dense_round.updates[0], dense_round.received[0]
    with pytest.raises(WireError, match=words):
        admit(experiment.algorithm, job, replace(update, **changes), received)

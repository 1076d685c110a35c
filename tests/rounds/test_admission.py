"""Checks of updates before they count; injected faults are in tests/execution/test_fault_injection.py."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.contract.rounds import RecordedRound, play
from orchestrator.errors import RoundError, WireError
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.exchange import known_masks
from orchestrator.rounds.admission import checked
from orchestrator.sparsity.payload import Bits, Dense, Payload, Scalar
from orchestrator.sparsity.wire import decode, encode
from tests.support.runs import REMEMBERING, committed, drive, initial_state, prepared


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return prepared("algorithm.name=feddst", "sparsity.level=0.8")


@pytest.fixture(scope="module")
def dense_round(experiment: Experiment) -> RecordedRound:
    """The run starts from the model of a denser run, which keeps more weights than its sparsity level allows."""
    state = initial_state(experiment)
    (played,) = play(experiment, 1, start=replace(state, mask=experiment.setting.layout.full_mask()))
    return played


def test_upload_may_be_as_dense_as_the_received_model(
    experiment: Experiment, dense_round: RecordedRound
) -> None:
    for request, update, received in zip(
        dense_round.jobs, dense_round.updates, dense_round.received, strict=True
    ):
        model = checked(experiment, request, update, received).model
        assert model is not None
        assert experiment.setting.layout.density(model.mask) == 1.0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"round_idx": 5}, "round_idx"),
        ({"client_id": 77}, "client_id"),
        ({"position": 0.0}, "position"),
        ({"position": np.int64(0)}, "position"),
        ({"position": False}, "position"),
        ({"train_flops": 10**25}, "train_flops"),
        ({"num_examples": -1}, "num_examples"),
        ({"num_examples": 0}, "num_examples"),
        ({"num_examples": 10**18}, "num_examples"),
        ({"num_examples": 2**63}, "num_examples"),
        ({"num_examples": 1.7e308}, "num_examples"),
        ({"num_examples": None}, "num_examples"),
        ({"num_examples": np.int64(40)}, "num_examples"),
        ({"train_flops": float("nan")}, "train_flops"),
        ({"train_flops": 1.7e308}, "train_flops"),
        ({"train_flops": "many"}, "train_flops"),
        ({"seconds": None}, "seconds"),
        ({"seconds": {"train": -1.0}}, "train"),
        ({"seconds": {"train": float("nan")}}, "train"),
        ({"seconds": {"train": 1.0, "lunch": 1.0}}, "lunch"),
        ({"train_flops": True}, "train_flops"),
        ({"train_flops_dense": -1.0}, "train_flops_dense"),
        ({"unmasked_flops": float("inf")}, "unmasked_flops"),
        ({"unmasked_flops": -1.0}, "unmasked_flops"),
        ({"metrics": None}, "metrics"),
        ({"metrics": {"loss": None}}, "loss"),
        ({"metrics": {"loss": np.float32(1.0)}}, "loss"),
        ({"metrics": {"loss": torch.tensor(1.0)}}, "loss"),
        ({"metrics": {3: 1.0}}, "3"),
        ({"metrics": {str(i): 1.0 for i in range(1000)}}, "metrics"),
    ],
)
def test_field_out_of_bounds_is_rejected_by_name(
    experiment: Experiment, dense_round: RecordedRound, changes: dict[str, object], named: str
) -> None:
    request, update, received = dense_round.jobs[0], dense_round.updates[0], dense_round.received[0]
    with pytest.raises(WireError, match=named):
        checked(experiment, request, replace(update, **changes), received)


@pytest.mark.parametrize(
    "payload",
    [
        (),
        (Scalar("theta", 1.0),),
        (Dense("other", np.zeros(3, np.float32)),),
        (Bits("theta", np.ones(3, np.bool_)),),
    ],
)
def test_update_without_a_model_is_rejected(
    experiment: Experiment, dense_round: RecordedRound, payload: Payload
) -> None:
    request, update, received = dense_round.jobs[0], dense_round.updates[0], dense_round.received[0]
    with pytest.raises(WireError):
        checked(experiment, request, replace(update, buffer=encoded(payload)), received)


def test_update_with_one_more_item_is_rejected(experiment: Experiment, dense_round: RecordedRound) -> None:
    request, update, received = dense_round.jobs[0], dense_round.updates[0], dense_round.received[0]
    assert received is not None
    known = known_masks(experiment.setting.layout, received.mask)
    payload = (*decode(update.buffer, known_masks=known), Scalar("extra", 1.0))
    buffer = np.frombuffer(encode(payload, known_masks=known), dtype=np.uint8)
    with pytest.raises(WireError, match="'extra'"):
        checked(experiment, request, replace(update, buffer=buffer), received)


@pytest.mark.parametrize("name", ["wire.value_dtype", "wire.version"])
def test_update_in_another_wire_format_than_the_configs_is_rejected(
    experiment: Experiment, dense_round: RecordedRound, name: str
) -> None:
    request, update, received = dense_round.jobs[0], dense_round.updates[0], dense_round.received[0]
    assert received is not None
    known = known_masks(experiment.setting.layout, received.mask)
    payload = decode(update.buffer, known_masks=known)
    data = (
        encode(payload, known_masks=known, version=1)
        if name == "wire.version"
        else encode(payload, known_masks=known, value_dtype="float16")
    )
    changed = replace(update, buffer=np.frombuffer(data, np.uint8))
    with pytest.raises(WireError, match="expected"):
        checked(experiment, request, changed, received)


def encoded(payload: Payload) -> np.ndarray:
    return np.frombuffer(encode(payload), dtype=np.uint8)


@pytest.fixture(scope="module")
def remembering() -> Experiment:
    return prepared(REMEMBERING)


@pytest.mark.parametrize(
    ("state", "named"),
    [
        (torch.zeros(3), "Tensor"),
        ({"num_tasks": 1}, "dict"),
        ([1, 2], "list"),
        (("a", "b"), "tuple"),
        (None, "NoneType"),
    ],
)
def test_client_state_of_another_structure_is_rejected(
    remembering: Experiment, state: object, named: str
) -> None:
    (played,) = play(remembering, 1)
    request, update, received = played.jobs[0], played.updates[0], played.received[0]
    checked(remembering, request, update, received)
    with pytest.raises(WireError, match=f"init_client: .*{named}"):
        checked(remembering, request, replace(update, client_state=state), received)


def test_run_with_a_wrong_client_state_fails_before_its_checkpoint_and_resumes_without_the_client(
    tmp_path: Path,
) -> None:
    """Client 1 is not in every round, so that the rounds without it stay usable."""
    method = "algorithm.name=tests.support.broken_methods:ForgetsItsTemplate"
    with pytest.raises(RoundError, match=r"client 1.*init_client"):
        drive(prepared(method), tmp_path / "strict")
    experiment = prepared(method, "runtime.failure_policy=drop")
    drive(experiment, tmp_path / "run", stopped_after=2)
    drive(experiment, tmp_path / "run")
    restored = committed(experiment, tmp_path / "run")
    assert restored.round_idx == 3
    assert 1 not in restored.client_states
    causes = [
        json.loads(line)["cause"] for line in (tmp_path / "run" / "failures.jsonl").read_text().splitlines()
    ]
    assert causes
    assert all("init_client" in cause for cause in causes)

"""The executor contract, tested on the in-process executor."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
import torch

from orchestrator.execution.executor import (
    InProcessExecutor,
    Message,
    TaskHandle,
    TaskRequest,
)
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.update import ClientFailure, ClientUpdate
from orchestrator.rounds.broadcast import Broadcast
from tests.support.fakes import DEVICE, cohort
from tests.support.fleets import with_profiles
from tests.support.runs import (
    REMEMBERING,
    initial_state,
    prepared,
)


def _message(experiment: Experiment, scale: float = 1.0) -> Message:
    state = experiment.algorithm.init(torch.from_numpy(experiment.initial * scale))
    return Broadcast.of(experiment, state).message


def _requests(experiment: Experiment, round_idx: int = 0) -> list[TaskRequest]:
    state = initial_state(experiment)
    tasks = experiment.algorithm.plan(state, round_idx, cohort(experiment, round_idx)).tasks
    return [TaskRequest(task, experiment.algorithm.init_client(task.client_id)) for task in tasks]


def _bits(outcome: ClientUpdate[Any] | ClientFailure) -> tuple[int, bytes, bytes]:
    assert isinstance(outcome, ClientUpdate), outcome
    drift: torch.Tensor = outcome.client_state.drift
    return outcome.client_id, outcome.buffer.tobytes(), drift.numpy().tobytes()


def test_results_can_be_collected_in_any_order() -> None:
    experiment = prepared(REMEMBERING)
    collected = []
    for order in permutations(range(3)):
        executor = InProcessExecutor(experiment)
        handles = executor.submit(_message(experiment), _requests(experiment))
        outcomes = {place: _bits(executor.result(handles[place])) for place in order}
        collected.append([outcomes[place] for place in range(3)])
    assert all(outcomes == collected[0] for outcomes in collected)
    assert len({outcome[1] for outcome in collected[0]}) == 3


def test_results_of_two_messages_can_be_collected_together() -> None:
    experiment = prepared(REMEMBERING)
    requests = _requests(experiment)
    alone = InProcessExecutor(experiment)
    expected = []
    for scale in (1.0, 0.5):
        expected += [
            _bits(alone.result(handle)) for handle in alone.submit(_message(experiment, scale), requests)
        ]
    together = InProcessExecutor(experiment)
    handles = [t for scale in (1.0, 0.5) for t in together.submit(_message(experiment, scale), requests)]
    assert len(set(handles)) == 6
    found = {handle: _bits(together.result(handle)) for handle in reversed(handles)}
    assert [found[handle] for handle in handles] == expected


def test_handle_gives_its_result_once() -> None:
    experiment = prepared()
    executor = InProcessExecutor(experiment)
    first, second = executor.submit(_message(experiment), _requests(experiment)[:2])
    executor.result(first)
    with pytest.raises(KeyError):
        executor.result(first)
    assert isinstance(executor.result(second), ClientUpdate)


def test_unknown_handle_raises_key_error() -> None:
    with pytest.raises(KeyError):
        InProcessExecutor(prepared()).result(TaskHandle(7))


def test_close_invalidates_open_handles() -> None:
    experiment = prepared()
    executor = InProcessExecutor(experiment)
    (handle,) = executor.submit(_message(experiment), _requests(experiment)[:1])
    executor.close()
    with pytest.raises(KeyError):
        executor.result(handle)


def test_no_requests_give_no_handles() -> None:
    experiment = prepared()
    assert InProcessExecutor(experiment).submit(_message(experiment), []) == ()


def test_same_request_twice_gives_the_same_update() -> None:
    experiment = prepared(REMEMBERING)
    executor, request = InProcessExecutor(experiment), _requests(experiment)[1]
    first, second = executor.submit(_message(experiment), [request, request])
    assert _bits(executor.result(second)) == _bits(executor.result(first))


def test_description_names_profiles_without_their_gpu() -> None:
    experiment = prepared()
    on_gpu = with_profiles(
        experiment, [replace(DEVICE, name="board"), replace(DEVICE, name="phone", num_gpus=0.5)]
    )
    plain, described = (InProcessExecutor(e).description for e in (experiment, on_gpu))
    assert plain == "in-process, one client after another"
    added = "; no CUDA on this machine: its clients of profile phone train on the CPU"
    assert described == plain + ("" if torch.cuda.is_available() else added)


def test_failure_is_a_result() -> None:
    experiment = prepared(
        "algorithm.name=tests.support.methods:Misbehaving", "algorithm.client_id=2", "fleet.num_clients=3"
    )
    executor, requests = InProcessExecutor(experiment), _requests(experiment)
    handles = executor.submit(_message(experiment), requests)
    for request, handle in zip(requests, handles, strict=True):
        outcome = executor.result(handle)
        assert isinstance(outcome, ClientFailure) == (request.task.client_id == 2)
        assert outcome.position == request.task.position

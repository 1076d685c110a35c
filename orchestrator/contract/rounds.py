"""Run whole rounds in this process and record everything that happened.

`play` calls the hooks in the same order as the driver, but keeps every decoded update. It is slow and simple;
`tests/algorithms/test_reductions.py` compares it with the driver.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from orchestrator.contract.violation import updated
from orchestrator.execution.client import ClientRunner
from orchestrator.execution.executor import TaskRequest
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.aggregate import Aggregate, Contribution
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.exchange import ModelValues, known_masks, without_model
from orchestrator.federation.plan import RoundPlan
from orchestrator.federation.update import ClientUpdate
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.rounds.sampler import CohortSampler
from orchestrator.sparsity.payload import Bool, Payload
from orchestrator.sparsity.wire import decode


@dataclass(frozen=True, eq=False, kw_only=True)
class RecordedRound:
    """Everything that happened in one round, or in one of the `probes` before its training.

    These fields are in plan order: `jobs`, `received` (models in full coordinates), `updates`, their content
    (`payloads`, `models`) and `download_bytes`. `client_states` are the states of all clients after the round.
    """

    round_idx: int
    before: ServerState
    after: ServerState
    broadcast: Broadcast
    jobs: tuple[TaskRequest, ...]
    received: tuple[ModelValues | None, ...]
    updates: tuple[ClientUpdate[Any], ...]
    payloads: tuple[Payload, ...]
    models: tuple[ModelValues | None, ...]
    download_bytes: tuple[int, ...]
    aggregate: Aggregate
    client_states: dict[int, Any]
    probes: "tuple[RecordedRound, ...]" = ()


def play(
    experiment: Experiment,
    num_rounds: int | None = None,
    *,
    start: ServerState | None = None,
) -> list[RecordedRound]:
    """Run rounds one after another and return their records.

    `num_rounds` None runs all configured rounds. `start` is the server state before round 0; None: the method's own.
    Raises AssertionError, with the client's traceback, for a task without an update.
    """
    algorithm = experiment.algorithm
    state = start or algorithm.init(torch.from_numpy(experiment.initial.copy()))
    sampler = CohortSampler(experiment)
    runner, client_states, shared_masks = ClientRunner(experiment), dict[int, Any](), dict[int, str]()
    rounds = []
    for round_idx in range(num_rounds or experiment.config.training.rounds):
        probes, cohort = [], sampler.cohort(round_idx)
        while plan := algorithm.plan_probe(state, round_idx, cohort):
            probes.append(_play_phase(experiment, runner, state, plan, client_states, shared_masks))
            state, client_states = probes[-1].after, probes[-1].client_states
        recorded = _play_phase(
            experiment,
            runner,
            state,
            algorithm.plan(state, round_idx, cohort),
            client_states,
            shared_masks,
            tuple(probes),
        )
        rounds.append(recorded)
        state, client_states = recorded.after, recorded.client_states
    return rounds


@lru_cache(maxsize=2)
def recorded_rounds(experiment: Experiment) -> list[RecordedRound]:
    """Return the recorded rounds of an experiment from a cache, for checks that only read them."""
    return play(experiment)


def phases(rounds: list[RecordedRound]) -> list[RecordedRound]:
    """Return all phases in order: the probes of each round, then the round itself."""
    return [phase for recorded in rounds for phase in (*recorded.probes, recorded)]


def known_upload_masks(experiment: Experiment, received: ModelValues | None) -> dict[str, Bool]:
    """Return the masks that an upload does not contain: the mask of the received model."""
    return known_masks(experiment.setting.layout, None if received is None else received.mask)


def _play_phase(
    experiment: Experiment,
    runner: ClientRunner,
    state: ServerState,
    plan: RoundPlan,
    client_states: Mapping[int, Any],
    shared_masks: dict[int, str],
    probes: tuple[RecordedRound, ...] = (),
) -> RecordedRound:
    algorithm = experiment.algorithm
    broadcast, aggregator = Broadcast.of(experiment, state), algorithm.aggregator()
    jobs, received, updates, payloads, models, download_bytes = [], [], [], [], [], []
    states = dict(client_states)
    for task in plan.tasks:
        k = task.client_id
        client_state = client_states[k] if k in client_states else algorithm.init_client(k)
        jobs.append(broadcast.request(task, client_state, client_states))
        received.append(broadcast.received_by(jobs[-1]))
        update = updated(runner.run(task, broadcast.message.buffer, jobs[-1].unicast, client_state))
        updates.append(update)
        payloads.append(decode(update.buffer, known_masks=known_upload_masks(experiment, received[-1])))
        model, start = algorithm.unpack(payloads[-1], task, client_state), received[-1]
        models.append(model)
        aggregator.add(
            Contribution(
                client_id=k,
                weight=algorithm.weight(update.num_examples),
                values=None if model is None else model.values,
                mask=None if model is None else model.mask,
                start=None if start is None else start.values,
                items=without_model(payloads[-1]),
            )
        )
        download_bytes.append(broadcast.download_bytes(jobs[-1], shared_masks.get(k)))
        states[k] = update.client_state
        if broadcast.mask_digest is not None:
            shared_masks[k] = broadcast.mask_digest
    aggregate = aggregator.finish(state.params)
    probing = any(task.kind == "probe" for task in plan.tasks)
    absorb = algorithm.probe_update if probing else algorithm.server_update
    return RecordedRound(
        round_idx=plan.round_idx,
        before=state,
        after=absorb(state, aggregate, plan.round_idx),
        broadcast=broadcast,
        jobs=tuple(jobs),
        received=tuple(received),
        updates=tuple(updates),
        payloads=tuple(payloads),
        models=tuple(models),
        download_bytes=tuple(download_bytes),
        aggregate=aggregate,
        client_states=states,
        probes=probes,
    )

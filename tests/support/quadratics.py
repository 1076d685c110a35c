"""Clients whose losses are (w - a_k)^2 / 2 over one weight, so that a test can compute each round by hand."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.algorithm import AlgorithmType, ServerState
from orchestrator.federation.exchange import ModelValues, find_model, without_model
from orchestrator.sparsity.payload import Dense
from tests.support.fakes import make_run, make_setting, random_data, seeded


def quadratic_rounds(
    method: AlgorithmType,
    options: Mapping[str, object],
    *,
    minima: Sequence[float],
    num_rounds: int,
    lr: float,
    num_steps: int,
    start: float = 1.0,
) -> tuple[list[Any], list[Any]]:
    """Run all clients in every round from w = `start`; return the server states and the last client states.

    Client k takes `num_steps` SGD steps on (w - minima[k])^2 / 2.
    """

    class Quadratic(method):  # type: ignore[misc, valid-type]
        """The method with the quadratic loss of the task's client."""

        def step(self, run: Any, batch: Any) -> None:
            run.grad.copy_(run.values - minima[run.task.client_id])
            self.grad_hook(run)
            run.apply_gradient()

    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(1, 1, bias=False)))
    flat.load(torch.tensor([start]))
    training = {"lr": lr, "momentum": 0.0, "local_epochs": num_steps, "batch_size": 1}
    setting = make_setting(flat, (1, 1, 1), training=training, num_clients=len(minima))
    algorithm = Quadratic(method.Config.model_validate({"name": "quadratic", **options}), setting)
    state: ServerState = algorithm.init(torch.tensor([start]))
    clients = [algorithm.init_client(k) for k in range(len(minima))]
    states = []
    for round_idx in range(num_rounds):
        payloads = []
        for k in range(len(minima)):
            received = ModelValues(state.params.clone(), None)
            run = make_run(
                setting,
                flat,
                random_data(1, (1, 1, 1), 1),
                received=received,
                payload=algorithm.broadcast(state),
                state=clients[k],
                client_id=k,
                round_idx=round_idx,
            )
            result = algorithm.client_update(run)
            clients[k] = result.client_state
            payloads.append(deepcopy(result.payload))  # the arrays are views of the one model
        state = algorithm.server_update(state, _mean(payloads), round_idx)
        states.append(state)
    return states, clients


def _mean(payloads: Sequence[Any]) -> Aggregate:
    models = [torch.tensor(find_model(payload).values) for payload in payloads]  # type: ignore[union-attr]
    extras: dict[str, list[torch.Tensor]] = {}
    for payload in payloads:
        for item in without_model(payload):
            assert isinstance(item, Dense)
            extras.setdefault(item.name, []).append(torch.tensor(item.values))
    return Aggregate(
        values=torch.stack(models).to(torch.float64).mean(0),
        coverage=None,
        total_weight=float(len(models)),
        extras={name: torch.stack(values).to(torch.float64).mean(0) for name, values in extras.items()},
        num_updates=len(models),
    )

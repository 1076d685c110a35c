"""Attackers in whole rounds of every method: who changes what, and what stays as it is without an attack."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from orchestrator.contract.rounds import RecordedRound, play
from orchestrator.execution.adversary.attack import ClientAttack
from orchestrator.execution.device_environment import DeviceEnvironment
from orchestrator.federation.plan import ClientTask
from orchestrator.sparsity.payload import Dense, Masked
from tests.support.errors import rejects
from tests.support.fakes import experiment
from tests.support.method_variants import VARIANTS

HALF = {"attack.kind": "sign_flip", "attack.share": 0.5}


def _rounds(
    options: Mapping[str, object], attack: Mapping[str, object] = HALF
) -> tuple[RecordedRound, RecordedRound, frozenset[int]]:
    """The first round without and with an attack, and the attackers."""
    attacked = experiment({**options, **attack})
    return play(experiment(options), 1)[0], play(attacked, 1)[0], frozenset(attacked.attackers)


#: methods whose server averages no update; tests/experiment/test_method_support.py checks that they are rejected
WITHOUT_UPDATES = ("dispfl", "local", "local_submodel")
#: variants with running statistics whose updates have no item with the model; they are rejected there too
STATISTICS_ALONE = (
    "fedmask, running statistics",
    "fedpm, running statistics",
    "topk, running statistics",
    "stc, layer by layer",
    "compsparse, schedule",
    "spafl, running statistics",
)


@pytest.mark.parametrize("name", STATISTICS_ALONE)
def test_attack_on_running_statistics_is_rejected(name: str) -> None:
    method, further = VARIANTS[name]
    with rejects("attack.kind", "sign_flip"):
        experiment({"algorithm.name": method, **further, **HALF})


@pytest.mark.parametrize(
    "name",
    [n for n, (m, _) in VARIANTS.items() if m not in WITHOUT_UPDATES and n not in STATISTICS_ALONE],
)
def test_attackers_of_every_method_send_the_opposite_change(name: str) -> None:
    """In the first round, what an attacker does not alter is what it would have sent without an attack."""
    method, further = VARIANTS[name]
    options = {"algorithm.name": method, **further}
    honest, attacked, attackers = _rounds(options)
    num_trainable = experiment(options).setting.layout.num_trainable
    clients = [request.task.client_id for request in honest.jobs]
    assert attackers & set(clients)
    assert set(clients) - attackers
    changed = 0
    for place, client_id in enumerate(clients):
        if client_id not in attackers:
            assert attacked.updates[place].buffer.tobytes() == honest.updates[place].buffer.tobytes()
            continue
        changed += attacked.updates[place].buffer.tobytes() != honest.updates[place].buffer.tobytes()
        assert attacked.updates[place].num_examples == honest.updates[place].num_examples
        model, expected, start = attacked.models[place], honest.models[place], honest.received[place]
        if model is None or expected is None or start is None:
            _assert_opposite_items(attacked, honest, place)
            continue
        assert (model.mask is None) == (expected.mask is None)
        mirrored = 2.0 * start.values - expected.values
        mirrored[num_trainable:] = expected.values[num_trainable:]
        if model.mask is not None and expected.mask is not None:
            assert torch.equal(model.mask, expected.mask)
            mirrored = mirrored * model.mask
        torch.testing.assert_close(model.values, mirrored, rtol=1e-5, atol=1e-6)
    assert changed


def _assert_opposite_items(attacked: RecordedRound, honest: RecordedRound, place: int) -> None:
    for sent, expected in zip(attacked.payloads[place], honest.payloads[place], strict=True):
        if isinstance(sent, Dense | Masked) and isinstance(expected, Dense | Masked):
            np.testing.assert_array_equal(sent.values, -expected.values)


def test_flipped_labels_change_the_training_but_not_the_payload_afterwards() -> None:
    honest, attacked, attackers = _rounds({}, {"attack.kind": "label_flip", "attack.share": 0.5})
    for place, request in enumerate(honest.jobs):
        same = attacked.updates[place].buffer.tobytes() == honest.updates[place].buffer.tobytes()
        assert same == (request.task.client_id not in attackers)
        assert attacked.updates[place].train_flops == honest.updates[place].train_flops


def test_noise_differs_between_attackers_and_not_between_calls() -> None:
    noise = {"attack.kind": "gaussian", "attack.share": 0.8}
    _, first, attackers = _rounds({}, noise)
    second = play(experiment({**noise}), 1)[0]
    sent = {}
    for place, request in enumerate(first.jobs):
        assert first.updates[place].buffer.tobytes() == second.updates[place].buffer.tobytes()
        if request.task.client_id in attackers:
            sent[request.task.client_id] = first.updates[place].buffer.tobytes()
    assert len(set(sent.values())) == len(sent) > 1


def test_inner_product_trains_on_the_samples_of_all_attackers() -> None:
    made = experiment({"attack.kind": "inner_product", "attack.share": 0.5})
    honest = DeviceEnvironment(made, torch.device("cpu"))
    own_rows = {k: set(made.partition.train[k].tolist()) for k in made.attackers}
    pooled = set().union(*own_rows.values())
    labels = {row: int(made.dataset.train_labels[row]) for row in pooled}
    attack = ClientAttack(made)
    for client_id in made.attackers:
        task = ClientTask(round_idx=0, position=0, client_id=client_id)
        data = attack.environment(task, honest).training_data(client_id)
        assert len(data) == len(own_rows[client_id])
        assert set(data.labels.tolist()) <= set(labels.values())
    largest = max(made.attackers, key=lambda k: len(own_rows[k]))
    task = ClientTask(round_idx=0, position=0, client_id=largest)
    data = attack.environment(task, honest).training_data(largest)
    own = made.dataset.train_labels[sorted(own_rows[largest])]
    assert sorted(data.labels.tolist()) != sorted(own.tolist())


@pytest.mark.parametrize("kind", ["evaluate", "finetune", "loss"])
def test_tasks_that_do_not_train_for_the_server_are_honest(kind: str) -> None:
    made = experiment({"attack.kind": "label_flip", "attack.share": 0.5})
    task = ClientTask(round_idx=0, position=0, client_id=made.attackers[0], kind=kind)  # type: ignore[arg-type]
    honest = DeviceEnvironment(made, torch.device("cpu"))
    assert ClientAttack(made).environment(task, honest) is honest

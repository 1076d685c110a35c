"""FedLPS's importance: its start, its training on a client's data, and the units that it selects."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.support.fedlps_client import (
    NUM_IMAGES,
    PARTS,
    Client,
    vector,
)

Array = NDArray[np.float64]

#: units of L1 norm 1, 2, 3, 4; standardised -1.341641, -0.447214, 0.447214, 1.341641
RISING = vector(torch.arange(1.0, 5.0)[:, None].expand(4, 9) / 9, torch.zeros(3, 4))


def test_importance_starts_near_zero() -> None:
    client = Client(received=RISING).loaded()
    assert 0.0 < float(client.importance.abs().max()) < 0.05
    assert torch.equal(client.importance, client.run.state.importance["1"])


def test_units_are_ranked_by_importance_and_norms_of_the_received_model() -> None:
    """Values of q + pi n for pi = 0, 1 and 3.

    They are [3, 1, 2, 0], [1.66, 0.55, 2.45, 1.34] and [-1.02, -0.34, 3.34, 4.02].
    """
    importance = {"1": torch.tensor([3.0, 1.0, 2.0, 0.0])}
    for prior, units in ((0.0, [0, 2]), (1.0, [0, 2]), (3.0, [2, 3])):
        fresh = Client(received=RISING)
        state = replace(fresh.run.state, importance=importance, num_trained=1)
        client = Client(received=RISING, state=state, prior=prior).loaded()
        assert client.units == units
        assert client.importance.tolist() == [3.0, 1.0, 2.0, 0.0]


def test_initial_noise_differs_between_clients() -> None:
    one, other = Client(), Client(client_id=1)
    assert not torch.equal(one.run.state.importance["1"], other.run.state.importance["1"])
    assert torch.equal(one.run.state.importance["1"], Client(round_idx=3).run.state.importance["1"])


def test_penalty_pulls_importance_to_the_norms_by_hand() -> None:
    """No layer consumes a unit, so that the loss has no gradient.

    With pi = 0 the target is sg(0) = 1/2. sg(1) = 0.731059 with sg' = 0.196612: 3 * 2/4 * 0.231059 * 0.196612 =
    0.068143. sg(2) = 0.880797 with sg' = 0.104994: 3 * 2/4 * 0.380797 * 0.104994 = 0.059972.
    """
    state = replace(Client().run.state, importance={"1": torch.tensor([0.0, 1.0, -1.0, 2.0])})
    moved = []
    for penalty in (1.0, 2.0):
        client = Client(received=RISING, state=state, prior=0.0, importance_lr=3.0, penalty=penalty).loaded()
        client.method.on_train_start(client.run)
        moved.append(client.importance - state.importance["1"])
    assert moved[0].tolist() == pytest.approx([0.0, -0.068143, 0.068143, -0.059972], abs=1e-5)
    assert torch.allclose(moved[1], 2 * moved[0])


def test_penalty_has_no_effect_on_importance_zero() -> None:
    client = Client(received=RISING, prior=1.0, importance_std=0.0).loaded()
    client.method.on_train_start(client.run)
    assert client.importance.tolist() == pytest.approx([0.0] * 4, abs=1e-6)


def sigmoid(x: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def relaxed_loss(values: Array, gates: Array, inputs: Array, labels: Array) -> float:
    """Cross-entropy in float64 of the full net whose hidden units are multiplied by gates."""
    w1, b1, w2, b2 = np.split(values, np.cumsum(PARTS)[:-1])
    hidden = np.maximum(inputs @ w1.reshape(4, 9).T + b1, 0.0) * gates
    logits = hidden @ w2.reshape(3, 4).T + b2
    log_sum = np.log(np.exp(logits).sum(axis=1))
    return float((log_sum - logits[np.arange(len(labels)), labels]).mean())


def learned(client: Client, full: Tensor, penalty: float, epochs_done: int = 0) -> Array:
    """The importance after the batches of an epoch, from central differences of the relaxed loss.

    The hard choice is constant, and a gate changes with sg(q + pi n). The norm of a unit includes its bias.
    """
    run, config = client.run, client.method.config
    values, q = full.double().numpy(), client.importance.double().numpy()
    norms = np.abs(values[:36]).reshape(4, 9).sum(axis=1) + np.abs(values[36:40])
    prior = config.prior * (norms - norms.mean()) / norms.std()
    target = sigmoid(prior)
    hard = np.isin(np.arange(4), client.units).astype(np.float64)
    batches = list(next(run.batches(f"importance-{epochs_done}", 1)))[: config.importance_batches]
    for images, classes in batches:
        inputs, labels, at = images.flatten(1).double().numpy(), classes.numpy(), q.copy()

        def objective(x: Array, inputs: Array = inputs, labels: Array = labels, at: Array = at) -> float:
            gates = hard + sigmoid(x + prior) - sigmoid(at + prior)
            pull = penalty * ((sigmoid(x + prior) - target) ** 2).mean()
            return relaxed_loss(values, gates, inputs, labels) + float(pull)

        steps = 1e-5 * np.eye(4)
        slope = np.array([(objective(at + e) - objective(at - e)) / 2e-5 for e in steps])
        q = at - config.importance_lr * slope
    return q


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("num_batches", [1, 2, 9])
def test_importance_descends_the_relaxed_loss(num_batches: int, penalty: float) -> None:
    """Dropped units learn too, so that they can return. 9 batches are limited to the three that exist."""
    client = Client(penalty=penalty, importance_batches=num_batches, importance_lr=3.0).loaded()
    before, expected = client.importance.clone(), learned(client, client.run.start, penalty)
    client.method.on_train_start(client.run)
    moved = expected - before.numpy()
    assert float(np.abs(moved).min()) > 1e-4
    assert client.importance.numpy() - before.numpy() == pytest.approx(moved, rel=2e-3, abs=1e-6)


def test_next_epoch_learns_from_the_trained_model_and_may_choose_other_units() -> None:
    """The client restores dropped entries to their last values, as received."""
    training = {"local_epochs": 2, "batch_size": NUM_IMAGES}
    client = Client(
        training=training,
        importance_epochs=2,
        importance_lr=30.0,
        penalty=0.0,
        prior=0.0,
        importance_std=0.0,
    ).loaded()
    first, index, optimizer = client.units, client.run.index, client.run.optimizer
    assert index is not None
    client.run.values.add_(0.1)
    trained = client.run.start.clone()
    trained[index] += 0.1
    expected = learned(client, trained, 0.0, epochs_done=1)
    client.method.on_epoch(client.run, 1)
    assert client.importance.numpy() == pytest.approx(expected, rel=2e-3, abs=1e-4)
    assert client.units == sorted(np.argsort(-expected)[:2].tolist()) != first
    assert client.run.index is not None
    assert torch.equal(client.run.values, trained[client.run.index])
    assert client.run.optimizer is not optimizer


@pytest.mark.parametrize(("importance_epochs", "passes"), [(1, 1), (2, 2), (9, 3)])
def test_importance_is_learned_before_the_configured_epochs(importance_epochs: int, passes: int) -> None:
    """Three epochs. An importance pass changes q, which starts at 0."""
    client = Client(
        training={"local_epochs": 3}, importance_epochs=importance_epochs, importance_std=0.0
    ).loaded()
    moved, before = 0, client.importance.clone()
    for epochs_done in range(4):
        if epochs_done:
            client.method.on_epoch(client.run, epochs_done)
        else:
            client.method.on_train_start(client.run)
        moved += not torch.equal(client.importance, before)
        before = client.importance.clone()
    assert moved == passes


def test_every_epoch_learns_importance_from_other_samples() -> None:
    """After an epoch without training and without a change of units, q changes by another gradient."""
    training = {"local_epochs": 2, "batch_size": NUM_IMAGES // 3}
    options = {"importance_epochs": 2, "importance_lr": 1e-3, "penalty": 0.0, "prior": 1.0}
    client = Client(training=training, **options).loaded()
    start = client.importance.clone()
    client.method.on_train_start(client.run)
    first = client.importance - start
    client.method.on_epoch(client.run, 1)
    second = client.importance - start - first
    assert float((first - second).abs().max()) > 0.01 * float(first.abs().max()) > 0.0
    assert float(second.abs().max()) > 0.0


def test_units_that_stay_keep_their_values_and_optimiser_state() -> None:
    client = Client(training={"local_epochs": 2}, importance_lr=0.0, prior=0.0).loaded()
    client.run.values.add_(0.1)
    values, optimizer = client.run.values.clone(), client.run.optimizer
    client.method.on_epoch(client.run, 1)
    assert torch.equal(client.run.values, values)
    assert client.run.optimizer is optimizer

"""FedLPS on one client: what its importance learns, which units it takes, and what it keeps of them."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from algorithms.fedlps import FedLPS, FedLPSConfig
from orchestrator.fleet.ratio import NUM_REWARDS, REWARD_SUM, utility
from orchestrator.models.units import trace_units
from tests.fakes import DEVICE, CheckedRun, TensorData, make_run, make_setting, random_data, seeded

SHAPE = (1, 3, 3)
NUM_IMAGES = 12
#: entries of each part of the flat vector: 55 in all, 36 + 12 = 48 MACs, with two units 18 + 6 = 24
PARTS = (36, 4, 12, 3)

Array = NDArray[np.float64]


def net() -> nn.Module:
    """9 inputs, 4 hidden units (the group "1"), 3 classes."""
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.ReLU(), nn.Linear(4, 3))


class Client:
    """The method, and one client's task; half of the units unless `options` say otherwise."""

    def __init__(
        self,
        *,
        training: Mapping[str, object] | None = None,
        received: Tensor | None = None,
        validation: TensorData | None = None,
        capability: float = 1.0,
        client_id: int = 0,
        round_idx: int = 0,
        state: object = None,
        **options: object,
    ) -> None:
        flat = seeded(net)
        if received is not None:
            flat.load(received)
        setting = make_setting(
            flat,
            SHAPE,
            training={"batch_size": 4, "local_epochs": 1, "momentum": 0.0, "lr": 0.1, **(training or {})},
            profiles=(replace(DEVICE, capability=capability),),
            units=trace_units(flat.module, torch.zeros(2, *SHAPE)),
        )
        options = {"ratio_policy": "fixed", "ratio": 0.5, "keep": "last", **options}
        self.method = FedLPS(FedLPSConfig.model_validate({"name": "fedlps", **options}), setting)
        self.data = random_data(NUM_IMAGES, SHAPE, 3)
        self.run: CheckedRun = make_run(
            setting,
            flat,
            self.data,
            state=state or self.method.init_client(client_id),
            validation=validation,
            client_id=client_id,
            round_idx=round_idx,
        )

    def loaded(self) -> "Client":
        self.method.load(self.run)
        return self

    @property
    def importance(self) -> Tensor:
        return self.run.scratch["q/1"]

    @property
    def units(self) -> list[int]:
        return self.run.kept["1"].tolist()


def vector(rows: Tensor, columns: Tensor) -> Tensor:
    """The flat model with these first-layer rows [4, 9] and last-layer columns [3, 4], and no biases."""
    return torch.cat([rows.flatten(), torch.zeros(4), columns.flatten(), torch.zeros(3)])


#: units of L1 norm 1, 2, 3, 4; (n - 2.5) / sqrt(1.25)
RISING = vector(torch.arange(1.0, 5.0)[:, None].expand(4, 9) / 9, torch.zeros(3, 4))
STANDARDISED = [-1.341641, -0.447214, 0.447214, 1.341641]


def test_importance_starts_from_the_norms_and_a_little_noise() -> None:
    client = Client(received=RISING, prior=2.0, importance_std=0.0).loaded()
    assert client.importance.tolist() == pytest.approx([2 * n for n in STANDARDISED], abs=1e-5)
    noisy = Client(received=RISING, prior=2.0).loaded()
    noise = noisy.run.state.importance["1"]
    assert 0.0 < float(noise.abs().max()) < 0.05
    assert torch.allclose(noisy.importance, client.importance + noise)


def test_the_norms_are_added_before_the_first_participation_only() -> None:
    first = Client(received=RISING)
    kept = replace(first.run.state, importance={"1": torch.tensor([3.0, 1.0, 2.0, 0.0])}, num_trained=1)
    again = Client(received=RISING, state=kept).loaded()
    assert again.importance.tolist() == [3.0, 1.0, 2.0, 0.0]
    assert again.units == [0, 2]


def test_the_noise_is_the_clients_own() -> None:
    one, other = Client(), Client(client_id=1)
    assert not torch.equal(one.run.state.importance["1"], other.run.state.importance["1"])
    assert torch.equal(one.run.state.importance["1"], Client(round_idx=3).run.state.importance["1"])


def test_the_penalty_pulls_importance_to_the_norms_by_hand() -> None:
    """Nothing consumes a unit, so that the loss is silent. q = 0: sg = 1/2, sg' = 1/4.

    sg(1.341641) = 0.792766 and sg(0.447214) = 0.609977: 3 * 1/4 * 2/4 * 0.292766 = 0.109787, and 0.041241.
    """
    client = Client(received=RISING, prior=0.0, importance_std=0.0, importance_lr=3.0, penalty=1.0).loaded()
    client.method.on_train_start(client.run)
    assert client.importance.tolist() == pytest.approx([-0.109787, -0.041241, 0.041241, 0.109787], abs=1e-5)
    twice = Client(received=RISING, prior=0.0, importance_std=0.0, importance_lr=3.0, penalty=2.0).loaded()
    twice.method.on_train_start(twice.run)
    assert torch.allclose(twice.importance, 2 * client.importance)


def test_importance_at_the_norms_is_not_pulled() -> None:
    client = Client(received=RISING, prior=1.0, importance_std=0.0).loaded()
    client.method.on_train_start(client.run)
    assert client.importance.tolist() == pytest.approx(STANDARDISED, abs=1e-5)


def sigmoid(x: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def relaxed_loss(values: Array, gates: Array, inputs: Array, labels: Array) -> float:
    """Cross-entropy of the full net whose hidden units leave it scaled by the gates, in float64."""
    w1, b1, w2, b2 = np.split(values, np.cumsum(PARTS)[:-1])
    hidden = np.maximum(inputs @ w1.reshape(4, 9).T + b1, 0.0) * gates
    logits = hidden @ w2.reshape(3, 4).T + b2
    log_sum = np.log(np.exp(logits).sum(axis=1))
    return float((log_sum - logits[np.arange(len(labels)), labels]).mean())


def learned(client: Client, full: Tensor, penalty: float) -> Array:
    """What q becomes in the batches of this epoch: steps down central differences of the relaxed loss.

    The hard choice stays; a gate moves with sg(q). The norm of a unit includes its bias.
    """
    run, config = client.run, client.method.config
    values, q = full.double().numpy(), client.importance.double().numpy()
    norms = np.abs(values[:36]).reshape(4, 9).sum(axis=1) + np.abs(values[36:40])
    target = sigmoid((norms - norms.mean()) / norms.std())
    hard = np.isin(np.arange(4), client.units).astype(np.float64)
    batches = list(next(run.batches("importance", 1)))[: config.importance_batches]
    for images, classes in batches:
        inputs, labels, at = images.flatten(1).double().numpy(), classes.numpy(), q.copy()

        def objective(x: Array, inputs: Array = inputs, labels: Array = labels, at: Array = at) -> float:
            gates = hard + sigmoid(x) - sigmoid(at)
            pull = penalty * ((sigmoid(x) - target) ** 2).mean()
            return relaxed_loss(values, gates, inputs, labels) + float(pull)

        steps = 1e-5 * np.eye(4)
        slope = np.array([(objective(at + e) - objective(at - e)) / 2e-5 for e in steps])
        q = at - config.importance_lr * slope
    return q


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("num_batches", [1, 2, 9])
def test_importance_descends_the_relaxed_loss(num_batches: int, penalty: float) -> None:
    """Dropped units learn as well, so that they can return; 9 batches are the three that there are."""
    client = Client(penalty=penalty, importance_batches=num_batches, importance_lr=1.0).loaded()
    before, expected = client.importance.clone(), learned(client, client.run.start, penalty)
    client.method.on_train_start(client.run)
    moved = expected - before.numpy()
    assert float(np.abs(moved).min()) > 1e-4
    assert client.importance.numpy() - before.numpy() == pytest.approx(moved, rel=2e-3, abs=1e-6)


def test_the_next_epoch_learns_on_what_was_trained_and_may_choose_other_units() -> None:
    """Dropped entries come back as the client last had them: as received."""
    client = Client(training={"local_epochs": 2}, importance_lr=300.0, penalty=0.0).loaded()
    client.method.on_train_start(client.run)
    first, index, optimizer = client.units, client.run.index, client.run.optimizer
    assert index is not None
    client.run.values.add_(0.1)
    trained = client.run.start.clone()
    trained[index] += 0.1
    expected = learned(client, trained, 0.0)
    client.method.on_epoch(client.run, 1)
    assert client.importance.numpy() == pytest.approx(expected, rel=2e-3, abs=1e-4)
    assert client.units == sorted(np.argsort(-expected)[:2].tolist()) != first
    assert client.run.index is not None
    assert torch.equal(client.run.values, trained[client.run.index])
    assert client.run.optimizer is not optimizer


def test_units_that_stay_keep_their_training_and_optimiser() -> None:
    client = Client(training={"local_epochs": 2}, importance_lr=0.0).loaded()
    client.run.values.add_(0.1)
    values, optimizer = client.run.values.clone(), client.run.optimizer
    client.method.on_epoch(client.run, 1)
    assert torch.equal(client.run.values, values)
    assert client.run.optimizer is optimizer


@pytest.mark.parametrize(
    ("ratio", "kept"), [(1.0, 4), (0.99, 3), (0.75, 3), (0.5, 2), (0.49, 1), (0.25, 1), (0.01, 1)]
)
def test_a_layer_keeps_the_whole_part_of_its_share_and_one_unit_at_least(ratio: float, kept: int) -> None:
    assert len(Client(ratio=ratio).loaded().units) == kept


def test_a_share_is_not_lost_to_rounding() -> None:
    """0.29 * 100 is 28.999999999999996."""
    client = Client()
    setting = replace(client.method.setting, units=(replace(client.method.setting.units[0], num_units=100),))
    assert FedLPS(client.method.config, setting).counts(0.29) == {"1": 29}


def test_patterns_choose_what_they_say() -> None:
    mixed = vector(torch.tensor([1.0, -4.0, 3.0, -2.0])[:, None].expand(4, 9), torch.ones(3, 4))
    assert Client(received=mixed, pattern="magnitude").loaded().units == [1, 2]
    assert Client(received=mixed, pattern="ordered").loaded().units == [0, 1]
    assert Client(received=mixed, pattern="learned", prior=0.0, importance_std=0.0).loaded().units == [0, 1]
    assert Client(received=mixed, pattern="learned").loaded().units == [1, 2]


@pytest.mark.parametrize("pattern", ["magnitude", "learned"])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75, 1.0])
def test_ties_go_to_the_lower_index(pattern: str, ratio: float) -> None:
    equal = vector(torch.ones(4, 9), torch.ones(3, 4))
    client = Client(received=equal, pattern=pattern, ratio=ratio, prior=0.0, importance_std=0.0).loaded()
    assert client.units == list(range(int(4 * ratio)))


def test_a_random_pattern_is_the_clients_own_for_the_run_and_nested_in_the_ratio() -> None:
    chosen = [tuple(Client(pattern="random", client_id=k).loaded().units) for k in range(8)]
    assert chosen == [
        tuple(Client(pattern="random", client_id=k, round_idx=5).loaded().units) for k in range(8)
    ]
    assert len(set(chosen)) > 2
    for client_id, units in enumerate(chosen):
        wider = Client(pattern="random", client_id=client_id, ratio=0.75).loaded().units
        assert set(units) < set(wider)


@pytest.mark.parametrize("pattern", ["magnitude", "ordered", "random"])
def test_other_patterns_learn_nothing(pattern: str) -> None:
    client = Client(pattern=pattern, training={"local_epochs": 3}).loaded()
    before, units = client.importance.clone(), client.units
    client.method.client_update(client.run)
    assert torch.equal(client.run.state.importance["1"], before)
    assert client.units == units


def test_flops_count_each_importance_batch_as_a_dense_step() -> None:
    """Two epochs of 12 images at 6 * 24, and before each of them b batches of 4 at 6 * 48; b = 5 is all three."""
    for num_batches, num_images in ((1, 4), (2, 8), (5, 12)):
        client = Client(training={"local_epochs": 2}, importance_batches=num_batches)
        client.method.client_update(client.run)
        assert client.run.train_flops == 2 * (NUM_IMAGES * 6 * 24 + num_images * 6 * 48)
    client = Client(training={"local_epochs": 2}, pattern="ordered")
    client.method.client_update(client.run)
    assert client.run.train_flops == 2 * NUM_IMAGES * 6 * 24


def favouring(client: Client, label: int, mark: float) -> None:
    """Make the model in training predict one class for every image; `mark` tells it from others."""
    client.run.values.zero_()
    client.run.values[-3:][label] = mark


@pytest.mark.parametrize(
    ("keep", "epochs", "kept"),
    [
        ("best", [1, 0, 2], 2.0),
        ("last", [1, 0, 2], 3.0),
        ("best", [0, 1, 2], 1.0),
        ("best", [0, 0, 1], 2.0),
        ("best", [2, 2, 2], 3.0),
    ],
)
def test_the_personal_model_is_that_of_the_best_or_the_last_epoch(
    keep: str, epochs: list[int], kept: float
) -> None:
    """Of three validation images two are of class 0, one of class 1; of equal epochs the later one counts."""
    validation = TensorData(torch.zeros(3, *SHAPE), torch.tensor([0, 0, 1]))
    client = Client(
        keep=keep, pattern="ordered", training={"local_epochs": 3}, validation=validation
    ).loaded()
    for number, label in enumerate(epochs, start=1):
        favouring(client, label, float(number))
        client.method.on_epoch(client.run, number)
    client.method.after_train(client.run)
    state = client.run.state
    assert float(state.personal.max()) == kept
    assert state.units.tolist() == [True, True, False, False]
    assert state.num_trained == 1


def test_before_its_first_participation_a_client_uses_the_global_model() -> None:
    client = Client()
    client.method.personal(client.run)
    assert client.run.index is None
    assert torch.equal(client.run.values, client.run.start)


def test_afterwards_it_uses_its_own_submodel_which_is_the_masked_full_model() -> None:
    """On another global model, in another round."""
    first = Client(ratio=0.5)
    first.method.client_update(first.run)
    kept, trained = first.units, first.run.in_full()
    assert trained.mask is not None
    later = Client(received=torch.full((55,), 9.0), state=first.run.state, round_idx=4, ratio=1.0)
    later.method.personal(later.run)
    assert later.units == kept
    assert torch.equal(later.run.state.personal, trained.values)
    inputs = later.data.images
    w1, b1, w2, b2 = torch.split(trained.values, PARTS)
    with torch.no_grad():
        hidden = torch.relu(inputs.flatten(1) @ w1.view(4, 9).T + b1)
        expected = hidden @ w2.view(3, 4).T + b2
        assert torch.allclose(later.run.flat.module(inputs), expected, atol=1e-6)


def test_the_bandit_is_credited_with_accuracy_over_emulated_cost() -> None:
    """Both transfers of all 55 values for the whole model; the submodel with n units has 13 n + 3 of them."""
    client = Client(ratio_policy="p_ucbv", capability=0.5, min_ratio=0.25, pattern="ordered")
    run = client.run
    client.run.payload = client.method.broadcast(client.method.init(run.start))
    before = client.method.ratio(run.task, run.state)
    client.method.client_update(run)
    num_units = len(client.units)
    assert 0.25 <= before <= 0.5
    assert num_units == max(1, int(4 * before))
    up, down, speed = DEVICE.uplink_bytes_per_s, DEVICE.downlink_bytes_per_s, DEVICE.flops_per_s
    taken = 220 / down + NUM_IMAGES * 6 * 12 * num_units / speed + 4 * (13 * num_units + 3) / up
    whole = 220 / down + NUM_IMAGES * 6 * 48 * 0.5 / speed + 220 / up
    bandit = run.state.bandit
    assert bandit is not None
    assert (bandit.num_plays, bandit.played, len(bandit.arms)) == (1, -1, 6)
    rewarded = bandit.arms[bandit.arms[:, NUM_REWARDS] > 0]
    expected = utility(100.0 * run.train_accuracy()) / (taken / whole)
    assert rewarded[:, REWARD_SUM].tolist() == pytest.approx([expected])

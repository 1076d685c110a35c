"""FedLPS's submodel: number and choice of units, costs, and the choice of the personal model."""

from dataclasses import replace
from math import ceil

import pytest
import torch

from algorithms.fedlps import FedLPS
from orchestrator.federation.bases.keep_ratio import NUM_REWARDS, REWARD_SUM
from tests.support.fakes import DEVICE, TensorData, random_data
from tests.support.fedlps_client import (
    NUM_IMAGES,
    PARTS,
    SHAPE,
    Client,
    vector,
)


@pytest.mark.parametrize(
    ("ratio", "kept"), [(1.0, 4), (0.76, 4), (0.75, 3), (0.51, 3), (0.5, 2), (0.25, 1), (0.01, 1)]
)
def test_layer_keeps_the_rounded_up_share(ratio: float, kept: int) -> None:
    assert len(Client(ratio=ratio).loaded().units) == kept


def test_share_is_not_increased_by_rounding_errors() -> None:
    """In floating point, 0.28 * 100 is 28.000000000000004."""
    client = Client()
    setting = replace(client.method.setting, units=(replace(client.method.setting.units[0], num_units=100),))
    assert FedLPS(client.method.config, setting).counts(0.28) == {"1": 28}


def test_each_pattern_chooses_its_units() -> None:
    mixed = vector(torch.tensor([1.0, -4.0, 3.0, -2.0])[:, None].expand(4, 9), torch.ones(3, 4))
    assert Client(received=mixed, pattern="magnitude").loaded().units == [1, 2]
    assert Client(received=mixed, pattern="ordered").loaded().units == [0, 1]
    assert Client(received=mixed, pattern="learned", prior=0.0).loaded().units == [0, 1]
    assert Client(received=mixed, pattern="learned").loaded().units == [1, 2]


@pytest.mark.parametrize("pattern", ["magnitude", "learned"])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75, 1.0])
def test_ties_go_to_the_lower_index(pattern: str, ratio: float) -> None:
    equal = vector(torch.ones(4, 9), torch.ones(3, 4))
    client = Client(received=equal, pattern=pattern, ratio=ratio, prior=0.0).loaded()
    assert client.units == list(range(int(4 * ratio)))


def test_random_pattern_is_fixed_for_each_client_and_nested_in_the_ratio() -> None:
    chosen = [tuple(Client(pattern="random", client_id=k).loaded().units) for k in range(8)]
    assert chosen == [
        tuple(Client(pattern="random", client_id=k, round_idx=5).loaded().units) for k in range(8)
    ]
    assert len(set(chosen)) > 2
    for client_id, units in enumerate(chosen):
        wider = Client(pattern="random", client_id=client_id, ratio=0.75).loaded().units
        assert set(units) < set(wider)


@pytest.mark.parametrize("pattern", ["learned", "ordered"])
def test_learning_the_importance_costs_no_flops(pattern: str) -> None:
    """Two epochs of 12 images at 6 * 24."""
    client = Client(training={"local_epochs": 2}, pattern=pattern)
    client.method.client_update(client.run)
    assert client.run.flops.total == 2 * NUM_IMAGES * 6 * 24


def favouring(client: Client, label: int, mark: float) -> None:
    """Give the logit of one class the value 2 for every image.

    `mark` distinguishes the model from other such models: no layer consumes the unit that it belongs to.
    """
    client.run.values.zero_()
    client.run.values[-3:][label] = 2.0
    client.run.values[0] = mark


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
def test_personal_model_is_that_of_the_best_or_the_last_epoch(
    keep: str, epochs: list[int], kept: float
) -> None:
    """Of three validation images two have class 0 and one class 1, so that class 0 has the lowest loss.

    The losses are log(e^2 + 2) less 4/3, 2/3 and 0 for the classes 0, 1 and 2. Of equal losses the later one counts.
    """
    validation = TensorData(torch.zeros(3, *SHAPE), torch.tensor([0, 0, 1]))
    client = Client(
        keep=keep, pattern="ordered", training={"local_epochs": 3}, validation=validation
    ).loaded()
    for number, label in enumerate(epochs, start=1):
        favouring(client, label, float(number))
        client.method.on_epoch(client.run, number)
    client.method.after_train(client.run)
    state = client.run.state
    assert float(state.personal[0]) == kept
    assert state.units.tolist() == [True, True, False, False]
    assert state.num_trained == 1


def test_client_uses_the_global_model_before_its_first_participation() -> None:
    client = Client()
    client.method.personal(client.run)
    assert client.run.index is None
    assert torch.equal(client.run.values, client.run.start)


def test_client_uses_its_own_submodel_after_a_participation() -> None:
    """The submodel equals the masked full model. The test uses another global model in another round."""
    first = Client(ratio=0.5)
    first.method.client_update(first.run)
    kept, trained = first.units, first.run.in_full_coordinates()
    assert trained.mask is not None
    later = Client(received=torch.full((55,), 9.0), state=first.run.state, round_idx=4, ratio=1.0)
    later.method.personal(later.run)
    assert later.units == kept
    assert torch.equal(later.run.state.personal, trained.values)
    inputs = later.data.images
    w1, b1, w2, b2 = torch.split(trained.values, list(PARTS))
    with torch.no_grad():
        hidden = torch.relu(inputs.flatten(1) @ w1.view(4, 9).T + b1)
        expected = hidden @ w2.view(3, 4).T + b2
        assert torch.allclose(later.run.flat.module(inputs), expected, atol=1e-6)


def test_bandit_is_rewarded_with_accuracy_less_emulated_cost() -> None:
    """The whole model has 55 values in both directions. The submodel with n units has 13 n + 3."""
    client = Client(
        ratio_policy="p_ucbv", capability=0.5, smallest_ratio=0.25, cost_weight=0.2, pattern="ordered"
    )
    run = client.run
    client.run.payload = client.method.broadcast(client.method.init(run.start))
    before = client.method.ratio(run.task, run.state)
    client.method.client_update(run)
    num_units = len(client.units)
    assert 0.25 <= before <= 0.5
    assert num_units == ceil(4 * before)
    up, down, speed = DEVICE.uplink_bytes_per_s, DEVICE.downlink_bytes_per_s, DEVICE.flops_per_s
    taken = 220 / down + NUM_IMAGES * 6 * 12 * num_units / speed + 4 * (13 * num_units + 3) / up
    whole = 220 / down + NUM_IMAGES * 6 * 48 * 0.5 / speed + 220 / up
    bandit = run.state.bandit
    assert bandit is not None
    assert (bandit.num_plays, bandit.played, len(bandit.arms)) == (1, -1, 6)
    rewarded = bandit.arms[bandit.arms[:, NUM_REWARDS] > 0]
    expected = run.statistics.accuracy() - 0.2 * taken / whole
    assert rewarded[:, REWARD_SUM].tolist() == pytest.approx([expected])


@pytest.mark.parametrize(("keep", "stays"), [("best", True), ("last", False)])
def test_better_model_of_an_earlier_round_stays_the_personal_model(keep: str, stays: bool) -> None:
    """No loss is below -1. With `keep=last` the last epoch always wins."""
    validation = random_data(6, SHAPE, 3, seed=5)
    fresh = Client().run.state
    loss = -1.0 if keep == "best" else 0.0
    earlier = replace(fresh, personal=torch.full((55,), 0.5), num_trained=1, validation_loss=loss)
    client = Client(state=earlier, keep=keep, validation=validation)
    client.method.client_update(client.run)
    assert torch.equal(client.run.state.personal, earlier.personal) == stays
    assert client.run.state.num_trained == 2
    assert client.run.state.validation_loss == earlier.validation_loss


def test_validation_loss_of_the_personal_model_is_the_lowest_so_far() -> None:
    """Computed again from the stored model with plain PyTorch."""
    validation = random_data(6, SHAPE, 3, seed=5)
    state, losses = Client().run.state, []
    for round_idx in range(4):
        client = Client(state=state, keep="best", validation=validation, round_idx=round_idx)
        client.method.client_update(client.run)
        state = client.run.state
        w1, b1, w2, b2 = torch.split(state.personal.double(), list(PARTS))
        hidden = torch.relu(validation.images.flatten(1).double() @ w1.view(4, 9).T + b1)
        loss = torch.nn.functional.cross_entropy(hidden @ w2.view(3, 4).T + b2, validation.labels)
        assert state.validation_loss == pytest.approx(float(loss), rel=1e-5)
        losses.append(state.validation_loss)
    assert losses == sorted(losses, reverse=True)

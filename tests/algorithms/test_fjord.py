"""FjORD: widths of a device, training at one width, distillation, and shared weights of all widths."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from algorithms.fjord import FjORD, FjORDConfig
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.contract.rounds import play
from orchestrator.federation.bases.structured import ClientRatio
from orchestrator.federation.plan import ClientTask
from orchestrator.fleet.registry import FLEETS
from orchestrator.models.parameters import FlatModule
from orchestrator.models.units.tracing import trace_units
from orchestrator.sparsity.payload import Dense
from tests.support.errors import rejects
from tests.support.fakes import (
    TensorData,
    experiment,
    make_run,
    make_setting,
    random_data,
    seeded,
)

SHAPE = (1, 1, 3)


def net(num_hidden: int = 4) -> nn.Sequential:
    """3 inputs, 2 classes: weights 0-11, biases 12-15, weights 16-23, biases 24-25."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3, num_hidden), nn.ReLU(), nn.Linear(num_hidden, 2))


#: entries of the first one and the first two of the four hidden units, with the classes' biases
QUARTER = [0, 1, 2, 12, 16, 20, 24, 25]
HALF = [*range(6), 12, 13, 16, 17, 20, 21, 24, 25]


def prepared(
    ratio: float | None = None, client_id: int = 0, round_idx: int = 0, epochs: int = 1, **options: Any
) -> tuple[FjORD, CheckedRun]:
    """Six images in batches of three, and plain SGD at 0.1.

    Without `ratio`, client k has the capability 2^-k.
    """
    flat = seeded(net)
    setting = make_setting(
        flat,
        SHAPE,
        training={"batch_size": 3, "local_epochs": epochs, "momentum": 0.0, "lr": 0.1},
        profiles=FLEETS["five-tier"].profiles,
        units=trace_units(flat.module, torch.zeros(2, *SHAPE)),
    )
    policy = {} if ratio is None else {"ratio_policy": "fixed", "ratio": ratio}
    algorithm = FjORD(FjORDConfig(name="fjord", **{**policy, **options}), setting)
    data = random_data(6, SHAPE, 2)
    ordered = TensorData(data.images, data.labels, shuffled=False)
    return algorithm, make_run(
        setting, flat, ordered, state=ClientRatio(), client_id=client_id, round_idx=round_idx
    )


def task(client_id: int) -> ClientTask:
    return ClientTask(round_idx=0, position=0, client_id=client_id)


def sampled_widths(algorithm: FjORD, run: CheckedRun, num: int = 200) -> list[float]:
    algorithm.on_train_start(run)
    return [algorithm.sample_width(run) for _ in range(num)]


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        ((0.2, 0.4, 0.6, 0.8, 1.0), [1.0, 0.4, 0.2, 0.125, 0.0625]),
        ((1.0,), [1.0, 0.5, 0.25, 0.125, 0.0625]),
        ((0.5, 0.25, 0.125), [0.5, 0.5, 0.25, 0.125, 0.0625]),
    ],
)
def test_widest_model_of_a_device(widths: tuple[float, ...], expected: list[float]) -> None:
    algorithm, _ = prepared(widths=widths)
    assert [algorithm.ratio(task(k), ClientRatio()) for k in range(5)] == expected


def test_widths_are_uniform_up_to_the_device_ratio() -> None:
    algorithm, run = prepared(0.7)
    sampled = sampled_widths(algorithm, run, 600)
    assert {p: sampled.count(p) for p in (0.2, 0.4, 0.6)}.keys() == set(sampled)
    assert all(160 <= sampled.count(p) <= 240 for p in (0.2, 0.4, 0.6))
    assert sampled == sampled_widths(*prepared(0.7), 600)


def test_widths_differ_between_clients_and_rounds() -> None:
    sampled = [sampled_widths(*prepared(1.0, k, r)) for k in range(2) for r in range(2)]
    assert len({tuple(widths) for widths in sampled}) == 4


def test_device_below_every_width_trains_its_whole_model() -> None:
    algorithm, run = prepared(0.1)
    assert set(sampled_widths(algorithm, run)) == {0.1}


def step_by_hand(start: Tensor, entries: list[int], num_units: int, run: CheckedRun, batch: int) -> Tensor:
    """float32[26] after plain PyTorch on the smaller net with the values at `entries`.

    Other values do not change.
    """
    model, after = net(num_units), start.clone()
    torch.nn.utils.vector_to_parameters(start[entries], model.parameters())
    assert isinstance(run.data, TensorData)
    rows = slice(3 * batch, 3 * batch + 3)
    cross_entropy(model(run.data.images[rows]), run.data.labels[rows]).backward()  # type: ignore[no-untyped-call]
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    after[entries] -= 0.1 * gradient
    return after


def test_every_step_trains_only_the_prefix_of_its_width() -> None:
    algorithm, run = prepared(1.0, widths=(0.25, 0.5, 1.0), epochs=4)
    sampled = sampled_widths(*prepared(1.0, widths=(0.25, 0.5, 1.0)), 8)
    assert set(sampled) == {0.25, 0.5, 1.0}
    expected = run.start.clone()
    entries = {0.25: QUARTER, 0.5: HALF, 1.0: list(range(26))}
    for step, width in enumerate(sampled):
        expected = step_by_hand(expected, entries[width], int(4 * width), run, step % 2)
    algorithm.client_update(run)
    assert torch.allclose(run.values, expected, rtol=1e-5, atol=1e-7)


def test_flops_are_those_of_the_trained_widths() -> None:
    """5 MACs a unit, 6 FLOPs a MAC, 3 images a step."""
    algorithm, run = prepared(0.5, widths=(0.25, 0.5), epochs=4)
    sampled = sampled_widths(*prepared(0.5, widths=(0.25, 0.5)), 8)
    result = algorithm.client_update(run)
    assert result.train_flops == sum(4 * p * 5 * 6 * 3 for p in sampled)
    assert result.train_flops_dense == 8 * 20 * 6 * 3


def test_only_the_widest_model_is_uploaded() -> None:
    algorithm, run = prepared(0.5, widths=(0.25, 0.5), epochs=4)
    (item,) = algorithm.client_update(run).payload
    assert isinstance(item, Dense)
    assert item.values.size == len(HALF)
    model = algorithm.unpack((item,), run.task, ClientRatio())
    assert model is not None
    assert model.mask is not None
    assert model.mask.nonzero().flatten().tolist() == HALF


def test_clients_change_no_entry_outside_their_prefix() -> None:
    options = {"algorithm.name": "fjord", "fleet.name": "five-tier"}
    run = experiment(options)
    for played in play(run):
        for model, received in zip(played.models, played.received, strict=True):
            assert model is not None
            assert received is not None
            assert model.mask is not None
            assert received.mask is not None
            assert torch.equal(model.mask, received.mask)
            assert bool((model.values != received.values)[model.mask].any())
        union = played.aggregate.union
        assert union is not None
        assert torch.equal(played.after.params[~union], played.before.params[~union])


@pytest.mark.parametrize(("weight", "temperature"), [(1.0, 1.0), (0.5, 3.0)])
def test_distilled_step_equals_autograd(weight: float, temperature: float) -> None:
    """The cross-entropy of p_max plus the weighted divergence.

    The divergence compares the half's softened outputs with those of p_max.
    """
    algorithm, run = prepared(
        1.0, widths=(0.5, 1.0), distill=True, distill_weight=weight, temperature=temperature
    )
    sampled = sampled_widths(*prepared(1.0, widths=(0.5, 1.0)), 20)
    skipped = sampled.index(0.5)
    algorithm.load(run)
    algorithm.on_train_start(run)
    for _ in range(skipped):
        algorithm.sample_width(run)
    assert isinstance(run.data, TensorData)
    inputs, labels = run.data.images[:3], run.data.labels[:3]
    algorithm.step(run, (inputs, labels))

    whole = run.start.clone().requires_grad_()
    logits = [functional(whole, entries, units, inputs) for entries, units in ((range(26), 4), (HALF, 2))]
    target = (logits[0].detach() / temperature).softmax(dim=1)
    divergence = kl_div((logits[1] / temperature).log_softmax(dim=1), target, reduction="batchmean")
    (cross_entropy(logits[0], labels) + weight * divergence).backward()  # type: ignore[no-untyped-call]
    assert whole.grad is not None
    assert torch.allclose(run.values, run.start - 0.1 * whole.grad, rtol=1e-5, atol=1e-7)
    assert run.flops.total == (20 + 10) * 6 * 3


def functional(whole: Tensor, entries: Any, num_units: int, inputs: Tensor) -> Tensor:
    """The net's logits as a function of the full vector."""
    w1, b1, w2, b2 = torch.split(whole[list(entries)], [3 * num_units, num_units, 2 * num_units, 2])
    hidden = (inputs.flatten(1) @ w1.view(num_units, 3).T + b1).relu()
    logits: Tensor = hidden @ w2.view(2, num_units).T + b2
    return logits


def test_widest_model_is_trained_without_distillation() -> None:
    found = []
    for distill in (False, True):
        algorithm, run = prepared(0.5, widths=(0.5, 1.0), distill=distill)
        algorithm.client_update(run)
        found.append(run.values.clone())
    assert torch.equal(*found)


def test_smaller_width_of_trained_model_is_usable() -> None:
    """A fifth of the units of one set of weights. The same fifth of FedAvg's model is close to chance."""
    accuracies = {}
    for widths in ("[0.2, 0.6, 1.0]", "[1.0]"):
        run = experiment(
            {"algorithm.name": "fjord", "algorithm.widths": widths, "training.clients_per_round": 8}
        )
        params, data = play(run)[-1].after.params, run.dataset.to_tensor(run.dataset.test_inputs)
        client = make_run(run.setting, FlatModule(run.build()), random_data(1, (1, 8, 8), 10))
        client.load_submodel(params, FjORD(FjORDConfig(name="fjord"), run.setting).prefix(0.2))
        with torch.no_grad():
            found = client.flat.module.eval()(data).argmax(dim=1).numpy()
        accuracies[widths] = float((found == run.dataset.test_labels).mean())
    assert accuracies["[0.2, 0.6, 1.0]"] > 0.6 > 0.4 > accuracies["[1.0]"]


def test_width_that_is_listed_twice_is_rejected() -> None:
    with rejects("algorithm.widths", [0.5, 1.0, 0.5]):
        prepared(widths=(0.5, 1.0, 0.5))

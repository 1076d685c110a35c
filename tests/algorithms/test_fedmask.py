"""FedMask: units, the pruning and the server's bits by hand, gradients against autograd, and messages."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from algorithms.fedmask import FedMask, FedMaskClient, FedMaskConfig, FedMaskScores
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.contract.rounds import play
from orchestrator.federation.aggregate import Contribution
from orchestrator.federation.algorithm import ServerState
from orchestrator.models.shapes import InputShape
from orchestrator.sparsity.payload import Bits
from tests.support.fakes import experiment, make_run, make_setting, random_data, seeded

SHAPE: InputShape = (2, 4, 4)
#: entries of the convolution, 3 rows of 18, and of the linear layer, 3 x 12
CONV, LINEAR = slice(0, 54), slice(54, 90)


def net() -> nn.Module:
    """Weights 3 x 2 x 3 x 3 and 3 x 12 with biases: W = 90, D = 96, and 3 + 12 units."""
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3))


def method(level: float = 0.0, *, epochs: int = 1, **options: object) -> FedMask:
    setting = make_setting(
        seeded(net),
        SHAPE,
        training={"batch_size": 5, "local_epochs": epochs},
        sparsity={"level": level},
    )
    return FedMask(FedMaskConfig.model_validate({"name": "fedmask", **options}), setting)


def loaded(algorithm: FedMask, client: FedMaskClient, bits: Tensor | None = None) -> CheckedRun:
    """A client that has received these bits of the server; None: all ones."""
    layout = algorithm.setting.layout
    mask = layout.full_mask() if bits is None else layout.expand(bits)
    state = ServerState(params=algorithm.frozen(), mask=mask)
    run = make_run(
        algorithm.setting,
        seeded(net),
        random_data(12, SHAPE, 3),
        payload=algorithm.broadcast(state),
        state=client,
    )
    run.received = None
    algorithm.load(run)
    return run


def test_units_are_rows_and_in_the_last_layer_columns() -> None:
    unit_of, sizes = method().units()
    assert sizes == (3, 12)
    assert unit_of[CONV].tolist() == [0] * 18 + [1] * 18 + [2] * 18
    assert unit_of[LINEAR].tolist() == 3 * list(range(3, 15))


def test_pruning_keeps_the_units_with_the_largest_sums() -> None:
    """The rows have the sums 18, 36 and -18; half of 3 is rounded to 2. Column c has the sum 3 c; 6 of 12 stay."""
    algorithm = method(0.5)
    scores = torch.cat(
        [torch.full((18,), s) for s in (1.0, 2.0, -1.0)] + [torch.arange(12.0) for _ in range(3)]
    )
    kept = algorithm.kept_units(scores, 0.5)
    assert kept.tolist() == [True, True, False] + [False] * 6 + [True] * 6
    assert algorithm.kept_units(scores, 0.01).nonzero().flatten().tolist() == [1, 14]
    assert bool(algorithm.kept_units(scores, 1.0).all())


class Recorder:
    """An optimiser that only stores the gradients."""

    def __init__(self) -> None:
        self.gradients: list[Tensor] = []

    def step(self, values: Tensor, grad: Tensor) -> None:
        """See Optimizer."""
        self.gradients.append(grad.clone())

    def forget(self, entries: Tensor) -> None:
        """See Optimizer."""


def test_frozen_weights_are_the_initial_ones_times_the_gain() -> None:
    """The default turns PyTorch's bound 1 / sqrt(n) into sqrt(6 / n). Biases keep their values."""
    initial = torch.from_numpy(method().setting.initial.copy())
    layout = method().setting.layout
    weights = ~layout.expand(torch.zeros(90, dtype=torch.bool))
    for gain, options in ((6**0.5, {}), (1.0, {"gain": 1.0})):
        frozen = method(**options).frozen()
        assert torch.allclose(frozen[weights], gain * initial[weights], rtol=1e-3)
        assert torch.equal(frozen[~weights], initial[~weights])
        assert torch.equal(method(**options).init(initial).params, frozen)


def test_gradient_of_a_score_is_that_of_its_bit_times_the_slope_of_the_sigmoid() -> None:
    algorithm = method()
    scores = torch.linspace(-1.0, 2.0, 90)
    client = FedMaskClient(scores=scores, kept=torch.ones(15, dtype=torch.bool), has_trained=True)
    run = loaded(algorithm, client, scores > 0.0)
    recorder = Recorder()
    run.optimizer = recorder
    batch = next(next(run.batches()))
    algorithm.step(run, batch)

    layout, frozen = algorithm.setting.layout, algorithm.frozen()
    mask = layout.expand(scores > 0.0).float().requires_grad_()
    assert torch.equal(run.values, mask.detach() * frozen)
    logits = functional_call(net(), layout.views(mask * frozen), (batch[0],))
    (slope,) = torch.autograd.grad(cross_entropy(logits, batch[1]), mask)
    sigmoid = torch.sigmoid(scores)
    weights = ~layout.expand(torch.zeros(90, dtype=torch.bool))
    (gradient,) = recorder.gradients
    assert torch.allclose(gradient, slope[weights] * sigmoid * (1 - sigmoid), rtol=1e-4, atol=1e-7)
    assert float(gradient.abs().max()) > 0


def test_weights_are_never_trained_and_one_task_prunes() -> None:
    algorithm = method(0.5, epochs=2, score_lr=0.5)
    run = loaded(algorithm, algorithm.init_client(0))
    algorithm.client_update(run)
    client, frozen = run.state, algorithm.frozen()
    assert client.has_trained
    assert (int(client.kept[:3].sum()), int(client.kept[3:].sum())) == (2, 6)
    inside = client.kept[algorithm.units()[0]]
    mask = algorithm.setting.layout.expand((client.scores > 0.0) & inside)
    assert 30 < int(mask.sum()) < int(inside.sum()) + 6
    assert torch.equal(run.values, frozen * mask)
    assert not bool(client.scores[~inside].any())

    again = loaded(algorithm, client, torch.ones(90, dtype=torch.bool))
    algorithm.client_update(again)
    assert torch.equal(again.state.kept, client.kept)


def test_server_bit_that_differs_changes_the_sign_of_a_score() -> None:
    algorithm = method()
    scores = torch.full((90,), -0.5)
    scores[:2] = torch.tensor([0.25, 0.75])
    bits = torch.zeros(90, dtype=torch.bool)
    bits[1:3] = True
    client = FedMaskClient(scores=scores, kept=torch.ones(15, dtype=torch.bool), has_trained=True)
    found = loaded(algorithm, client, bits).scratch(FedMaskScores).values
    assert found[:4].tolist() == [-0.25, 0.75, 0.5, -0.5]
    assert bool((found[3:] == -0.5).all())


def test_first_task_ignores_the_mask_of_the_server() -> None:
    algorithm = method()
    found = loaded(algorithm, algorithm.init_client(0), torch.zeros(90, dtype=torch.bool))
    assert bool((found.scratch(FedMaskScores).values == 1.0).all())


def updated(
    algorithm: FedMask,
    uploads: Sequence[tuple[Sequence[int], Sequence[int]]],
    discounts: Sequence[float] = (),
) -> Tensor:
    """The server's first bits after uploads that differ in their first bits and first units, and are 0 elsewhere."""
    aggregator, layout = algorithm.aggregator(), algorithm.setting.layout
    state = algorithm.init(algorithm.frozen())
    for k, (bits, units) in enumerate(uploads):
        mask, kept = np.zeros(90, np.bool_), np.zeros(15, np.bool_)
        mask[: len(bits)], kept[: len(units)] = bits, units
        weight = algorithm.weight(10 * (k + 1)) * (discounts[k] if discounts else 1.0)
        items = (Bits("mask", mask), Bits("units", kept))
        aggregator.add(
            Contribution(client_id=k, weight=weight, values=None, mask=None, start=None, items=items)
        )
    after = algorithm.server_update(state, aggregator.finish(state.params), 0)
    frozen = algorithm.frozen()
    assert after.mask is not None
    assert torch.equal(after.params, frozen * after.mask)
    return layout.restrict(after.mask)


def test_server_takes_each_bit_from_the_clients_that_have_its_unit() -> None:
    """Unit 0: three clients, so that two ones are needed. Unit 1: only client 2. Unit 2: nobody, so that the bits stay.

    Weights 0 to 17 have unit 0, 18 to 35 unit 1, 36 to 53 unit 2.
    """
    ones = [0] * 54
    first, second, third = ones.copy(), ones.copy(), ones.copy()
    first[0] = second[0] = third[1] = third[20] = 1
    bits = updated(method(), [(first, [1]), (second, [1]), (third, [1, 1])])
    assert bits[:18].nonzero().flatten().tolist() == [0]
    assert bits[18:36].nonzero().flatten().tolist() == [2]
    assert bool(bits[36:].all())


def test_half_of_the_clients_is_enough_for_a_bit() -> None:
    bits = updated(method(), [([1, 0], [1]), ([0, 0], [1])])
    assert bits[:2].tolist() == [True, False]


@pytest.mark.parametrize(
    ("discounts", "bits", "units", "expected"),
    [
        ((1, 1, 1, 0.5), (0, 1, 0, 1), (1, 1, 1, 1), False),
        ((1, 1, 1, 1.0), (0, 1, 0, 1), (1, 1, 1, 1), True),
        ((1, 0.5, 0.5, 0.5), (0, 1, 0, 0), (0, 1, 1, 1), False),
        ((1, 1, 1, 1, 0.2), (0, 0, 0, 0, 0), (0, 0, 0, 0, 1), False),
        ((1, 1, 1, 1, 0.2), (0, 0, 0, 0, 1), (0, 0, 0, 0, 1), True),
    ],
)
def test_late_updates_count_with_their_weights(
    discounts: Sequence[float], bits: Sequence[int], units: Sequence[int], expected: bool
) -> None:
    """theta is 1.5 / 3.5, 2 / 4, 0.5 / 1.5, 0 and 1."""
    uploads = [([bit], [unit]) for bit, unit in zip(bits, units, strict=True)]
    assert bool(updated(method(), uploads, discounts)[0]) is expected


def test_client_alone_gets_its_own_mask_back() -> None:
    """Reduction: with one client the server's mask is the client's, so that the client trains as if it were alone."""
    run = experiment({"algorithm.name": "fedmask", "fleet.num_clients": 1, "training.clients_per_round": 1})
    for played in play(run):
        (update,) = played.updates
        client, mask = update.client_state, played.after.mask
        assert mask is not None
        inside = client.kept[run.algorithm.units()[0]]  # type: ignore[attr-defined]
        bits = run.setting.layout.restrict(mask)
        assert torch.equal(bits[inside], client.scores[inside] > 0.0)
        assert bool(bits[~inside].all())


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_messages_have_a_bit_for_each_weight_and_each_unit(level: float) -> None:
    """Headers of 12, 20 and 24 bytes. The mask and the units are never longer than their bitmaps."""
    run = experiment({"algorithm.name": "fedmask", "sparsity.level": level})
    num_units = sum(run.algorithm.units()[1])  # type: ignore[attr-defined]
    bitmaps = (run.setting.layout.num_maskable + 7) // 8, (num_units + 7) // 8
    for played in play(run):
        for update, down in zip(played.updates, played.download_bytes, strict=True):
            assert 56 < update.buffer.nbytes <= 12 + 20 + 24 + sum(bitmaps)
            assert down <= 12 + 20 + bitmaps[0]

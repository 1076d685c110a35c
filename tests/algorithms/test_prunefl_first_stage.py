"""PruneFL's first stage: one client, compared with a plain loop; its start and end, and its message."""

from math import floor

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from algorithms.prunefl import PruneFL, PruneFLConfig
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.contract.rounds import play
from orchestrator.federation.exchange import find_bits
from tests.support.fakes import (
    TensorData,
    experiment,
    make_run,
    make_setting,
    random_data,
    seeded,
)
from tests.support.nets import hidden_mlp as net

SHAPE = (1, 3, 3)
#: weights 0-35 and 40-51, biases 36-39 and 52-54; a linear weight takes 1 s, all weights 48 s, and c is .5 x 48 s
LAYERS = (range(36), range(40, 52))
CONSTANT_S = 24.0


def prepared(labels: str = "right", *, level: float = 0.0, **options: object) -> tuple[PruneFL, CheckedRun]:
    """14 samples in batches of 4.

    Labels are predicted correctly (`right`), wrongly (`wrong`), or all images are equal (`hopeless`).
    """
    flat = seeded(net)
    training = {"batch_size": 4, "lr": 0.05, "momentum": 0.9}
    setting = make_setting(flat, SHAPE, training=training, sparsity={"level": level})
    config = {
        "name": "prunefl",
        "comm_s": 1.0,
        "comp_s": 0.0,
        "constant_share": 0.5,
        "initial_batches": 3,
        "initial_adjust_every": 2,
        **options,
    }
    algorithm = PruneFL(PruneFLConfig.model_validate(config), setting)
    images = random_data(14, SHAPE, 3).images * (labels != "hopeless")
    with torch.no_grad():
        predicted = flat.module(images).argmax(dim=1)
    shift = {"right": torch.tensor(0), "wrong": torch.tensor(1), "hopeless": torch.arange(14)}[labels]
    data = TensorData(images, (predicted + shift) % 3, shuffled=False)
    run = make_run(
        setting,
        flat,
        data,
        state=algorithm.init_client(0),
        kind="probe",
        received=None,
    )
    run.received = algorithm.unpack(
        algorithm.broadcast(algorithm.init(flat.values.clone())), run.task, run.state
    )
    return algorithm, run


def elect(mask: list[bool], values: Tensor, squares: Tensor, most: int) -> list[bool]:
    """The adjustment with dec = .3, entry by entry."""
    kept = list(mask)
    for layer in LAYERS:
        active = sorted((i for i in layer if mask[i]), key=lambda i: abs(float(values[i])))
        for i in active[: floor(0.3 * len(active) + 1e-9)]:
            kept[i] = False
    weights = [i for layer in LAYERS for i in layer]
    gain = sum(float(squares[i]) for i in range(55) if kept[i])
    time_s = CONSTANT_S + sum(kept[i] for i in weights)
    for i in sorted((i for i in weights if not kept[i]), key=lambda i: -float(squares[i])):
        if float(squares[i]) <= gain / time_s or sum(kept[j] for j in weights) >= most:
            break
        kept[i], gain, time_s = True, gain + float(squares[i]), time_s + 1.0
    return kept


class Reference:
    """Plain training with momentum .9 at .05 on the first batches, and an adjustment in every second pass."""

    def __init__(self, run: CheckedRun, most: int) -> None:
        self.flat, self.most = seeded(net), most
        self.batches = list(next(run.batches("initial pruning", 1)))[:3]
        self.mask, self.squares = [True] * 55, torch.zeros(55)
        self.velocity, self.densities = torch.zeros(55), list[float]()

    def train(self) -> None:
        for images, labels in self.batches:
            parameters = list(self.flat.module.parameters())
            gradients = torch.autograd.grad(cross_entropy(self.flat.module(images), labels), parameters)
            gradient = torch.cat([g.flatten() for g in gradients])
            self.squares += gradient**2
            keep = torch.tensor(self.mask)
            self.velocity = 0.9 * self.velocity + gradient * keep
            self.flat.values.sub_(0.05 * self.velocity).mul_(keep)

    def adjust(self) -> None:
        before = torch.tensor(self.mask)
        self.mask = elect(self.mask, self.flat.values, self.squares, self.most)
        keep = torch.tensor(self.mask)
        self.flat.values.mul_(keep)
        self.velocity.mul_(before == keep)
        self.squares = torch.zeros(55)
        self.densities.append(sum(self.mask[i] for layer in LAYERS for i in layer) / 48)

    def accuracy(self) -> float:
        images, labels = (torch.cat(parts) for parts in zip(*self.batches, strict=True))
        with torch.no_grad():
            return float((self.flat.module(images).argmax(dim=1) == labels).float().mean())


@pytest.mark.parametrize(("labels", "begins"), [("right", 0), ("wrong", 1)])
@pytest.mark.parametrize("level", [0.0, 0.75])
def test_first_stage_equals_a_plain_loop(labels: str, begins: int, level: float) -> None:
    """Up to 14 passes. Adjustments start when half of the samples, 1.5 / 3, are predicted correctly."""
    algorithm, run = prepared(labels, level=level, initial_iterations=14)
    reference, first = Reference(run, most=int(48 * (1 - level) + 1e-9)), None
    payload = algorithm.client_update(run).payload
    for iteration in range(14):
        if first is None and reference.accuracy() >= 0.5:
            first = iteration
        reference.train()
        if first is not None and (iteration - first) % 2 == 0:
            reference.adjust()
        changes = [abs(b / a - 1) for a, b in zip(reference.densities, reference.densities[1:], strict=False)]
        if len(changes) >= 5 and max(changes[-5:]) <= 0.1:
            break
    assert first == begins
    model = algorithm.unpack(payload, run.task, run.state)
    assert model is not None
    assert model.mask is not None
    assert model.mask.tolist() == reference.mask
    assert 0 < sum(reference.mask) < 55
    assert torch.allclose(model.values, reference.flat.values, rtol=1e-3, atol=1e-5)
    assert passes(run) == iteration + 1


def passes(run: CheckedRun) -> float:
    """Number of passes over 12 samples, at 6 operations a weight."""
    return run.flops.total_dense / (12 * 6 * 48)


def test_first_stage_ends_after_five_small_changes_of_density() -> None:
    """With a share of 0 the density stays 1. Adjustments in passes 0, 2, ..., 10 make five changes."""
    algorithm, run = prepared(prune_share=0.0)
    algorithm.client_update(run)
    assert passes(run) == 11
    assert run.mask is not None
    assert bool(run.mask.all())


def test_client_with_a_low_accuracy_prunes_nothing() -> None:
    algorithm, run = prepared("hopeless", initial_iterations=14)
    algorithm.client_update(run)
    assert passes(run) == 14
    assert run.flops.total == run.flops.total_dense
    assert run.mask is not None
    assert bool(run.mask.all())


def test_only_the_first_sampled_client_is_probed_and_only_once() -> None:
    options = {
        "algorithm.name": "prunefl",
        "algorithm.initial_iterations": 12,
        "algorithm.initial_adjust_every": 3,
    }
    rounds = play(experiment(options))
    (probe,) = rounds[0].probes
    assert [job.task.client_id for job in probe.jobs] == [rounds[0].jobs[0].task.client_id]
    assert not any(played.probes for played in rounds[1:])
    (model,) = probe.models
    assert model is not None
    assert model.mask is not None
    assert not bool(model.mask.all())
    assert torch.equal(rounds[0].before.params, model.values)
    assert torch.equal(rounds[0].before.mask, model.mask)  # type: ignore[arg-type]
    assert torch.equal(rounds[-1].after.mask, model.mask)  # type: ignore[arg-type]
    for state in probe.client_states.values():
        assert int(state.total.count_nonzero()) == 0


@pytest.mark.parametrize("regrow", ["zero", "stale"])
def test_upload_may_be_the_mask_alone_with_training_from_the_initial_weights(regrow: str) -> None:
    """One bit a weight up. Pruned weights may regrow to their initial values."""
    options = {
        "algorithm.name": "prunefl",
        "algorithm.initial_iterations": 12,
        "algorithm.initial_adjust_every": 3,
        "algorithm.initial_weights": "initial",
        "algorithm.regrow": regrow,
    }
    run = experiment(options)
    first = play(run)[0]
    (probe,) = first.probes
    assert probe.updates[0].buffer.nbytes == 12 + 16 + 4 + 4225
    layout = run.setting.layout
    mask = layout.expand(torch.from_numpy(find_bits(probe.payloads[0], "mask").copy()))
    assert not bool(mask.all())
    assert torch.equal(first.before.mask, mask)  # type: ignore[arg-type]
    initial = torch.from_numpy(run.initial)
    assert torch.equal(first.before.params, initial * mask)
    stale = first.before.stale  # type: ignore[attr-defined]
    assert stale is None if regrow == "zero" else torch.equal(stale, initial)

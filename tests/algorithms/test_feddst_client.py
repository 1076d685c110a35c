"""FedDST's client, compared with plain PyTorch and masks as lists, and its compatibility options."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from algorithms.feddst import FedDST, FedDSTConfig
from orchestrator.config.sections import AlgorithmConfig
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.update import LocalResult
from tests.support.fakes import (
    make_run,
    make_setting,
    random_data,
    seeded,
)
from tests.support.nets import small_cnn as net
from tests.support.weight_scores import largest

SHAPE = (1, 5, 5)
ALPHA = 0.4


def make(seed: int, **options: object) -> tuple[FedDST, CheckedRun]:
    """A client in round 1, the first round that readjusts. 11 images in batches of 4, 4 epochs."""
    flat = seeded(net, seed)
    training = {
        "local_epochs": 4,
        "batch_size": 4,
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "rounds": 4,
    }
    setting = make_setting(
        flat, SHAPE, training=training, sparsity={"level": 0.5, "allocation": "uniform"}, seed=seed
    )
    config = {"name": "feddst", "alpha": ALPHA, "constant_alpha": True, **options}
    algorithm = FedDST(FedDSTConfig.model_validate(config), setting)
    state = algorithm.init(flat.values.clone())
    received = ModelValues(state.params, state.mask)
    data = random_data(11, SHAPE, 6, seed)
    return algorithm, make_run(setting, flat, data, received=received, round_idx=1)


def readjust(
    weight: Tensor, active: set[int], gradient: Tensor, kept_count: int, count: int, *, over_all: bool
) -> tuple[set[int], set[int]]:
    """The kept and the grown entries of one flat layer, by definition."""
    everything = range(weight.numel())
    kept = largest(weight.abs(), sorted(active), kept_count)
    free = list(everything) if over_all else [i for i in everything if i not in kept]
    return kept, largest(gradient.abs(), free, count - kept_count)


class Reference:
    """Plain PyTorch: an ordinary module, torch.optim.SGD, and masks as sets of flat indices."""

    def __init__(self, seed: int) -> None:
        self.module = seeded(net, seed).module
        self.weights = [p for p in self.module.parameters() if p.ndim >= 2]
        keep = {"0.weight": 18, "3.weight": 108}
        self.counts = list(keep.values())
        self.masks = [
            largest(p.detach().flatten().abs(), range(p.numel()), n)
            for p, n in zip(self.weights, self.counts, strict=True)
        ]
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        self.epochs = [list(epoch) for epoch in make(seed)[1].batches()]
        self.grown: list[set[int]] = []
        self.apply_masks()

    def apply_masks(self) -> None:
        for parameter, active in zip(self.weights, self.masks, strict=True):
            flat = parameter.data.view(-1)
            for i in set(range(flat.numel())) - active:
                flat[i] = 0.0

    def train(self, epoch: list[tuple[Tensor, Tensor]]) -> None:
        for images, labels in epoch:
            self.optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(self.module(images), labels))
            for parameter, active in zip(self.weights, self.masks, strict=True):
                assert parameter.grad is not None
                outside = sorted(set(range(parameter.numel())) - active)
                parameter.grad.view(-1)[outside] = 0.0
            self.optimizer.step()
            self.apply_masks()

    def readjust(self, batch: tuple[Tensor, Tensor], *, over_all: bool = False) -> None:
        """Drop to 1 - (.5 + .5 alpha) of each layer, grow back to half; new weights and momentum start at 0."""
        self.optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(self.module(batch[0]), batch[1]))
        for layer, parameter in enumerate(self.weights):
            assert parameter.grad is not None
            flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
            kept_count = int((0.5 - 0.5 * ALPHA) * flat.numel() + 1e-9)
            kept, grown = readjust(
                flat, self.masks[layer], gradient, kept_count, self.counts[layer], over_all=over_all
            )
            before, self.masks[layer] = self.masks[layer], kept | grown
            flat[sorted(grown)] = 0.0
            momentum = self.optimizer.state[parameter]["momentum_buffer"].view(-1)
            momentum[sorted(grown | (before - self.masks[layer]))] = 0.0
            self.grown.append(grown)
        self.apply_masks()

    def round(self, adjust_after_epoch: int, *, over_all: bool = False) -> None:
        for done, epoch in enumerate(self.epochs, start=1):
            self.train(epoch)
            if done == adjust_after_epoch:
                self.readjust(epoch[-1], over_all=over_all)

    def values(self) -> list[float]:
        return [float(x) for p in self.module.parameters() for x in p.detach().view(-1)]

    def nnz(self) -> list[int]:
        return [len(mask) for mask in self.masks]


def layer_masks(algorithm: FedDST, mask: Tensor | None) -> list[set[int]]:
    assert mask is not None
    return [set(mask[s.slice].nonzero().view(-1).tolist()) for s in algorithm.setting.layout.maskable]


def finish(algorithm: FedDST, run: CheckedRun) -> LocalResult[None]:
    """The client's round. `CheckedRun` checks the mask after each of the 12 steps."""
    result = algorithm.client_update(run)
    assert run.num_steps == 12
    return result


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("option", "after"), [(None, 2), (1, 1), (4, 4)])
def test_client_equals_plain_pytorch_bit_for_bit(seed: int, option: int | None, after: int) -> None:
    """Compares values and masks.

    The steps are training, the gradient of the last batch, drop, growth and further training.
    """
    algorithm, run = make(seed, adjust_after_epoch=option)
    reference = Reference(seed)
    reference.round(after)
    finish(algorithm, run)
    assert layer_masks(algorithm, run.mask) == reference.masks
    assert run.values.tolist() == reference.values()


@pytest.mark.parametrize("seed", range(3))
def test_growth_fills_the_layer_from_masked_weights(seed: int) -> None:
    """Of 18 and 108 weights, 18 - floor(.3 * 36) = 8 and 108 - floor(.3 * 216) = 44 are replaced."""
    algorithm, run = make(seed, adjust_after_epoch=4)
    finish(algorithm, run)
    masks = layer_masks(algorithm, run.mask)
    assert [len(m) for m in masks] == [18, 108]
    for segment, mask, count in zip(algorithm.setting.layout.maskable, masks, (8, 44), strict=True):
        values = run.values[segment.slice]
        assert sum(float(values[i]) == 0.0 for i in mask) == count


@pytest.mark.parametrize("seed", range(3))
def test_growing_over_all_positions_loses_density_and_weights(seed: int) -> None:
    """The public code does this. Chosen weights that are active already become 0 and add no connection."""
    algorithm, run = make(seed, adjust_after_epoch=4, grow_over_all=True)
    reference = Reference(seed)
    reference.round(4, over_all=True)
    finish(algorithm, run)
    assert layer_masks(algorithm, run.mask) == reference.masks
    assert run.values.tolist() == reference.values()
    assert sum(reference.nnz()) < 18 + 108
    for mask, grown, segment in zip(
        reference.masks, reference.grown, algorithm.setting.layout.maskable, strict=True
    ):
        values = run.values[segment.slice]
        assert {i for i in mask if float(values[i]) == 0.0} == grown


def test_grown_weight_has_no_momentum_even_if_it_was_just_dropped() -> None:
    """A step with a zero gradient and no decay moves kept weights, but no grown weight."""
    algorithm, run = make(0, adjust_after_epoch=4)
    finish(algorithm, run)
    masks = layer_masks(algorithm, run.mask)
    before = run.values.clone()
    run.grad.copy_(-0.01 * run.values[: run.grad.numel()])  # cancels the weight decay
    run.apply_gradient()
    regrown = 0
    for segment, mask in zip(algorithm.setting.layout.maskable, masks, strict=True):
        old, new = before[segment.slice], run.values[segment.slice]
        grown = [i for i in mask if float(old[i]) == 0.0]
        was_active = run.received.mask[segment.slice]  # type: ignore[union-attr, index]
        regrown += sum(bool(was_active[i]) for i in grown)
        assert all(float(new[i]) == 0.0 for i in grown)
        assert any(float(new[i]) != float(old[i]) for i in mask)
    assert regrown > 0


@pytest.mark.parametrize("round_idx", [0, 2, 3])
def test_other_rounds_keep_the_mask(round_idx: int) -> None:
    algorithm, _ = make(0)
    flat = seeded(net)
    state = algorithm.init(flat.values.clone())
    run = make_run(
        algorithm.setting,
        flat,
        random_data(11, SHAPE, 6),
        received=ModelValues(state.params, state.mask),
        round_idx=round_idx,
    )
    finish(algorithm, run)
    assert torch.equal(run.mask, state.mask)  # type: ignore[arg-type]


def test_flops_include_the_growth_gradient_and_the_new_mask() -> None:
    """Conv weights serve 9 positions: dense 36 * 9 + 216 = 540 MACs, sparse 18 * 9 + 108 = 270.

    4 epochs of 11 images cost 6 * 270 FLOPs an image. The last batch has 3 images: forward 2 * 270, backward 4 *
    540.
    """
    algorithm, run = make(0)
    result = finish(algorithm, run)
    assert result.train_flops == pytest.approx(44 * 6 * 270 + 3 * (2 * 270 + 4 * 540), rel=1e-12)
    assert result.train_flops_dense == 44 * 6 * 540 + 3 * 6 * 540


class ProximalMethod(Algorithm[ServerState, Tensor | None]):
    """A method with a gradient term of its own, which stores the growth gradient."""

    def grad_hook(self, run: LocalRun[Tensor | None]) -> None:
        run.grad.add_(run.values[: run.grad.numel()] - run.start[: run.grad.numel()], alpha=5.0)

    def on_epoch(self, run: LocalRun[Tensor | None], epochs_done: int) -> None:
        assert run.last_batch is not None
        run.state = run.dense_gradient(run.last_batch)


def test_growth_gradient_excludes_a_methods_own_terms() -> None:
    """After a step it is the gradient of the plain cross-entropy at the new weights."""
    flat = seeded(net)
    setting = make_setting(flat, SHAPE, training={"local_epochs": 1, "batch_size": 4, "lr": 0.01})
    run = make_run(setting, flat, random_data(11, SHAPE, 6))
    batches = list(next(run.batches()))
    found = ProximalMethod(AlgorithmConfig(), setting).client_update(run).client_state
    other = seeded(net)
    other.load(run.values)
    torch.autograd.backward(cross_entropy(other.module(batches[-1][0]), batches[-1][1]))
    assert found is not None
    assert torch.equal(found, other.grad)
    assert not torch.equal(run.values, run.start)

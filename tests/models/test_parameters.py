"""The flat vector of a model: its layout, and a module with views into the vector."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from orchestrator.errors import ModelError
from orchestrator.models.parameters import FlatModule, ParameterLayout


def _net() -> nn.Sequential:
    """A model for 4x4 images: convolution to 2 maps of 2x2, batch norm, linear layer to 3 classes."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Dropout(0.0), nn.Linear(8, 3)
    )


def _batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(5, 1, 4, 4)), dtype=torch.float32), torch.tensor(
        rng.integers(0, 3, 5)
    )


def _loss(module: nn.Module, seed: int = 0) -> Tensor:
    images, labels = _batch(seed)
    return cross_entropy(module(images), labels)


def _flatten(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


class Tied(nn.Module):
    """Encodes and decodes with one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, 3)
        self.decoder = nn.Linear(3, 3, bias=False)
        self.decoder.weight = self.encoder.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.decoder(self.encoder(inputs))


def test_layout_lists_parameters_in_module_order_then_float_buffers() -> None:
    layout = ParameterLayout.of(_net())
    assert [(s.name, s.shape, s.offset, s.kind, s.maskable) for s in layout.segments] == [
        ("0.weight", (2, 1, 3, 3), 0, "weight", True),
        ("0.bias", (2,), 18, "bias", False),
        ("1.weight", (2,), 20, "norm", False),
        ("1.bias", (2,), 22, "norm", False),
        ("5.weight", (3, 8), 24, "weight", True),
        ("5.bias", (3,), 48, "bias", False),
        ("1.running_mean", (2,), 51, "buffer", False),
        ("1.running_var", (2,), 53, "buffer", False),
    ]
    assert (layout.size, layout.num_trainable, layout.num_maskable) == (55, 51, 42)
    assert [s.name for s in layout.maskable] == ["0.weight", "5.weight"]


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(2, 4), nn.LayerNorm([4, 3]), nn.InstanceNorm2d(4, affine=True)]
)
def test_norm_parameters_are_never_maskable(norm: nn.Module) -> None:
    assert {(s.kind, s.maskable) for s in ParameterLayout.of(norm).segments} == {("norm", False)}


def test_scalar_parameter_takes_one_dense_entry() -> None:
    module = nn.PReLU()
    module.weight = nn.Parameter(torch.tensor(0.25))
    flat = FlatModule(module)
    assert (flat.layout.size, flat.layout.num_maskable) == (1, 0)
    assert flat.values.tolist() == [0.25]


def test_tied_parameters_are_one_segment_and_stay_tied() -> None:
    flat = FlatModule(Tied())
    assert [s.name for s in flat.layout.segments] == ["encoder.weight", "encoder.bias"]
    flat.values.copy_(torch.tensor([0.0, 1, 0, 0, 0, 1, 1, 0, 0, 10, 20, 30]))
    # x = (1, 2, 3): encoded (2, 3, 1) + (10, 20, 30), then permuted the same way
    assert flat.module(torch.tensor([1.0, 2, 3])).tolist() == [23, 31, 12]
    flat.module(torch.ones(3)).sum().backward()
    assert isinstance(flat.module, Tied)
    assert flat.module.decoder.weight.grad is not None
    assert flat.module.decoder.weight.grad.data_ptr() == flat.grad.data_ptr()


def test_float64_parameter_is_rejected() -> None:
    with pytest.raises(ModelError) as caught:
        ParameterLayout.of(nn.Sequential(nn.Linear(2, 2).double()))
    assert (caught.value.field, caught.value.value) == ("model", "0.weight")
    assert "float64" in caught.value.problem


@pytest.mark.parametrize("module", [nn.ReLU(), nn.BatchNorm2d(3, affine=False)])
def test_model_without_parameters_is_rejected(module: nn.Module) -> None:
    with pytest.raises(ModelError) as caught:
        ParameterLayout.of(module)
    assert (caught.value.field, caught.value.value) == ("model", type(module).__name__)


def test_full_mask_keeps_every_entry() -> None:
    layout = ParameterLayout.of(_net())
    assert layout.full_mask().shape == (55,)
    assert layout.full_mask().all()
    assert layout.density(layout.full_mask()) == layout.density(None) == 1.0


def test_restrict_inverts_expand() -> None:
    layout = ParameterLayout.of(_net())
    bits = torch.tensor(np.random.default_rng(1).random(42) < 0.4)
    mask = layout.expand(bits)
    assert torch.equal(mask[0:18], bits[:18])
    assert torch.equal(mask[24:48], bits[18:])
    assert mask[18:24].all()
    assert mask[48:].all()
    assert torch.equal(layout.restrict(mask), bits)


def test_active_and_density_count_only_maskable_entries() -> None:
    layout = ParameterLayout.of(_net())
    mask = layout.full_mask()
    mask[0:10] = False
    mask[24:35] = False
    mask[48:] = False
    assert layout.active(mask) == {"0.weight": 8, "5.weight": 13}
    assert layout.density(mask) == 21 / 42


def test_layout_without_maskable_entries_has_empty_masks() -> None:
    layout = ParameterLayout.of(nn.GroupNorm(1, 3))
    assert layout.restrict(layout.full_mask()).shape == (0,)
    assert layout.expand(torch.ones(0, dtype=torch.bool)).tolist() == [True] * 6
    assert layout.density(torch.zeros(6, dtype=torch.bool)) == 1.0


def test_views_share_memory_with_the_vector() -> None:
    layout = ParameterLayout.of(_net())
    vector = torch.arange(55.0)
    views = layout.views(vector)
    assert views["5.weight"].tolist() == np.arange(24.0, 48).reshape(3, 8).tolist()
    views["5.weight"][2, 7] = -1
    assert vector[47] == -1


def test_flat_module_keeps_the_function_and_the_values() -> None:
    module = _net()
    images, _ = _batch()
    before = copy.deepcopy(module).eval()(images)
    flat = FlatModule(module)
    assert torch.equal(flat.module.eval()(images), before)
    expected = _flatten(
        [*module.parameters(), module.get_buffer("1.running_mean"), module.get_buffer("1.running_var")]
    )
    assert torch.equal(flat.values, expected)


def test_values_and_module_share_memory() -> None:
    flat = FlatModule(_net())
    flat.values.zero_()
    flat.values[48:51] = torch.tensor([1.0, 2, 3])
    flat.module.eval()
    assert flat.module(torch.ones(2, 1, 4, 4)).tolist() == [[1, 2, 3], [1, 2, 3]]
    with torch.no_grad():
        flat.module.get_parameter("0.bias").fill_(7)
    assert flat.values[18:20].tolist() == [7, 7]


def test_training_forward_pass_writes_running_statistics_into_values() -> None:
    module = _net()
    reference = copy.deepcopy(module)
    flat = FlatModule(module)
    _loss(flat.module)
    _loss(reference)
    assert torch.equal(flat.values[51:53], reference.get_buffer("1.running_mean"))
    assert torch.equal(flat.values[53:55], reference.get_buffer("1.running_var"))
    assert not torch.equal(flat.values[51:53], torch.zeros(2))


def test_backward_adds_to_grad_in_place() -> None:
    module = _net()
    reference = copy.deepcopy(module)
    flat = FlatModule(module)
    address = flat.grad.data_ptr()
    for seed in (0, 1):
        _loss(flat.module, seed).backward()
        _loss(reference, seed).backward()
    assert torch.equal(flat.grad, _flatten([p.grad for p in reference.parameters() if p.grad is not None]))
    assert flat.grad.data_ptr() == address
    assert module.get_parameter("0.weight").grad is not None


def test_load_restores_buffers_and_counters_and_clears_gradients() -> None:
    flat = FlatModule(_net())
    start = flat.values.clone()
    _loss(flat.module).backward()
    counter = flat.module.get_buffer("1.num_batches_tracked")
    assert counter.item() == 1
    assert flat.grad.abs().sum() > 0
    flat.load(start)
    assert torch.equal(flat.values, start)
    assert flat.module.get_buffer("1.running_mean").tolist() == [0, 0]
    assert counter.item() == 0
    assert flat.grad.abs().sum() == 0


def test_training_after_load_repeats_the_first_training() -> None:
    flat = FlatModule(_net())
    start = flat.values.clone()
    ends = []
    for _ in range(2):
        flat.load(start)
        _loss(flat.module).backward()
        flat.values[:51] -= 0.1 * flat.grad
        ends.append(flat.values.clone())
    assert torch.equal(*ends)


@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.0, 0.0), (0.9, 0.0), (0.9, 1e-3)])
def test_sgd_on_the_flat_vector_equals_torch_sgd_on_the_module(momentum: float, weight_decay: float) -> None:
    module = _net()
    reference = copy.deepcopy(module)
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=momentum, weight_decay=weight_decay)
    flat = FlatModule(module)
    weights = flat.values[: flat.layout.num_trainable]
    velocity = torch.zeros_like(flat.grad)
    for seed in range(4):
        optimizer.zero_grad()
        _loss(reference, seed).backward()
        optimizer.step()
        flat.grad.zero_()
        _loss(flat.module, seed).backward()
        velocity.mul_(momentum).add_(flat.grad.add(weights, alpha=weight_decay))
        weights.add_(velocity, alpha=-0.1)
    running = [reference.get_buffer("1.running_mean"), reference.get_buffer("1.running_var")]
    assert torch.equal(flat.values, _flatten([*reference.parameters(), *running]))


class Stateful(nn.Module):
    """Has one tensor of each kind of state."""

    def __init__(self) -> None:
        super().__init__()
        self.trained = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.frozen = nn.Parameter(torch.tensor([[3.0, 4.0]]), requires_grad=False)
        self.coarse = nn.Parameter(torch.tensor([0.5], dtype=torch.float16), requires_grad=False)
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor([5.0]))
        self.register_buffer("hidden", torch.tensor([6.0]), persistent=False)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        self.register_buffer("order", torch.tensor([1, 0]))

    def forward(self, inputs: Tensor) -> Tensor:
        self.mean = self.mean + inputs.mean()
        self.order = 1 - self.order
        return inputs * self.trained + self.mean


def test_vector_contains_trained_parameters_and_finite_persistent_statistics() -> None:
    flat = FlatModule(Stateful())
    assert [(s.name, s.kind) for s in flat.layout.segments] == [("trained", "bias"), ("mean", "buffer")]
    assert flat.values.tolist() == [1, 2, 5]
    fixed = {name: tensor.tolist() for name, tensor in flat.fixed_state().items()}
    expected = {"frozen": [[3, 4]], "coarse": [0.5], "hidden": [6], "mask": [0, -torch.inf], "order": [1, 0]}
    assert fixed == expected


def test_statistics_assigned_by_the_forward_pass_are_copied_into_values() -> None:
    flat = FlatModule(Stateful())
    for _ in range(2):
        flat(torch.tensor([1.0, 3.0]))
    assert flat.values.tolist() == [1, 2, 9]
    flat.load(torch.tensor([1.0, 1.0, 0.0]))
    assert flat(torch.tensor([1.0, 3.0])).tolist() == [3, 5]


def test_load_restores_fixed_buffers_assigned_by_the_forward_pass() -> None:
    flat = FlatModule(Stateful())
    flat(torch.ones(2))
    assert flat.module.get_buffer("order").tolist() == [0, 1]
    flat.load(flat.values.clone())
    assert flat.module.get_buffer("order").tolist() == [1, 0]


def test_load_restores_the_loaded_fixed_state() -> None:
    flat, other = FlatModule(Stateful()), FlatModule(Stateful())
    state = {"frozen": torch.tensor([[7.0, 8.0]]), "order": torch.tensor([5, 6])}
    other.load_fixed_state(state)
    other(torch.ones(2))
    other.load(flat.values)
    assert other.module.get_parameter("frozen").tolist() == [[7, 8]]
    assert other.module.get_buffer("order").tolist() == [5, 6]
    assert other.fixed_state().keys() == flat.fixed_state().keys()
    assert other.fixed_state()["mask"].tolist() == [0, -torch.inf]


def test_copy_keeps_the_layout_when_its_statistics_are_not_finite() -> None:
    flat = FlatModule(_net())
    flat.values[51:53] = torch.nan
    assert FlatModule(copy.deepcopy(flat.module), like=flat.layout).layout == flat.layout

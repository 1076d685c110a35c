"""Operations per sample: published totals, layers counted by hand, and parameters that no mask makes cheaper."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.models.cost import ModelCost, measure_cost
from orchestrator.models.parameters import FlatModule, ParameterLayout
from orchestrator.models.registry import resolve_builder
from orchestrator.models.shapes import TextShape


def _measure(module: nn.Module, input_shape: tuple[int, ...]) -> ModelCost:
    return measure_cost(module, ParameterLayout.of(module), input_shape)


def _bias_additions(layout: ParameterLayout, cost: ModelCost) -> float:
    """Additions of all biases per sample: one per output of a layer with a bias. FedLPS counts these additions."""
    biases = [s for s in layout.segments if s.kind == "bias"]
    return sum(s.size * cost.positions[s.name.replace("bias", "weight")] for s in biases)


@pytest.mark.parametrize(
    ("name", "input_shape", "num_classes", "dense_macs", "active", "sparse_macs"),
    [
        ("lenet_mnist", (1, 28, 28), 10, 2_020_500, (65, 953, 51204, 143), 397_559),
        ("lenet_cifar", (3, 32, 32), 10, 2_293_320, (103, 492, 153438, 2126, 240), 474_684),
        ("lenet_cifar100", (3, 32, 32), 100, 2_294_400, (235, 1213, 383987, 6108), 1_161_427),
    ],
)
def test_cost_of_feddst_models(
    name: str,
    input_shape: tuple[int, int, int],
    num_classes: int,
    dense_macs: int,
    active: tuple[int, ...],
    sparse_macs: int,
) -> None:
    """FedDST's models (arXiv 2112.09824), dense and with their ERK counts at sparsity 0.8, 0.8 and 0.5."""
    model = resolve_builder(name)(input_shape, num_classes)
    cost = _measure(model, input_shape)
    counts = dict(zip(cost.positions, active, strict=True))
    assert cost.forward_flops() == 2 * dense_macs
    assert cost.forward_flops(counts) == 2 * sparse_macs
    assert cost.training_flops() == 6 * dense_macs
    assert cost.training_flops(counts) == 6 * sparse_macs
    assert cost.other_macs == 0


def test_feddst_positions_by_layer() -> None:
    cost = _measure(resolve_builder("lenet_mnist")((1, 28, 28), 10), (1, 28, 28))
    # 28 - 4 = 24; pool 3x3 of stride 1: 22; 22 - 4 = 18
    assert cost.positions == {"conv1.weight": 24**2, "conv2.weight": 18**2, "fc1.weight": 1, "fc2.weight": 1}
    assert cost.sizes == {"conv1.weight": 250, "conv2.weight": 5000, "fc1.weight": 256_000, "fc2.weight": 500}


def test_cost_of_ssfl_resnet18() -> None:
    """SSFL states 1.11085 GFLOP per sample with the linear layer's biases, and 8.33 TFLOP per client and round."""
    model = resolve_builder("resnet18")((3, 32, 32), 10)
    cost = _measure(model, (3, 32, 32))
    forward_flops = cost.forward_flops() + 10
    assert forward_flops == 1_110_845_450
    local_epochs, num_samples = 5, 500
    assert round(local_epochs * num_samples * 3 * forward_flops / 1e12, 2) == 8.33


def test_cost_of_a_fedlps_round_on_mnist() -> None:
    """FedLPS states 2,788.128 MFLOP: 5 epochs of 6 batches of 32, three forward passes each, with biases."""
    model = resolve_builder("cnn_mnist")((1, 28, 28), 10)
    layout = ParameterLayout.of(model)
    cost = measure_cost(model, layout, (1, 28, 28))
    forward_flops = cost.forward_flops() + _bias_additions(layout, cost)
    assert 5 * 6 * 32 * 3 * forward_flops == 2_788_128_000


def test_cost_of_a_fedlps_round_of_vgg11() -> None:
    """FedLPS states 825,365 MFLOP: 5 epochs of 9 batches of 20, three forward passes each, with biases."""
    model = resolve_builder("vgg11")((3, 32, 32), 10)
    layout = ParameterLayout.of(model)
    cost = measure_cost(model, layout, (3, 32, 32))
    forward_flops = cost.forward_flops() + _bias_additions(layout, cost)
    assert round(5 * 9 * 20 * 3 * forward_flops / 1e6) == 825_365


@pytest.mark.parametrize(
    ("name", "side"), [("mlp", 8), ("cnn_emnist", 28), ("cnn_cifar", 32), ("vgg11", 32), ("resnet18", 8)]
)
def test_total_equals_torchs_flop_counter(name: str, side: int) -> None:
    model = resolve_builder(name)((3, side, side), 10).eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, side, side))
    assert _measure(model, (3, side, side)).forward_flops() == counter.get_total_flops()


@pytest.mark.parametrize(
    ("layer", "input_shape", "positions"),
    [
        (nn.Conv2d(4, 6, 3), (4, 8, 8), 6 * 6),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False), (4, 8, 6), 4 * 3),
        (nn.Conv2d(4, 8, 3, groups=2, padding="same"), (4, 5, 5), 5 * 5),
        (nn.Conv2d(4, 4, 3, groups=4, dilation=2), (4, 8, 8), 4 * 4),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (4, 5, 5), 5 * 5),
        (nn.Linear(7, 3), (2, 5, 7), 2 * 5),
        (nn.Linear(7, 3, bias=False), (2, 5, 7), 2 * 5),
    ],
)
def test_positions_of_a_layer(layer: nn.Module, input_shape: tuple[int, int, int], positions: int) -> None:
    cost = _measure(layer, input_shape)
    assert cost.positions == {"weight": positions}
    assert cost.other_macs == 0


class Repeated(nn.Module):
    """Calls one layer three times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(self.layer(self.layer(images.flatten(1))))


class Functional(nn.Module):
    """Multiplies with parameters outside layers: one as a whole, and one in two slices."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = nn.Parameter(torch.ones(4, 6))
        self.sliced = nn.Parameter(torch.ones(6, 6))

    def forward(self, images: Tensor) -> Tensor:
        hidden = images.flatten(1) @ self.whole
        upper, lower = self.sliced.chunk(2)
        return F.linear(hidden, upper) + F.linear(hidden, lower)


class Words(nn.Module):
    """Looks up pixels in a table, and decodes with the same table when tied."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 5)
        self.decoder = nn.Linear(5, 9, bias=False)
        if tied:
            self.decoder.weight = self.table.weight

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(self.table(images.flatten(1).long()))


class Tokens(nn.Module):
    """A transformer layer over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, nhead=2, dim_feedforward=8, batch_first=True)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images[:, 0])


class LowRank(nn.Module):
    """Multiplies images with the product of two parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Parameter(torch.ones(4, 2)), nn.Parameter(torch.ones(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ (self.left @ self.right)


class TwoProducts(nn.Module):
    """Multiplies images with a parameter, and this parameter with another parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.square, self.other = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(4, 4))
        self.fc = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        hidden = images.flatten(1) @ self.square
        return self.fc(hidden @ (self.square @ self.other))


class UnusedLayer(nn.Module):
    """Has a layer that the forward pass does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(4, 3), nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.used(images.flatten(1))


class Scale(nn.Module):
    """Scales each pixel, and then classifies."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.fc = nn.Parameter(torch.ones(2, 2)), nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc((images * self.scale).flatten(1))


class Recurrent(nn.Module):
    """A recurrent layer over the rows of an image."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images[:, 0])[0][:, -1]


class Characters(nn.Module):
    """A recurrent layer over embedded tokens, and a dense head for the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 2)
        self.lstm = nn.LSTM(2, 3, batch_first=True)
        self.fc = nn.Linear(3, 9)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.lstm(self.embedding(tokens))[0][:, -1])


def test_layer_called_three_times_counts_three_times() -> None:
    assert _measure(Repeated(), (1, 2, 2)).positions == {"layer.weight": 3}


def test_parameters_outside_layers_are_counted() -> None:
    assert _measure(Functional(), (1, 2, 2)).positions == {"whole": 1, "sliced": 1}


@pytest.mark.parametrize(
    ("tied", "positions"), [(False, {"table.weight": 0, "decoder.weight": 4}), (True, {"table.weight": 4})]
)
def test_table_lookup_is_free_and_tied_decoder_is_not(tied: bool, positions: dict[str, float]) -> None:
    assert _measure(Words(tied), (1, 2, 2)).positions == positions


@pytest.mark.parametrize(
    ("layer", "num_weights"),
    [
        (nn.LSTM(2, 3, batch_first=True), 2),
        (nn.LSTM(2, 3, batch_first=True, bias=False), 2),
        (nn.LSTM(2, 3, num_layers=2, dropout=0.5, batch_first=True), 4),
        (nn.LSTM(2, 3, num_layers=2, bidirectional=True, batch_first=True), 8),
        (nn.GRU(2, 3, num_layers=2, batch_first=True), 4),
        (nn.RNN(2, 3, bidirectional=True, batch_first=True), 4),
    ],
)
def test_recurrent_layer_uses_each_weight_once_per_step(layer: nn.RNNBase, num_weights: int) -> None:
    cost = _measure(Recurrent(layer), (1, 7, 2))
    assert len(cost.positions) == num_weights
    assert set(cost.positions.values()) == {7}
    assert cost.other_macs == 0


@pytest.mark.parametrize("context", [nullcontext, torch.no_grad])
def test_cost_of_a_character_model_by_hand(context: type[nullcontext[None]] | type[torch.no_grad]) -> None:
    """5 steps of four gates of 3 units, from 2 features and 3 units; then 9 logits."""
    with context():
        cost = _measure(Characters(), TextShape((5,)))
    weights = {"embedding.weight": 0, "lstm.weight_ih_l0": 5, "lstm.weight_hh_l0": 5, "fc.weight": 1}
    assert cost.positions == weights
    assert cost.forward_flops() == 2 * (5 * (12 * 2 + 12 * 3) + 3 * 9)
    active = {"embedding.weight": 4, "lstm.weight_ih_l0": 10, "lstm.weight_hh_l0": 6, "fc.weight": 2}
    assert cost.training_flops(active) == 6 * (5 * 16 + 2)


def test_attention_between_tokens_counts_as_other_macs() -> None:
    cost = _measure(Tokens().eval(), (1, 5, 4))
    assert set(cost.positions.values()) == {5.0}
    # scores and weighted values: 2 products of 5x5 tokens, 2 heads of 2 entries each
    assert cost.other_macs == 2 * 5 * 5 * 2 * 2
    dense = 5 * (12 * 4 + 4 * 4 + 8 * 4 + 4 * 8)
    assert cost.forward_flops() == 2 * (dense + cost.other_macs)
    assert cost.forward_flops(dict.fromkeys(cost.positions, 0)) == 2 * cost.other_macs


@pytest.mark.parametrize(
    ("module", "input_shape", "positions", "other_macs"),
    [
        (Scale(), (1, 2, 2), {"fc.weight": 1}, 0),
        # 4 x 2 times 2 x 3, counted once for the batch of two, and 4 x 3 for each image
        (LowRank(), (1, 2, 2), {}, 4 * 2 * 3 / 2 + 4 * 3),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))), (1, 1, 4), {}, 4 * 3),
        (nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3))), (1, 1, 4), {}, 4 * 3),
        (TwoProducts(), (1, 2, 2), {"fc.weight": 1}, 4 * 4 + 4 * 4 * 4 / 2 + 4 * 4),
        (UnusedLayer(), (1, 2, 2), {"used.weight": 1}, 0),
    ],
)
def test_parameters_that_a_mask_makes_no_cheaper_have_no_positions(
    module: nn.Module,
    input_shape: tuple[int, int, int],
    positions: dict[str, float],
    other_macs: float,
) -> None:
    cost = _measure(module, input_shape)
    assert cost.positions == positions
    assert cost.other_macs == other_macs
    assert cost.sizes.keys() == positions.keys()


def test_batch_norm_over_single_pixels_can_be_measured() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False))
    assert _measure(model, (1, 3, 3)).positions == {"0.weight": 1}


def test_measuring_does_not_change_the_module() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(8, 3))
    model[1].eval()
    flat = FlatModule(model)
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    random_state = torch.random.get_rng_state()
    cost = measure_cost(model, flat.layout, (1, 4, 4))
    assert cost.positions == {"0.weight": 4, "4.weight": 1}
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert flat.grad.abs().sum() == 0
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert model[0].weight.data_ptr() == flat.values.data_ptr()


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_cost_does_not_depend_on_the_callers_grad_mode(context: type[torch.no_grad]) -> None:
    model = Tokens().eval()
    with context():
        cost = _measure(model, (1, 5, 4))
    assert cost == _measure(model, (1, 5, 4))

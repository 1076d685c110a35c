"""The Scaler: its layers, and their scaled outputs."""

import pytest
import torch
from torch import Tensor, nn

from orchestrator.models.parameters import ParameterLayout
from orchestrator.models.registry import resolve_builder
from orchestrator.models.units.scaler import divide_outputs, unit_producers
from orchestrator.models.units.tracing import trace_units


def producers(module: nn.Module, example: Tensor) -> tuple[str, ...]:
    return unit_producers(ParameterLayout.of(module), trace_units(module, example))


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("mlp", (1, 8, 8), ("fc1", "fc2")),
        ("cnn_cifar", (3, 32, 32), ("conv1", "conv2", "fc1", "fc2")),
    ],
)
def test_all_layers_except_the_classifier_produce_units(
    name: str, shape: tuple[int, int, int], expected: tuple[str, ...]
) -> None:
    assert producers(resolve_builder(name)(shape, 10), torch.zeros(2, *shape)) == expected


def test_all_convolutions_and_no_norms_of_resnet_produce_units() -> None:
    """17 convolutions on the main path and 3 in shortcuts; both operands of a sum are scaled."""
    module = resolve_builder("resnet18")((3, 8, 8), 10)
    convolutions = {n for n, m in module.named_modules() if isinstance(m, nn.Conv2d)}
    assert len(convolutions) == 20
    assert set(producers(module, torch.zeros(2, 3, 8, 8))) == convolutions


def test_outputs_of_embeddings_and_recurrent_layers_are_divided() -> None:
    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.lstm = nn.Embedding(5, 4), nn.LSTM(4, 3, batch_first=True)
            self.head = nn.Linear(3, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            out: Tensor = self.head(self.lstm(self.embed(tokens))[0][:, -1])
            return out

    module, tokens = Text(), torch.tensor([[0, 1, 2], [3, 4, 0]])
    layers = producers(module, tokens)
    assert layers == ("embed", "lstm")
    with torch.no_grad():
        out, (hidden, cell) = module.lstm(module.embed(tokens) / 0.5)
        expected = module.head(out[:, -1] / 0.5)
        divide_outputs(module, layers, 0.5)
        assert torch.equal(module(tokens), expected)
        found, (found_hidden, found_cell) = module.lstm(module.embed(tokens))
    assert torch.equal(found, out / 0.5)
    assert torch.equal(found_hidden, hidden / 0.5)
    assert torch.equal(found_cell, cell / 0.5)


def test_division_comes_before_the_norm() -> None:
    """In training mode the running mean becomes a tenth of the mean of the divided activations."""
    norm = nn.BatchNorm1d(4)
    module = nn.Sequential(nn.Linear(3, 4), norm, nn.ReLU(), nn.Linear(4, 2))
    inputs = torch.arange(18.0).view(6, 3)
    mean = module[0](inputs).detach().mean(dim=0) / 0.25
    divide_outputs(module, ("0",), 0.25)
    module(inputs)
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, 0.1 * mean, rtol=1e-5)

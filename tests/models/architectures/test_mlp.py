"""The perceptron and the dense head: names, widths and the place of ReLU."""

import torch
from torch import nn

from orchestrator.models.architectures.mlp import dense_layers, mlp


def test_dense_layers_have_relu_between_them_and_none_after_the_logits() -> None:
    layers = dense_layers((6, 5, 4, 3))
    assert list(layers) == ["flatten", "fc1", "fc1_relu", "fc2", "fc2_relu", "fc3"]
    shapes = [tuple(layer.weight.shape) for layer in layers.values() if isinstance(layer, nn.Linear)]
    assert shapes == [(5, 6), (4, 5), (3, 4)]


def test_perceptron_equals_its_equation() -> None:
    net = mlp((1, 2, 3), 4)
    parameters = dict(net.named_parameters())
    assert [tuple(p.shape) for p in parameters.values()] == [
        (200, 6),
        (200,),
        (100, 200),
        (100,),
        (4, 100),
        (4,),
    ]
    images = torch.linspace(-1.0, 1.0, 12).reshape(2, 1, 2, 3)
    hidden = images.reshape(2, 6)
    for layer in ("fc1", "fc2"):
        hidden = (hidden @ parameters[f"{layer}.weight"].T + parameters[f"{layer}.bias"]).clamp_min(0.0)
    logits = hidden @ parameters["fc3.weight"].T + parameters["fc3.bias"]
    assert torch.allclose(net(images), logits, atol=1e-6)

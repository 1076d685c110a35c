"""Small torchvision, normalised and compiled models for grey images of 32x32 pixels.

Tests name them as `tests.support.library_models:function`.
"""

from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from torchvision.models import GoogLeNet
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from orchestrator.models.shapes import InputShape


def _coloured(model: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 1), model)


def vit(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A vision transformer: its class token and position embedding are parameters outside a layer."""
    return _coloured(
        VisionTransformer(
            image_size=32,
            patch_size=8,
            num_layers=1,
            num_heads=2,
            hidden_dim=16,
            mlp_dim=32,
            num_classes=num_classes,
        )
    )


def swin(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A Swin transformer: it looks up values in a table of relative positions."""
    return _coloured(
        SwinTransformer(
            patch_size=[4, 4],
            embed_dim=8,
            depths=[1, 1],
            num_heads=[2, 2],
            window_size=[2, 2],
            num_classes=num_classes,
        )
    )


def convnext(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A ConvNeXt: it scales channels by parameters of three dimensions."""
    return _coloured(ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=num_classes))


def googlenet(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A GoogLeNet without its auxiliary heads."""
    return _coloured(GoogLeNet(num_classes=num_classes, aux_logits=False, init_weights=False))


def googlenet_with_heads(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A GoogLeNet with auxiliary heads: it returns a tuple in training mode."""
    return _coloured(GoogLeNet(num_classes=num_classes, init_weights=False))


class _TwoHeads(nn.Module):
    """Returns a tuple in training mode only."""

    def __init__(self, hidden: nn.Linear, num_classes: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.out, self.extra = nn.Linear(16, num_classes), nn.Linear(16, num_classes)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        h = relu(self.hidden(x.flatten(1)))
        return (self.out(h), self.extra(h)) if self.training else self.out(h)


def two_heads(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A user's model with a second head for training."""
    return _TwoHeads(_hidden(input_shape), num_classes)


def _hidden(input_shape: InputShape) -> nn.Linear:
    return nn.Linear(prod(input_shape), 16)


def weight_normed(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model whose hidden weight is computed from two parameters."""
    hidden = nn.utils.parametrizations.weight_norm(_hidden(input_shape))
    return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Linear(16, num_classes))


def spectral_normed(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model whose hidden weight is computed from a parameter and two buffers, which training changes."""
    hidden = nn.utils.spectral_norm(_hidden(input_shape))
    return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Linear(16, num_classes))


def all_normed(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model in which no weight can be masked."""
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(prod(input_shape), num_classes))
    return nn.Sequential(nn.Flatten(), layer)


def spare_layer(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model with a layer that no forward pass uses."""
    net = nn.Sequential(nn.Flatten(), _hidden(input_shape), nn.ReLU(), nn.Linear(16, num_classes))
    net[1].register_module("spare", nn.Linear(3, 3))
    return net


def plain(input_shape: InputShape, num_classes: int) -> nn.Module:
    """The uncompiled form of the compiled models."""
    return nn.Sequential(
        nn.Flatten(), nn.Sequential(_hidden(input_shape), nn.ReLU()), nn.Linear(16, num_classes)
    )


def compiled(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model that is compiled as a whole."""
    return torch.compile(plain(input_shape, num_classes))  # type: ignore[return-value]


def compiled_inside(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model with a compiled part."""
    net = plain(input_shape, num_classes)
    assert isinstance(net, nn.Sequential)
    net[1] = torch.compile(net[1])  # type: ignore[assignment]
    return net


def compiled_in_place(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model that is compiled in place, without a wrapper module."""
    net = plain(input_shape, num_classes)
    net.compile()  # type: ignore[no-untyped-call]
    return net


def traced(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model as TorchScript."""
    net: nn.Module = torch.jit.trace(plain(input_shape, num_classes), torch.zeros(2, *input_shape))  # type: ignore[no-untyped-call]
    return net

"""Layers that use other weights forward, and sparse inputs for the gradient of their weights (SWAT, arXiv 2001.01969).

For y = W' x, the gradient by x is exact. The gradient by the weights uses only the entries of x with the largest
absolute values. This is what a layer computes that stores sparse activations for the backward pass.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import linear

#: a layer of the model and its weight -> the weight that the layer uses
Weights = Callable[[str, Tensor], Tensor]
#: a layer of the model and the weight that the layer uses -> the share of its inputs kept for the backward pass
Share = Callable[[str, Tensor], float]


def add_sparse_backward(module: nn.Module, weights: Weights, share: Share) -> None:
    """Let all linear and convolutional layers train like this; in evaluation mode the layers do not change."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.register_forward_hook(_hook(name, weights, share))


def largest_entries(values: Tensor, share: float) -> Tensor:
    """The ceil(share n) entries of largest size of a tensor with n entries; all others are 0."""
    count = min(values.numel(), max(1, -int(-share * values.numel() // 1)))
    if count == values.numel():
        return values
    sizes = values.abs()
    limit = sizes.flatten().kthvalue(values.numel() - count + 1).values
    return values * (sizes >= limit)


def _hook(
    name: str, weights: Weights, share: Share
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not layer.training:
            return None
        assert isinstance(layer, nn.Linear | nn.Conv2d)
        weight, bias = weights(name, layer.weight), layer.bias
        apply = linear if isinstance(layer, nn.Linear) else layer._conv_forward
        exact: Tensor = apply(inputs[0], weight.detach(), None if bias is None else bias.detach())
        kept = largest_entries(inputs[0].detach(), share(name, weight.detach()))
        slope: Tensor = apply(kept, weight, bias)
        return exact + (
            slope - slope.detach()
        )  # the difference is 0, and carries the gradients of the parameters

    return hook

"""Several models of one architecture in one matrix, whose forward and backward passes are computed together.

Legend: K = models, D = entries of a flat vector, T = trainable entries, B = samples of a mini-batch.

`torch.func.vmap` maps the module's forward pass over the models' parameters and inputs. The backward pass is autograd's
own. The sums of a batched kernel have another order than those of a single model, so that gradients differ by rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy

from orchestrator.models.parameters import ParameterLayout


@final
class StackedModule:
    """K models without statistics, so that D = T: the rows of `values` float32[K, D].

    A model's other state is that of `module`, which all models share.
    """

    def __init__(self, module: nn.Module, layout: ParameterLayout, rows: Sequence[Tensor]) -> None:
        """`rows` are the models' float32[D] vectors, which are copied.

        Raises ValueError for a layout with statistics.
        """
        if layout.num_trainable != layout.size:
            raise ValueError("models with statistics cannot be stacked")
        self._module = module
        self.values = torch.stack(tuple(rows))
        self._parameters: dict[str, Tensor] = {}
        for segment in layout.segments:
            view = self.values[:, segment.slice].view(len(rows), *segment.shape)
            self._parameters[segment.name] = view.detach().requires_grad_()

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits float32[K, B, classes] of each model for its own inputs [K, B, ...]."""

        def forward(parameters: dict[str, Tensor], batch: Tensor) -> Tensor:
            output: Tensor = functional_call(self._module, parameters, (batch,))
            return output

        logits: Tensor = vmap(forward)(self._parameters, inputs)
        return logits

    def backward(self, inputs: Tensor, labels: Tensor) -> "StackedGradient":
        """The gradient of each model's mean cross-entropy, for inputs [K, B, ...] and labels int64[K, B]."""
        logits = self.logits(inputs)
        each = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        losses = each.view(labels.shape).mean(dim=1)
        # a loss depends on its own model only, so that the sum's gradient has the gradients of all losses
        gradients = torch.autograd.grad(
            losses.sum(), tuple(self._parameters.values()), materialize_grads=True
        )
        values = torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)
        return StackedGradient(values, losses.detach(), logits.detach().argmax(dim=2) == labels)


@dataclass(frozen=True, slots=True, eq=False)
class StackedGradient:
    """Gradients float32[K, T] of K mean losses float32[K]; `correct` bool[K, B]: the model predicted the label."""

    values: Tensor
    losses: Tensor
    correct: Tensor

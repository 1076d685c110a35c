"""Says why tasks cannot be trained together: hooks inside the local epochs, or a model that cannot be stacked."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from orchestrator.federation.algorithm import Algorithm, AnyAlgorithm
from orchestrator.federation.local.stacked.module import StackedModule
from orchestrator.models.parameters import FlatModule
from orchestrator.models.seeding import GeneratorStates, forked_generators

#: hooks that read or change one task inside its epochs
_EPOCH_HOOKS = ("step", "loss", "grad_hook", "on_batch", "on_epoch")
#: largest difference between a stacked and a single gradient, as a share of the largest entry
_TOLERANCE = 1e-3


def method_obstacle(algorithm: AnyAlgorithm) -> str | None:
    """Why the method's tasks must train one by one; None if its local epochs consist of plain steps."""
    own = [name for name in _EPOCH_HOOKS if getattr(type(algorithm), name) is not getattr(Algorithm, name)]
    return f"{algorithm.config.name} has its own hook {own[0]}" if own else None


@torch.inference_mode(False)
def model_obstacle(flat: FlatModule, inputs: Tensor) -> str | None:
    """Why models like `flat` must train one by one; None if they can be stacked. `flat` may be changed.

    `inputs` are two samples on the CPU, as is `flat`. The check trains two models with other values, together and
    alone, and compares their gradients.
    """
    if statistics := [s.name for s in flat.layout.segments if s.kind == "buffer"]:
        return f"the model has statistics ({statistics[0]})"
    flat.module.train()
    rows = (flat.values.clone(), 1.01 * flat.values)
    labels = torch.tensor([0, 1])
    with forked_generators(0), torch.enable_grad():
        buffers = {name: buffer.clone() for name, buffer in flat.module.named_buffers()}
        states = GeneratorStates()
        single = torch.stack([_single_gradient(flat, row, inputs, labels) for row in rows])
        if not states.equal_now():
            return "the model uses random numbers in training"
        for name, buffer in flat.module.named_buffers():
            if not torch.equal(buffer, buffers[name]):
                return f"training changes the model's buffer {name}"
        stack = StackedModule(flat.module, flat.layout, rows)
        try:
            with _no_loops():
                gradient = stack.backward(torch.stack([inputs, inputs]), torch.stack([labels, labels]))
        except Exception as error:
            lines = str(error).splitlines() or [""]
            return f"torch.func.vmap cannot map the model: {type(error).__name__}: {lines[0]}"
    if not torch.allclose(gradient.values, single, rtol=0.0, atol=_TOLERANCE * float(single.abs().max())):
        return "stacked and single gradients of the model differ"
    return None


def _single_gradient(flat: FlatModule, values: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """The gradient float32[T] of the mean cross-entropy at these values. Does not reset buffers."""
    flat.values.copy_(values)
    flat.grad.zero_()
    cross_entropy(flat(inputs), labels).backward()  # type: ignore[no-untyped-call]
    return flat.grad.clone()


@contextmanager
def _no_loops() -> Iterator[None]:
    """Raise for an operator that vmap can only compute for one model after another, of which torch warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="There is a performance drop")
        yield

"""Whether a model can be trained, tried out on a copy before a run starts."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from orchestrator.errors import ModelError
from orchestrator.models.replica import replica
from orchestrator.models.seeding import forked_generators


def smallest_batch(name: str, module: nn.Module, inputs: Tensor, num_classes: int) -> int:
    """Fewest samples on which the model can be trained: 1, or 2 where it normalises each feature over the batch.

    `inputs` are two samples. Raises ModelError, in the name of the model `name`, where a step on both fails.
    """
    with forked_generators(0), torch.enable_grad():
        try:
            output = replica(module).train()(inputs)
        except Exception as error:
            raise _failure(name, f"a forward pass raised {type(error).__name__}: {error}") from error
        shape = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        if shape != (len(inputs), num_classes):
            raise _failure(name, f"it returns {shape}, not logits of shape {(len(inputs), num_classes)}")
        try:
            cross_entropy(output, torch.zeros(len(inputs), dtype=torch.int64)).backward()  # type: ignore[no-untyped-call]
        except Exception as error:
            raise _failure(name, f"a backward pass raised {type(error).__name__}: {error}") from error
        return 1 if _takes_one(module, inputs[:1], finite=bool(output.isfinite().all())) else 2


def _takes_one(module: nn.Module, sample: Tensor, *, finite: bool) -> bool:
    """Whether a training forward pass of one sample works, and gives numbers if one of two does."""
    try:
        output: Tensor = replica(module).train()(sample)
    except Exception:
        return False
    return bool(output.isfinite().all()) or not finite


def _failure(name: str, problem: str) -> ModelError:
    remedy = "return one tensor of logits in both modes, of a torchvision model with aux_logits=False"
    return ModelError("model.name", name, f"in training mode {problem}", remedy)

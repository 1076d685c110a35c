"""Checks before a run starts that a model can be trained, with one training step on a copy."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from orchestrator.errors import ModelError, RequestError
from orchestrator.models.replica import replica
from orchestrator.models.seeding import forked_generators


def smallest_batch(name: str, module: nn.Module, inputs: Tensor, num_classes: int) -> int:
    """Return the smallest batch on which the model can be trained.

    The result is 1, or 2 when the model normalises each feature over the batch. `inputs` are two samples.

    Raises ModelError for the model `name` when a training step on both samples fails.
    """
    with forked_generators(0), torch.enable_grad():
        try:
            output = replica(module).train()(inputs)
        except RequestError:
            raise
        except Exception as error:
            raise _failure(name, f"a forward pass raised {type(error).__name__}: {error}") from error
        shape = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        if shape != (len(inputs), num_classes):
            expected = (len(inputs), num_classes)
            raise _failure(name, f"the model returns {shape}, not logits of shape {expected}")
        try:
            cross_entropy(output, torch.zeros(len(inputs), dtype=torch.int64)).backward()  # type: ignore[no-untyped-call]
        except Exception as error:
            raise _failure(name, f"a backward pass raised {type(error).__name__}: {error}") from error
        return 1 if _accepts_one_sample(module, inputs[:1], finite=bool(output.isfinite().all())) else 2


def _accepts_one_sample(module: nn.Module, sample: Tensor, *, finite: bool) -> bool:
    """Return whether a training forward pass of one sample works.

    Its output must be finite if the output for two samples was `finite`.
    """
    try:
        output: Tensor = replica(module).train()(sample)
    except Exception:
        return False
    return bool(output.isfinite().all()) or not finite


def _failure(name: str, problem: str) -> ModelError:
    remedy = (
        "return one tensor of logits in both modes, or set model.output to the position or name of the logits; set "
        "aux_logits=False for a torchvision model"
    )
    return ModelError("model.name", name, f"in training mode {problem}", remedy)

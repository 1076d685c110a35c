"""GraSP: a mask that preserves the gradient flow, chosen before training.

Before training, the method ranks the weights of all layers together by how much their removal would reduce the norm of
the gradient. It keeps the weights whose removal would reduce the norm most, and FedAvg runs inside this mask.

Symbols: g = the gradient at theta = setting.initial, H = the Hessian there, score = theta * (H g), of which the largest
are kept, T = algorithm.temperature, m = state.mask, density = 1 - sparsity.level. The paper's S(-theta) is minus this
score.

Seen: the abstract, public copies of the pruning code, and its use in the public code of FedDST. Not seen: the paper's
text.

Deviations:

- The paper has no federation. `score_from` selects one client's data in place of data at the server, as in the code of
  FedDST, or the mean of all clients' scores by samples.
- g and H g are means over `batches` mini-batches, not over a balanced sample of the classes.
- `least_per_layer` = 1 keeps every layer connected. The paper does not ensure this.
- A probe counts two gradients for each sample. A double backward pass costs slightly more.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from algorithms import references
from orchestrator.method import (
    AlgorithmConfig,
    Batch,
    LocalRun,
    MaskAtStartAlgorithm,
    MaskAtStartConfig,
    Traits,
)


class GraSPConfig(MaskAtStartConfig):
    """Options of GraSP."""

    score_from: Literal["one_client", "all_clients"] = Field(
        "one_client", description="whose samples: one client's, or those of all clients"
    )
    temperature: float = Field(200.0, gt=0.0, description="T, by which the logits are divided")


@final
class GraSP(MaskAtStartAlgorithm):
    """FedAvg inside a mask that preserves gradient flow."""

    Config: ClassVar[type[AlgorithmConfig]] = GraSPConfig
    config: GraSPConfig
    traits: ClassVar[Traits] = Traits(
        scope="global",
        structure="unstructured",
        when="at start",
        density="fixed",
        payload="scores up once, the mask once, down",
        citations=(references.GRASP,),
    )

    @property
    def score_clients(self) -> tuple[int, ...]:
        """One client or all clients."""
        all_clients = range(self.setting.num_clients)
        return tuple(all_clients) if self.config.score_from == "all_clients" else (self.config.probe_client,)

    def scores(self, run: LocalRun[None]) -> Tensor:
        """theta * (H g)."""
        run.flat.module.train()
        batches = [next(epoch) for epoch in run.batches("grasp", self.config.batches, repeats=False)]
        slope, curvature = torch.zeros_like(run.grad), torch.zeros_like(run.grad)
        with run.flat.preserved_buffers():
            for batch in batches:
                slope += self.gradient(run, batch).detach()
            for batch in batches:
                alignment = self.gradient(run, batch) @ slope
                curvature += _flat(torch.autograd.grad(alignment, _parameters(run), materialize_grads=True))
        return run.values[: slope.numel()] * curvature / len(batches) ** 2

    def gradient(self, run: LocalRun[None], batch: Batch) -> Tensor:
        """float32[T]: the gradient of the loss at temperature T, which can be differentiated again."""
        inputs, labels = batch
        run.flops.add_dense_gradient(len(labels))
        with _twice_differentiable():
            logits = run.flat(inputs)
        loss = cross_entropy(logits / self.config.temperature, labels)
        return _flat(torch.autograd.grad(loss, _parameters(run), create_graph=True, materialize_grads=True))


@contextmanager
def _twice_differentiable() -> Iterator[None]:
    """Compute attention and recurrent layers by steps that have second derivatives; the fused kernels have none."""
    with sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False):
        yield


def _parameters(run: LocalRun[None]) -> list[Tensor]:
    """The trained parameters, in the order of the flat vector."""
    return [p for p in run.flat.module.parameters() if p.requires_grad]


def _flat(gradients: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([gradient.reshape(-1) for gradient in gradients])

"""Counts the floating-point operations of one client's task.

A multiply-accumulate is 2 operations, and a training step costs three forward passes. Masked weights cost nothing.
"""

from collections.abc import Mapping

from torch import Tensor

from orchestrator.models.cost import ModelCost
from orchestrator.models.parameters import ParameterLayout


class FlopCounter:
    """Running totals of one task.

    `total` counts the model as the task trains it, masked or cut. `total_unmasked` counts the same steps without masks,
    which is what dense kernels compute. `total_dense` counts the same samples through the full dense model. `step` is
    the cost of one sample's training step in the loaded model under its mask, `unmasked` without the mask, and `dense`
    in the full model.
    """

    def __init__(self, cost: ModelCost) -> None:
        self._cost = cost
        self._removed: Mapping[str, int] = {}
        self.total = 0.0
        self.total_unmasked = 0.0
        self.total_dense = 0.0
        self.dense = self.unmasked = self.step = self._computed = cost.training_flops(None)

    @property
    def forward(self) -> float:
        """Operations of one sample's forward pass through the loaded model under its mask."""
        return self.step / 3.0

    def load_model(self, layout: ParameterLayout | None, removed: Mapping[str, int] | None = None) -> None:
        """Count the submodel with this layout from here on; None: the full model.

        `removed` is the number of units that the submodel does not have, by group (None: no unit is missing).
        """
        self._removed = removed or {}
        self.unmasked = self.dense if layout is None else self.of_submodel(layout, self._removed)
        self.step = self._computed = self.unmasked

    def set_mask(self, layout: ParameterLayout, mask: Tensor | None, *, cuts_units: bool = False) -> None:
        """Count steps under this bool mask from here on; None: the unmasked model.

        `cuts_units`: the mask stands for a smaller dense model, so that `total_unmasked` counts it like `total`.
        """
        active = None if mask is None else layout.active(mask)
        self.step = self.unmasked if active is None else self._cost.training_flops(active, self._removed)
        self._computed = self.step if cuts_units else self.unmasked

    def of_submodel(self, layout: ParameterLayout, removed: Mapping[str, int]) -> float:
        """Operations of one sample's training step in a submodel with this layout, without the `removed` units."""
        return self._cost.training_flops({s.name: s.size for s in layout.maskable}, removed)

    def add_steps(self, num_samples: int, step: float | None = None) -> None:
        """Add a training step of these samples, in the loaded model or in an unmasked model that costs `step`."""
        self.total += (self.step if step is None else step) * num_samples
        self.total_unmasked += (self._computed if step is None else step) * num_samples
        self.total_dense += self.dense * num_samples

    def add_dense_gradient(self, num_samples: int) -> None:
        """Add a forward pass under the mask and a backward pass to all weights (FedRTS's accounting of FedDST)."""
        self.total += num_samples * (self.step + 2 * self.unmasked) / 3
        self.total_unmasked += num_samples * (self._computed + 2 * self.unmasked) / 3
        self.total_dense += num_samples * self.dense

    def add_forward(self, num_samples: int) -> None:
        """Add a forward pass of these samples."""
        self.total += num_samples * self.step / 3
        self.total_unmasked += num_samples * self._computed / 3
        self.total_dense += num_samples * self.dense / 3

    def make_weight_gradients_dense(self) -> None:
        """Count the weight gradients of all steps so far as dense: a third of each step."""
        self.total += (self.total_dense - self.total) / 3.0

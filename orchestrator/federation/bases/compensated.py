"""The base of submodel methods that compensate for missing units and missing classes, as in HeteroFL (2010.01264).

The Scaler divides a submodel's hidden activations by its keep ratio. The activations are then as large as in the full
model. The masked loss sets the logits of classes without samples at the client to 0, so that their classifier rows get
no gradient. Each client sends one bit for every class, which says whether it has samples of the class. The server
averages a classifier row only over the clients that have samples of its class.

The public code of HeteroFL tests the global model for each client, with the same logits set to 0. A client that has the
classes 3 and 7 thus hardly ever predicts another class. Compare such scores with personal models only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from orchestrator.config.sections import AlgorithmConfig
from orchestrator.errors import ConfigError, WireError
from orchestrator.federation.bases.structured import (
    TRAIN_ACCURACY,
    ClientRatio,
    StructuredAlgorithm,
    StructuredConfig,
)
from orchestrator.federation.exchange import ModelValues, find_bits
from orchestrator.federation.item_form import ItemForm
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.plan import ClientTask
from orchestrator.formatting import counted
from orchestrator.models.parameters import Segment
from orchestrator.models.units.scaler import divide_outputs, unit_producers
from orchestrator.sparsity.payload import Bits, Payload, Scalar

_CLASSES = "classes"


class CompensatedConfig(StructuredConfig):
    """Options of HeteroFL's public code for training a submodel."""

    scaler: bool = Field(True, description="divide hidden activations by the keep ratio")
    masked_loss: bool = Field(
        True,
        description="set logits of classes without samples at the client to 0; do not average their classifier rows",
    )
    agg_weight: Literal["uniform", "samples"] = Field(
        "uniform", description="weight the clients with a coordinate equally, or by their samples"
    )
    scored_model: Literal["global", "submodel"] = Field(
        "global",
        description="a client's personal score: of the global model, as in the public code, or of its submodel",
    )
    masked_scores: bool = Field(
        True, description="set logits of classes without samples at the client to 0 in the client's scores"
    )


@dataclass(frozen=True, eq=False)
class OwnedClasses:
    """Scratch value of a task: bool[classes], True for classes of which the client has samples."""

    owned: Tensor


class CompensatedAlgorithm(StructuredAlgorithm[ClientRatio]):
    """A submodel method with the Scaler and the masked loss. A subclass implements `kept`, the units of a client."""

    Config: ClassVar[type[AlgorithmConfig]] = CompensatedConfig
    config: CompensatedConfig

    @property
    def uses_last_layer(self) -> bool:
        """True if the logits of other classes are masked."""
        return self.config.masked_loss or self.config.masked_scores

    def check(self) -> None:
        """Reject a masked loss and masked scores if the last layer does not have one row for each class."""
        super().check()
        last = self.setting.layout.maskable[-1].name
        parts = [part for group in self.setting.units for part in group.slices]
        if any(p.segment == last and p.dim == 0 for p in parts):
            for field in ("masked_loss", "masked_scores"):
                if getattr(self.config, field):
                    problem = f"the model's last weight, {last}, is no classifier"
                    raise ConfigError(f"algorithm.{field}", True, problem, "set it to false")

    def weight(self, num_examples: int) -> float:
        """Return the client's weight in the average: 1 or its number of samples, as `agg_weight` says."""
        return 1.0 if self.config.agg_weight == "uniform" else float(num_examples)

    def load(self, run: LocalRun[ClientRatio]) -> None:
        """Load the client's units into a smaller model and add the Scaler."""
        self._load_units(run, run.task)

    def load_for_fine_tuning(self, run: LocalRun[ClientRatio]) -> None:
        """Load the device's submodel, also if the global model is scored: the device cannot train more."""
        # a kind that neither scores the global model nor lets a bandit choose
        self._load_units(run, replace(run.task, kind="loss"))

    def _load_units(self, run: LocalRun[ClientRatio], task: ClientTask) -> None:
        run.load_submodel(run.start, self.kept(task, run.state))
        ratio = self.ratio(task, run.state)
        if self.config.scaler and ratio < 1.0:
            layers = unit_producers(self.setting.layout, self.setting.units)
            divide_outputs(run.own_module(), layers, ratio)

    def ratio(self, task: ClientTask, client_state: ClientRatio) -> float:
        """Keep ratio of the client in this task; 1 for a task that scores the global model."""
        if task.kind in ("evaluate", "finetune") and self.config.scored_model == "global":
            return 1.0
        return super().ratio(task, client_state)

    def on_train_start(self, run: LocalRun[ClientRatio]) -> None:
        """Store which classes the client has, if the loss is masked."""
        if self.config.masked_loss:
            run.put_scratch(OwnedClasses(self._owned_classes(run)))

    def loss(self, run: LocalRun[ClientRatio], logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy, with 0 for the logits of classes without samples at the client."""
        if self.config.masked_loss:
            logits = logits.masked_fill(~run.scratch(OwnedClasses).owned, 0.0)
        return cross_entropy(logits, labels)

    def client_logits(self, run: LocalRun[ClientRatio], logits: Tensor) -> Tensor:
        """With `masked_scores`, 0 for the logits of classes without samples at the client."""
        return logits.masked_fill(~self._owned_classes(run), 0.0) if self.config.masked_scores else logits

    def pack(self, run: LocalRun[ClientRatio]) -> Payload:
        """The trained submodel, and the bits of the client's classes."""
        payload = (*super().pack(run), *self.report(run))
        if not self.config.masked_loss:
            return payload
        return (*payload, Bits(_CLASSES, run.scratch(OwnedClasses).owned.cpu().numpy()))

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """The submodel, the training accuracy of a client with a bandit, and the classes if the loss is masked."""
        forms = dict(super().upload_items(task))
        if self.config.ratio_policy == "p_ucbv":
            forms[TRAIN_ACCURACY] = ItemForm(kinds=(Scalar,))
        if self.config.masked_loss:
            forms[_CLASSES] = ItemForm(kinds=(Bits,), size=self.classifier[0].shape[0])
        return forms

    def unpack(self, payload: Payload, task: ClientTask, client_state: ClientRatio) -> ModelValues | None:
        """The submodel in full coordinates. An upload leaves out the rows of classes without samples at the client."""
        model = super().unpack(payload, task, client_state)
        if model is None or all(item.name != _CLASSES for item in payload):
            return model
        assert model.mask is not None
        owned, num_classes = find_bits(payload, _CLASSES), self.classifier[0].shape[0]
        if owned.size != num_classes:
            raise WireError(
                f"expected a bit for each of {counted(num_classes, 'class', 'classes')}, got {owned.size}"
            )
        missing = torch.from_numpy(~np.asarray(owned))
        for segment in self.classifier:
            for vector in (model.values, model.mask):
                vector[segment.slice].view(segment.shape)[missing] = 0
        return model

    def _owned_classes(self, run: LocalRun[ClientRatio]) -> Tensor:
        owned = torch.zeros(self.classifier[0].shape[0], dtype=torch.bool, device=run.values.device)
        owned[run.data.labels] = True
        return owned

    @property
    def classifier(self) -> tuple[Segment, ...]:
        """The weight and bias of the last layer: tensors with a row for each class."""
        layout = self.setting.layout
        layer = layout.maskable[-1].name.rpartition(".")[0]
        return tuple(s for s in layout.segments if s.name in (f"{layer}.weight", f"{layer}.bias"))

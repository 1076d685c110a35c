"""FedLPS: each client learns which units it trains, and a bandit chooses how many.

Every client learns the importance of the units on its own data and trains the submodel of its most important units. A
bandit (P-UCBV) chooses the keep ratio from training accuracy and emulated cost.

Symbols: q = state.importance, sg = sigmoid, s = ratio, z = the device's capability, lambda = algorithm.penalty,
W_j = the entries that produce unit j, n_j = their L1 norm standardised within the layer, pi = algorithm.prior,
u_j = q_j + pi n_j.

Deviations:

- The paper's body was not available, and its public code learns no importance. `fedlps_as_coded` does what the code
  does.
- q is private: it is part of the client's state.
- Units are ranked by u. Clients therefore start with common units, the strong units of the received model. Norms are
  standardised, because sg is flat at raw norms.
- q changes at the start of a participation, and of its epochs before `importance_epochs`. It follows the gradient of
  the loss at gates that scale the outputs of units, with the straight-through estimator of the hard choice: dL/dq_j =
  sg'(u_j) (dL/dg_j + lambda d/dsg(u_j) mean_j (sg(u_j) - sg(pi n_j))^2).
- This gradient uses `importance_batches` mini-batches of the dense model, so that dropped units can return. Its FLOPs
  are counted. As in the public code, every client has the dense model for this gradient, whatever its capability. A
  device with too little memory for the dense model fails.
- Between two choices the client trains a smaller dense model, residual couplings included.
- Units are parts that can be cut exactly: hidden units of an LSTM, not gate rows.
- The personal model is the client's latest model of the best validation accuracy over all its epochs, because a
  submodel of few units can fail in a round. `keep=last` takes the last model. Before its first participation a client
  uses the global model.
- The bandit is that of orchestrator/federation/bases/keep_ratio.py. Its cost is the task's emulated time over the dense
  model's.
- `average=mean_delta` averages changes over all clients, as the code does. `per_unit` averages each coordinate over
  the clients that have it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from math import floor
from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from algorithms._fedlps_unit_gates import close_units, gate_gradient
from orchestrator.method import (
    AGGREGATORS,
    Aggregator,
    Bits,
    Capabilities,
    ClientRatio,
    ClientTask,
    ItemForm,
    KeptUnits,
    LocalRun,
    ModelValues,
    Payload,
    RatioPolicy,
    ServerState,
    StructuredAlgorithm,
    StructuredConfig,
    Traits,
    bits_to_units,
    find_bits,
    find_model,
    pack_model,
    stream,
    unit_sums,
    units_to_bits,
    unpack_model,
)

_UNITS = "units"


class FedLPSConfig(StructuredConfig):
    """Options of FedLPS."""

    ratio_policy: RatioPolicy = Field(
        "p_ucbv", description="keep ratio: a bandit's choice, the device's capability, or `ratio`"
    )
    pattern: Literal["learned", "magnitude", "ordered", "random"] = Field(
        "learned",
        description="units kept: of largest learned importance, of largest L1 norm, the first, random",
    )
    average: Literal["mean_delta", "per_unit"] = Field(
        "mean_delta",
        description="changes averaged over all clients, or each coordinate over the clients that have it",
    )
    agg_weight: Literal["uniform", "samples"] = Field("uniform", description="a client's weight in the mean")
    importance_lr: float = Field(5.0, ge=0.0, description="learning rate of the importance")
    importance_std: float = Field(0.01, ge=0.0, description="standard deviation of its initial values")
    prior: float = Field(1.0, ge=0.0, description="pi, weight of a unit's norm in its score")
    importance_epochs: int = Field(
        1, ge=1, description="number of first epochs in a task that start with an importance update"
    )
    importance_batches: int = Field(1, ge=1, description="mini-batches of each importance update")
    penalty: float = Field(1.0, ge=0.0, description="lambda, pull of the importance to the weights' norm")
    keep: Literal["best", "last"] = Field(
        "best", description="personal model: of the best epoch by validation accuracy, or of the last epoch"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class FedLPSClient(ClientRatio):
    """Adds q by group (float32[J]); the personal model (float32[D]), its units (bool[sum J]) and its score."""

    importance: Mapping[str, Tensor]
    personal: Tensor
    units: Tensor
    best: float = -1.0
    num_trained: int = 0


@dataclass(eq=False)
class FedLPSTask:
    """Scratch values of a task: the full model float32[D], and the client's state so far (see FedLPSClient)."""

    full: Tensor
    importance: dict[str, Tensor]
    personal: Tensor
    units: Tensor
    best: float


@final
class FedLPS(StructuredAlgorithm[FedLPSClient]):
    """Personal submodels of learned units, whose size a bandit chooses."""

    Config = FedLPSConfig
    config: FedLPSConfig
    capabilities: ClassVar[Capabilities] = replace(
        StructuredAlgorithm.capabilities, upload_mask="within", aggregation="dmean"
    )
    traits: ClassVar[Traits] = Traits(
        scope="personal",
        structure="structured",
        when="learned",
        density="per device",
        personal=True,
        payload="unit bits up",
        citations=(references.FEDLPS,),
    )

    @property
    def needs_validation(self) -> bool:
        """True if clients keep their best epoch."""
        return self.config.keep == "best"

    def init_client(self, client_id: int) -> FedLPSClient:
        """q starts near 0."""
        rng, layout = stream(self.setting.seed, "client", client_id, "importance"), self.setting.layout
        std = self.config.importance_std
        importance = {
            g.name: torch.from_numpy(rng.normal(0.0, std, g.num_units)).to(torch.float32)
            for g in self.setting.units
        }
        num_units = sum(g.num_units for g in self.setting.units)
        return FedLPSClient(
            bandit=self.new_client_ratio(client_id).bandit,
            importance=importance,
            personal=torch.zeros(layout.size),
            units=torch.ones(num_units, dtype=torch.bool),
        )

    def counts(self, ratio: float) -> dict[str, int]:
        """max(1, floor(s J)) units of each group of J."""
        return {g.name: max(1, floor(ratio * g.num_units + 1e-9)) for g in self.setting.units}

    def broadcast(self, state: ServerState) -> Payload:
        """The dense model, because each client chooses its units."""
        return (pack_model(self.setting.layout, state.params, None),)

    def unicast(self, state: ServerState, task: ClientTask, client_state: FedLPSClient) -> Payload:
        """Nothing besides the broadcast."""
        return ()

    def unpack(self, payload: Payload, task: ClientTask, client_state: FedLPSClient) -> ModelValues | None:
        """The dense model of a download, or the submodel and unit bits of an upload."""
        item = find_model(payload)
        if item is None or len(payload) == 1:
            return unpack_model(self.setting.layout, payload)
        return self.scatter(item.values, bits_to_units(self.setting.units, find_bits(payload, _UNITS)))

    def weight(self, num_examples: int) -> float:
        """The weight that `agg_weight` selects."""
        return 1.0 if self.config.agg_weight == "uniform" else float(num_examples)

    def aggregator(self) -> Aggregator:
        """The average that `average` selects."""
        return AGGREGATORS["dmean" if self.config.average == "mean_delta" else "covmean"]()

    def load(self, run: LocalRun[FedLPSClient]) -> None:
        """Load the units with the largest importance so far."""
        run.put_scratch(
            FedLPSTask(
                full=run.start.cpu().clone(),
                importance=dict(run.state.importance),
                personal=run.state.personal,
                units=run.state.units,
                best=run.state.best,
            )
        )
        run.load_submodel(run.start, self._choose(run))

    def on_train_start(self, run: LocalRun[FedLPSClient]) -> None:
        """Update the importance, then choose the units."""
        self._update_importance(run, 0)

    def on_epoch(self, run: LocalRun[FedLPSClient], epochs_done: int) -> None:
        """Keep the model if no earlier epoch was better; update the importance if the next epoch starts so."""
        score = run.validation_accuracy() if self.config.keep == "best" else float(epochs_done)
        scratch = run.scratch(FedLPSTask)
        if score >= scratch.best:
            scratch.best = score
            scratch.personal = run.in_full_coordinates().values
            scratch.units = self._bits(run)
        if epochs_done < min(self.config.importance_epochs, self.setting.training.local_epochs):
            self._update_importance(run, epochs_done)

    def after_train(self, run: LocalRun[FedLPSClient]) -> None:
        """Store bandit, importance and personal model in the client's state."""
        scratch = run.scratch(FedLPSTask)
        run.state = replace(
            run.state,
            bandit=self.updated_bandit(run),
            importance=scratch.importance,
            personal=scratch.personal,
            units=scratch.units,
            best=scratch.best,
            num_trained=run.state.num_trained + 1,
        )

    def pack(self, run: LocalRun[FedLPSClient]) -> Payload:
        """The submodel and the bits of its units."""
        return (*super().pack(run), Bits(_UNITS, self._bits(run).numpy()))

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """The submodel and one bit for each unit."""
        num_units = sum(group.num_units for group in self.setting.units)
        return {**super().upload_items(task), _UNITS: ItemForm(kinds=(Bits,), size=num_units)}

    def personal(self, run: LocalRun[FedLPSClient]) -> None:
        """The client's own submodel, or the global model before its first participation."""
        if run.state.num_trained:
            kept = bits_to_units(self.setting.units, run.state.units.numpy())
            run.load_submodel(run.state.personal, kept)
        else:
            run.load(run.start, None)

    def _bits(self, run: LocalRun[FedLPSClient]) -> Tensor:
        return torch.from_numpy(units_to_bits(self.setting.units, run.kept))

    def _update_importance(self, run: LocalRun[FedLPSClient], epochs_done: int) -> None:
        """Update q by its gradient on new mini-batches, then train the units that q now prefers."""
        assert run.index is not None
        if self.config.pattern != "learned":
            return
        layout, units, full = self.setting.layout, self.setting.units, run.scratch(FedLPSTask).full
        full[run.index] = run.values.detach().cpu()
        importance = run.scratch(FedLPSTask).importance
        prior = self._prior(full)
        for batch in islice(
            next(run.batches(f"importance-{epochs_done}", 1, repeats=False)), self.config.importance_batches
        ):
            gradient = run.full_gradient(close_units(layout, units, run.kept, full), batch).cpu()
            for name, slope in gate_gradient(layout, units, full, gradient).items():
                gate = torch.sigmoid(importance[name] + prior[name])
                pull = 2.0 * self.config.penalty / len(gate) * (gate - torch.sigmoid(prior[name]))
                step = self.config.importance_lr * gate * (1.0 - gate) * (slope + pull)
                importance[name] = importance[name] - step
        chosen = self._choose(run)
        if any(not torch.equal(chosen[name], run.kept[name]) for name in chosen):
            run.load_submodel(full, chosen)
            run.reset_optimizer()

    def _prior(self, vector: Tensor) -> dict[str, Tensor]:
        """pi n_j by group: L1 norms with mean 0 and deviation 1 over the units of a layer, times pi."""
        sums = unit_sums(self.setting.layout, self.setting.units, vector.abs(), "output")
        scaled = {name: (n - n.mean()) / (n.std(correction=0) + 1e-12) for name, n in sums.items()}
        return {name: self.config.prior * n for name, n in scaled.items()}

    def _choose(self, run: LocalRun[FedLPSClient]) -> KeptUnits:
        """The units to keep, in ascending order; ties go to the lower index."""
        counts = self.counts(self.ratio(run.task, run.state))
        match self.config.pattern:
            case "learned":
                prior = self._prior(run.scratch(FedLPSTask).full)
                importance = run.scratch(FedLPSTask).importance
                scores = {name: importance[name] + prior[name] for name in counts}
            case "magnitude":
                scores = unit_sums(self.setting.layout, self.setting.units, run.start.abs().cpu(), "output")
            case "ordered":
                scores = {g.name: -torch.arange(g.num_units) for g in self.setting.units}
            case "random":
                rng = stream(self.setting.seed, "client", run.task.client_id, "random-units")
                scores = {g.name: torch.from_numpy(rng.permutation(g.num_units)) for g in self.setting.units}
        return {
            name: torch.sort(torch.argsort(scores[name], descending=True, stable=True)[:count]).values
            for name, count in counts.items()
        }

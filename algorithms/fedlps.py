"""FedLPS: each client learns which units it trains, and a bandit chooses how many.

Every client trains the submodel of its most important units. It learns the importance together with the weights, on its
own data. A bandit chooses the keep ratio from training accuracy and emulated cost.

Symbols: q = state.importance, s = ratio, n_j = the L1 norm of the entries that produce unit j, standardised within the
layer, pi = algorithm.prior, eta = algorithm.importance_lr, d = algorithm.importance_decay, u_j = q_j + pi n_j = the
importance by which units are ranked, g_j = a gate that scales the outputs of unit j.

Deviations:

- The paper's body was not available, and its public code learns no importance. `fedlps_as_coded` does what the code
  does.
- q is private: it is part of the client's state. It starts at 0, so that clients start with common units, the strong
  units of the received model.
- Gates are 1 for kept units, with the straight-through estimator: every step moves q_j by -eta dL/dg_j, for the units
  that the device holds. Units are chosen at the start of a task, from q and the norms of the received model. A dropped
  unit returns if others made it strong, or if the importance of a kept unit falls. q decays by d in each task.
- Between two choices the client trains a smaller dense model, residual couplings included. It never needs the dense
  model's memory or time. Units are parts that can be cut exactly: hidden units of an LSTM, not gate rows.
- The personal model is the client's model of the lowest validation loss, over all epochs of all its tasks, because a
  submodel of few units can fail in a round. `keep=last` takes the last model. Before its first participation a client
  uses the global model.
- A layer of J units keeps ceil(s J), as in HeteroFL, so that submodels of all methods have the same size. The code
  rounds down, and keeps one unit less.
- `average=mean_delta` averages changes over all clients, as the code does. `per_unit` averages each coordinate over
  the clients that have it.
- The bandit is that of orchestrator/federation/bases/keep_ratio.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
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
        "p_ucbv",
        description="a client's keep ratio: a bandit's choice (p_ucbv), `ratio` (fixed), `ratio` up to its device's "
        "capability (capped), or the capability",
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
    importance_lr: float = Field(1.0, ge=0.0, description="eta, learning rate of the importance")
    importance_decay: float = Field(
        0.1, ge=0.0, le=1.0, description="d, share of the importance that is lost in each task"
    )
    prior: float = Field(1.0, ge=0.0, description="pi, weight of a unit's norm in its importance")
    keep: Literal["best", "last"] = Field(
        "best",
        description="personal model: of the lowest validation loss over all epochs, or of the last epoch",
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class FedLPSClient(ClientRatio):
    """State of a client.

    - `importance`: q by group, float32[J].
    - `personal`: the personal model, float32[D], its units (bool[sum J]) and its validation loss.
    """

    importance: Mapping[str, Tensor]
    personal: Tensor
    units: Tensor
    validation_loss: float = 0.0
    num_trained: int = 0


@dataclass(eq=False)
class GateProduct:
    """Scratch value of a task: sum over steps of (dL/dw) w, float32[T] of the submodel."""

    total: Tensor


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
        """True if clients keep their best model."""
        return self.config.keep == "best"

    def init_client(self, client_id: int) -> FedLPSClient:
        """q is 0."""
        groups = self.setting.units
        return FedLPSClient(
            bandit=self.new_client_ratio(client_id).bandit,
            importance={group.name: torch.zeros(group.num_units) for group in groups},
            personal=torch.zeros(self.setting.layout.size),
            units=torch.ones(sum(group.num_units for group in groups), dtype=torch.bool),
        )

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
        run.load_submodel(run.start, self._choose(run))
        run.put_scratch(GateProduct(torch.zeros_like(run.grad)))

    def grad_hook(self, run: LocalRun[FedLPSClient]) -> None:
        """Add the step's (dL/dw) w, from which the gradients of the gates follow."""
        if self.config.pattern == "learned":
            run.scratch(GateProduct).total.addcmul_(run.grad, run.values[: run.grad.numel()])

    def on_epoch(self, run: LocalRun[FedLPSClient], epochs_done: int) -> None:
        """Keep the model if no earlier epoch was better."""
        is_first = run.state.num_trained == 0 and epochs_done == 1
        loss = run.validation_loss() if self.config.keep == "best" else 0.0
        if is_first or loss <= run.state.validation_loss:
            personal, units = run.in_full_coordinates().values, self._bits(run)
            run.state = replace(run.state, personal=personal, units=units, validation_loss=loss)

    def after_train(self, run: LocalRun[FedLPSClient]) -> None:
        """Update importance and bandit."""
        run.state = replace(
            run.state,
            bandit=self.updated_bandit(run),
            importance=self._updated_importance(run),
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

    def _updated_importance(self, run: LocalRun[FedLPSClient]) -> dict[str, Tensor]:
        """q (1 - d) - eta dL/dg. dL/dg_j sums (dL/dw) w over the entries that consume unit j; 0 for dropped units."""
        assert run.index is not None
        product, total = torch.zeros(self.setting.layout.size), run.scratch(GateProduct).total.cpu()
        product[run.index[: total.numel()]] = total
        slopes = unit_sums(self.setting.layout, self.setting.units, product, "input")
        kept_share = 1.0 - self.config.importance_decay
        importance = run.state.importance
        return {
            name: kept_share * importance[name] - self.config.importance_lr * slopes[name]
            for name in importance
        }

    def _choose(self, run: LocalRun[FedLPSClient]) -> KeptUnits:
        """The units to keep, in ascending order; ties go to the lower index."""
        groups, counts = self.setting.units, self.counts(self.ratio(run.task, run.state))
        norms = unit_sums(self.setting.layout, groups, run.start.abs().cpu(), "output")
        match self.config.pattern:
            case "learned":
                importance, prior = run.state.importance, self.config.prior
                scores = {name: importance[name] + prior * _standardised(norms[name]) for name in counts}
            case "magnitude":
                scores = norms
            case "ordered":
                scores = {group.name: -torch.arange(group.num_units) for group in groups}
            case "random":
                rng = stream(self.setting.seed, "client", run.task.client_id, "random-units")
                scores = {g.name: torch.from_numpy(rng.permutation(g.num_units)) for g in groups}
        return {
            name: torch.sort(torch.argsort(scores[name], descending=True, stable=True)[:count]).values
            for name, count in counts.items()
        }


def _standardised(norms: Tensor) -> Tensor:
    """float32[J] with mean 0 and deviation 1; all 0 for equal norms."""
    return (norms - norms.mean()) / (norms.std(correction=0) + 1e-12)

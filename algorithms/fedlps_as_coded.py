"""FedLPS as its public code runs it, faults included.

Use this method only to compare with that code (repository sunnyxuejj/FedLPS-main); `fedlps` is the described method.

Clients mask rows of every weight except the classifier's by an importance. The importance is random and sorted in every
round, and no gradient of the task reaches it. The kept rows are therefore a prefix. Tensors keep their full size.

Symbols: q = the task's importance, J = rows of a weight, s = ratio, kk = max(1, floor(s J)), sg = sigmoid, lambda =
algorithm.penalty, z = the device's capability.

Reproduced faults:

- The strict threshold keeps kk - 1 rows, and no row if kk = 1.
- The penalty compares each q with the mean of all targets.
- Biases, norms and the next layer's columns of dropped rows stay active.
- Changes are averaged over all clients without weights, and the server adds Gaussian noise.
- A client stores its personal model only in rounds with s > 1/4, so that the model may be old.
- algorithms/_fedlps_as_coded_ratio.py lists the faults of the bandit.

Deviations:

- Capabilities are those of the fleet. The code redraws them in each round.
- q steps without momentum.
- A gradient is clipped after its rows are masked.
- The reward's cost is the code's cost for MNIST on every data set: 3 * (relative FLOPs) / z + uploaded MiB.
- FLOPs exclude those of the importance, and use the mask of each step. The code uses the last mask.
- Clients send the rows as bits. These bits are counted here, but not in the code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from algorithms._fedlps_as_coded_ratio import (
    CodedBandit,
    choose_as_coded,
    credit_as_coded,
    new_coded_bandit,
)
from orchestrator.method import (
    MODEL_ITEM,
    Aggregate,
    Algorithm,
    AlgorithmConfig,
    Batch,
    Bits,
    Capabilities,
    ClientTask,
    ConfigError,
    Dense,
    ItemForm,
    LocalRun,
    ModelValues,
    Payload,
    Segment,
    ServerState,
    Traits,
    check_size,
    find_bits,
    find_model,
    stream,
    unpack_model,
)

_ROWS = "rows"
_MIB = 2**20


class FedLPSAsCodedConfig(AlgorithmConfig):
    """Options of FedLPS's public code."""

    penalty: float = Field(1.0, ge=0.0, description="lambda, weight of the importance's penalty")
    noise: float = Field(
        0.001, ge=0.0, description="standard deviation of the noise that the server adds to every weight"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class CodedClient:
    """State of a client: the bandit, and the last masked float32[D] model of a round with s > 1/4, if any."""

    bandit: CodedBandit
    personal: Tensor
    has_personal: bool = False


@dataclass(eq=False)
class CodedTask:
    """Scratch values of a task: q (float32[sum J]), s, and after a step its masked float32[D] model and kept rows."""

    importance: Tensor
    ratio: float
    snapshot: Tensor = field(default_factory=lambda: torch.empty(0))
    rows: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.bool))


@final
class FedLPSAsCoded(Algorithm[ServerState, CodedClient]):
    """FedLPS's public code, faults included."""

    capabilities: ClassVar[Capabilities] = Capabilities(upload_mask="within", aggregation="dmean")
    Config: ClassVar[type[AlgorithmConfig]] = FedLPSAsCodedConfig
    config: FedLPSAsCodedConfig
    traits: ClassVar[Traits] = Traits(
        scope="personal",
        structure="structured",
        when="each round",
        density="per device",
        personal=True,
        payload="row bits up",
        citations=(references.FEDLPS,),
    )

    @classmethod
    def depends_on_devices(cls, config: AlgorithmConfig) -> bool:
        """True, because the bandit uses the device's capability."""
        return True

    def check(self) -> None:
        """Reject a model without a weight before the classifier."""
        if len(self.setting.layout.maskable) < 2:
            raise ConfigError(
                "algorithm.name",
                self.config.name,
                "the model has one weight, its classifier",
                "choose another model",
            )

    def init_client(self, client_id: int) -> CodedClient:
        """No personal model yet."""
        return CodedClient(bandit=new_coded_bandit(), personal=torch.zeros(self.setting.layout.size))

    def weight(self, num_examples: int) -> float:
        """All clients have the same weight."""
        return 1.0

    def unpack(self, payload: Payload, task: ClientTask, client_state: CodedClient) -> ModelValues | None:
        """The dense model of a download, or the kept rows and row bits of an upload."""
        item = find_model(payload)
        if item is None or len(payload) == 1:
            return unpack_model(self.setting.layout, payload)
        mask = self._mask(torch.from_numpy(np.array(find_bits(payload, _ROWS))))
        check_size("values", item.values.size, int(mask.sum()))
        values = torch.zeros(self.setting.layout.size)
        values[mask] = torch.from_numpy(np.array(item.values))
        return ModelValues(values, mask)

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        """Add the noise."""
        rng = stream(self.setting.seed, "server", round_idx, "noise")
        noise = self.config.noise * rng.standard_normal(self.setting.layout.size)
        return replace(state, params=(aggregate.values + torch.from_numpy(noise)).to(torch.float32))

    def on_train_start(self, run: LocalRun[CodedClient]) -> None:
        """Sample q in every round: N(0, 1), in descending order for each tensor."""
        rng = stream(self.setting.seed, "client", run.task.round_idx, run.task.client_id, "importance")
        sampled = [np.sort(rng.standard_normal(s.shape[0]))[::-1] for s in self._rows]
        importance = torch.from_numpy(np.concatenate(sampled).astype(np.float32))
        training = self.setting.training
        rng = stream(self.setting.seed, "client", run.task.round_idx, run.task.client_id, "ratio")
        capability = self.setting.profile_of(run.task.client_id, run.task.round_idx).capability
        bandit, ratio = choose_as_coded(
            run.state.bandit, training.rounds, training.clients_per_round, rng, capability
        )
        run.state = replace(run.state, bandit=bandit)
        run.put_scratch(CodedTask(importance=importance, ratio=ratio))

    def step(self, run: LocalRun[CodedClient], batch: Batch) -> None:
        """Mask rows by q, take a step on the kept rows and on q, then restore the other rows."""
        rows = self._kept_rows(run)
        mask = self._mask(rows).to(run.values.device)
        dropped = run.values * ~mask
        run.values.mul_(mask)
        run.flops.set_mask(run.layout, mask, cuts_units=True)
        run.backward(batch)
        run.grad.mul_(mask[: run.grad.numel()])
        self._step_importance(run, rows)
        run.apply_gradient()
        scratch = run.scratch(CodedTask)
        scratch.snapshot, scratch.rows = run.values.clone(), rows
        run.values.add_(dropped)

    def after_train(self, run: LocalRun[CodedClient]) -> None:
        """Credit the bandit; keep the last masked model as the personal one if s > 1/4."""
        scratch = run.scratch(CodedTask)
        snapshot = scratch.snapshot.cpu()
        run.values.copy_(snapshot)
        mask = self._mask(scratch.rows)
        relative = run.flops.total / run.flops.total_dense
        cost = (
            3.0 * relative / self.setting.profile_of(run.task.client_id, run.task.round_idx).capability
            + 4 * int(mask.sum()) / _MIB
        )
        state = replace(run.state, bandit=credit_as_coded(run.state.bandit, run.statistics.accuracy(), cost))
        if scratch.ratio > 0.25:
            state = replace(state, personal=snapshot, has_personal=True)
        run.state = state

    def pack(self, run: LocalRun[CodedClient]) -> Payload:
        """The rows that the last step kept, all entries that are never masked, and the row bits."""
        rows = run.scratch(CodedTask).rows
        values = run.values.detach().cpu()[self._mask(rows)]
        return Dense(MODEL_ITEM, values.numpy()), Bits(_ROWS, rows.numpy())

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """The kept rows and one bit for each row."""
        num_rows = sum(segment.shape[0] for segment in self._rows)
        return {**super().upload_items(task), _ROWS: ItemForm(kinds=(Bits,), size=num_rows)}

    def personal(self, run: LocalRun[CodedClient]) -> None:
        """The personal model, or the global one."""
        run.load(run.state.personal if run.state.has_personal else run.start, None)

    @property
    def _rows(self) -> tuple[Segment, ...]:
        """Tensors whose rows are masked: every weight but the last."""
        return self.setting.layout.maskable[:-1]

    def _mask(self, rows: Tensor) -> Tensor:
        """bool[D] from bool[sum J]."""
        mask, start = self.setting.layout.full_mask(), 0
        for segment in self._rows:
            kept = rows[start : start + segment.shape[0]]
            mask[segment.slice] = kept.repeat_interleave(segment.size // segment.shape[0])
            start += segment.shape[0]
        return mask

    def _kept_rows(self, run: LocalRun[CodedClient]) -> Tensor:
        """bool[sum J]: sg(q_j) above the kk-th largest, strictly."""
        scratch, rows = run.scratch(CodedTask), []
        for gate in torch.split(torch.sigmoid(scratch.importance), [s.shape[0] for s in self._rows]):
            kept = max(1, int(scratch.ratio * len(gate)))
            rows.append(gate > torch.sort(gate, descending=True).values[kept - 1])
        return torch.cat(rows)

    def _step_importance(self, run: LocalRun[CodedClient], rows: Tensor) -> None:
        """SGD on lambda mean_ij (q_i - target_j)^2, whose gradient is 2 lambda / J (q_i - mean_j target_j)."""
        sizes = [s.shape[0] for s in self._rows]
        scratch = run.scratch(CodedTask)
        gradient = torch.empty_like(scratch.importance)
        parts = zip(
            self._rows, torch.split(gradient, sizes), torch.split(scratch.importance, sizes), strict=True
        )
        for segment, into, q in parts:
            norms = run.values[segment.slice].view(segment.shape[0], -1).abs().sum(dim=1).cpu()
            target = torch.sigmoid(norms).mean()
            into.copy_(2.0 * self.config.penalty / len(q) * (q - target))
        training = self.setting.training
        lr = training.lr_at(run.task.round_idx)
        step = gradient * rows + training.weight_decay * scratch.importance
        scratch.importance = scratch.importance - lr * step

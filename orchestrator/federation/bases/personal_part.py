"""Base of the methods whose clients share a part of the model and each keep the other entries, which never travel."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.exchange import MODEL_ITEM, ModelValues, check_size, find_model
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.plan import ClientTask
from orchestrator.sparsity.payload import Dense, Payload


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonalPart:
    """State of a client: the entries that it keeps, float32[H], in the order of the flat vector."""

    values: Tensor


class PersonalPartAlgorithm(Algorithm[ServerState, PersonalPart]):
    """FedAvg over the entries of `body_mask`; each client keeps the other entries.

    The server's own values of the personal entries stay the initial ones.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(aggregation="covmean")

    @property
    def body_mask(self) -> Tensor:
        """bool[D]: True for the entries that the server averages."""
        raise NotImplementedError(f"{type(self).__name__} does not say which entries are averaged")

    def init_client(self, client_id: int) -> PersonalPart:
        """All clients start with the same personal entries."""
        return PersonalPart(values=torch.from_numpy(self.setting.initial.copy())[~self.body_mask])

    def broadcast(self, state: ServerState) -> Payload:
        """The body."""
        return (Dense(MODEL_ITEM, state.params[self.body_mask].numpy()),)

    def unpack(self, payload: Payload, task: ClientTask, client_state: PersonalPart) -> ModelValues | None:
        """The body in full coordinates; the mask says that the personal entries were not sent."""
        item = find_model(payload)
        if item is None:
            return None
        mask = self.body_mask
        check_size("values", item.values.size, int(mask.sum()))
        values = torch.zeros(self.setting.layout.size)
        values[mask] = torch.from_numpy(np.array(item.values))
        return ModelValues(values, mask)

    def load(self, run: LocalRun[PersonalPart]) -> None:
        """Load the received body and the client's own entries."""
        values = run.start.clone()
        values[~self.body_mask.to(values.device)] = run.state.values.to(values.device)
        run.load(values, None)

    def after_train(self, run: LocalRun[PersonalPart]) -> None:
        """Keep the trained personal entries."""
        run.state = PersonalPart(values=run.values.detach().cpu()[~self.body_mask])

    def pack(self, run: LocalRun[PersonalPart]) -> Payload:
        """The body."""
        return (Dense(MODEL_ITEM, run.values.detach().cpu()[self.body_mask].numpy()),)

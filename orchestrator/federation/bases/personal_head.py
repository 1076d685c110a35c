"""Base of the methods whose clients share the body of the model and each keep the last layers, the head."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from orchestrator.config.sections import AlgorithmConfig
from orchestrator.errors import ConfigError
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.exchange import MODEL_ITEM, ModelValues, check_size, find_model
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.plan import ClientTask
from orchestrator.sparsity.payload import Dense, Payload


class PersonalHeadConfig(AlgorithmConfig):
    """Options of a method with personal heads."""

    head_layers: int = Field(
        1, ge=0, description="weight layers at the end of the model that every client keeps; 0: none"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonalHead:
    """State of a client: its head, float32[H], in the order of the flat vector."""

    values: Tensor


class PersonalHeadAlgorithm(Algorithm[ServerState, PersonalHead]):
    """FedAvg over the body; the head never travels.

    The head consists of the last `head_layers` weights of two or more dimensions and all trained parameters behind the
    first of them, such as biases. Running statistics belong to the body. The server's own head stays the initial one.
    """

    Config: ClassVar[type[AlgorithmConfig]] = PersonalHeadConfig
    config: PersonalHeadConfig
    capabilities: ClassVar[Capabilities] = Capabilities(aggregation="covmean")

    def check(self) -> None:
        """Raise ConfigError if the model has too few layers for a head of this size."""
        num_layers = len(self.setting.layout.maskable)
        if self.config.head_layers >= max(num_layers, 1):
            problem = f"the model has {num_layers} weight layers, and the body needs one of them"
            raise ConfigError(
                "algorithm.head_layers", self.config.head_layers, problem, f"use at most {num_layers - 1}"
            )

    @property
    def head(self) -> slice:
        """Positions of the head in the flat vector."""
        layout, num_layers = self.setting.layout, self.config.head_layers
        start = layout.maskable[-num_layers].offset if num_layers else layout.num_trainable
        return slice(start, layout.num_trainable)

    @property
    def body_mask(self) -> Tensor:
        """bool[D]: True outside the head."""
        mask = torch.ones(self.setting.layout.size, dtype=torch.bool)
        mask[self.head] = False
        return mask

    def init_client(self, client_id: int) -> PersonalHead:
        """All clients start with the same head."""
        return PersonalHead(values=torch.from_numpy(self.setting.initial[self.head].copy()))

    def broadcast(self, state: ServerState) -> Payload:
        """The body."""
        return (Dense(MODEL_ITEM, state.params[self.body_mask].numpy()),)

    def unpack(self, payload: Payload, task: ClientTask, client_state: PersonalHead) -> ModelValues | None:
        """The body in full coordinates; the mask says that the head was not sent."""
        item = find_model(payload)
        if item is None:
            return None
        mask = self.body_mask
        check_size("values", item.values.size, int(mask.sum()))
        values = torch.zeros(self.setting.layout.size)
        values[mask] = torch.from_numpy(np.array(item.values))
        return ModelValues(values, mask)

    def load(self, run: LocalRun[PersonalHead]) -> None:
        """Load the received body and the client's own head."""
        values = run.start.clone()
        values[self.head] = run.state.values.to(values.device)
        run.load(values, None)

    def after_train(self, run: LocalRun[PersonalHead]) -> None:
        """Keep the trained head."""
        run.state = PersonalHead(values=run.values[self.head].detach().cpu().clone())

    def pack(self, run: LocalRun[PersonalHead]) -> Payload:
        """The body."""
        return (Dense(MODEL_ITEM, run.values.detach().cpu()[self.body_mask].numpy()),)

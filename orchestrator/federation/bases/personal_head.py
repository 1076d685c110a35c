"""Base of the methods whose clients share the body of the model and each keep the last layers, the head."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from orchestrator.config.sections import AlgorithmConfig
from orchestrator.errors import ConfigError
from orchestrator.federation.bases.personal_part import PersonalPartAlgorithm


class PersonalHeadConfig(AlgorithmConfig):
    """Options of a method with personal heads."""

    head_layers: int = Field(
        1, ge=0, description="weight layers at the end of the model that every client keeps; 0: none"
    )


class PersonalHeadAlgorithm(PersonalPartAlgorithm):
    """FedAvg over the body; the head never travels.

    The head consists of the last `head_layers` weights of two or more dimensions and all trained parameters behind the
    first of them, such as biases. Running statistics belong to the body. The server's own head stays the initial one.
    """

    Config: ClassVar[type[AlgorithmConfig]] = PersonalHeadConfig
    config: PersonalHeadConfig

    @property
    def uses_last_layer(self) -> bool:
        """True if there is a head."""
        return self.config.head_layers > 0

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

"""The section for training: rounds, local training, the learning rate's schedule, and an early end."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from orchestrator.config.section import Positive, Section, dotted_names
from orchestrator.errors import ConfigError


class LearningRateConfig(Section):
    """How the local learning rate changes over the rounds, or over the local steps of a task."""

    name: str = Field(
        "none",
        description="a class of torch.optim.lr_scheduler, such as CosineAnnealingLR, of which each round is a step "
        "(see `per`); `path/to/file.py:function`; none: `lr_decay` alone",
    )
    per: Literal["round", "step"] = Field(
        "round",
        description="round: one rate for each round; step: one rate for each local optimiser step, from the first one "
        "again in each task",
    )
    options: Annotated[Mapping[str, Any], BeforeValidator(dotted_names)] = Field(
        {}, description="arguments of the class, such as T_max, or of your own function"
    )


class StopConfig(Section):
    """When a run ends before `training.rounds`."""

    patience: Positive | None = Field(
        None,
        description="end after this many evaluations without a better validation accuracy (of the clients' own models "
        "if the method has them); None: never",
    )
    min_delta: float = Field(
        0.0, ge=0.0, lt=1.0, description="smallest increase of the accuracy that counts as better"
    )

    @model_validator(mode="after")
    def _check_min_delta(self) -> Self:
        if self.min_delta and self.patience is None:
            problem = "training.stop.patience is not set, so that no run ends early"
            raise ConfigError("training.stop.min_delta", self.min_delta, problem, "set it too, or use 0")
        return self


class TrainingConfig(Section):
    """The federated rounds, and the local training of a client."""

    rounds: Positive = Field(20, description="number of rounds")
    clients_per_round: Positive = Field(5, description="clients sampled per round")
    with_replacement: bool = Field(
        False, description="sample with replacement, as the public FedDST code does"
    )
    local_epochs: Positive = Field(5, description="passes over a client's samples per round")
    batch_size: Positive = Field(20, description="samples per step")
    drop_last: bool = Field(
        False,
        description="skip the last batch of an epoch if it is smaller than the others; False: train on it, and merge "
        "a single sample into the batch before if the model needs two samples",
    )
    reshuffle: bool = Field(
        True,
        description="new batches in each epoch; False: a client trains on the same batches for the whole run (scores "
        "and growth gradients still use new batches)",
    )
    optimizer: Literal["sgd", "adam", "adamw"] = Field(
        "sgd", description="local optimiser; its state is reset in each round"
    )
    lr: float = Field(0.05, gt=0.0, description="local learning rate in round 0")
    lr_decay: float = Field(1.0, gt=0.0, le=1.0, description="factor on the learning rate per round")
    lr_schedule: LearningRateConfig = Field(
        LearningRateConfig(), description="change of the learning rate over the rounds"
    )
    momentum: float = Field(0.9, ge=0.0, lt=1.0, description="SGD momentum (sgd only)")
    weight_decay: float = Field(0.0, ge=0.0, description="L2 decay on all parameters (decoupled for adamw)")
    clip_norm: float | None = Field(None, gt=0.0, description="largest gradient norm; None: no clipping")
    eval_every: Positive = Field(1, description="evaluate every this many rounds and after the last round")
    stop: StopConfig = Field(StopConfig(), description="early end of the run")
    keep_best: bool = Field(
        False,
        description="also keep the global model of the evaluated round with the best validation accuracy; a run with "
        "`stop.patience` does so always",
    )

    #: the learning rate of each round by `lr_schedule`; None: not computed
    _rates: tuple[float, ...] | None = PrivateAttr(None)
    #: the learning rate of each step, by the number of steps of a task; None: one rate for a whole task
    _step_rates: Mapping[int, tuple[float, ...]] | None = PrivateAttr(None)

    def with_rates(self, rates: Sequence[float]) -> Self:
        """Return a copy with the learning rate of each round, which `lr_schedule` gives."""
        copy = self.model_copy()
        copy._rates = tuple(rates)
        return copy

    def lr_at(self, round_idx: int) -> float:
        """Local learning rate of a round: lr * lr_decay ** round_idx, or the rate that `lr_schedule` gives."""
        if self._rates is not None:
            return self._rates[round_idx]
        assert self.lr_schedule.name == "none", "own_parts.learning_rates computes the rates of a schedule"
        return self.lr * self.lr_decay**round_idx

    def with_step_rates(self, rates: Mapping[int, Sequence[float]]) -> Self:
        """Return a copy with the learning rate of each local step, by the number of steps of a client's task."""
        copy = self.with_rates([self.lr] * self.rounds)
        copy._step_rates = {num_steps: tuple(each) for num_steps, each in rates.items()}
        return copy

    def step_rates(self, num_steps: int) -> Sequence[float]:
        """Local learning rates of the steps of a task with `num_steps` steps. Only with `lr_schedule.per=step`."""
        assert self._step_rates is not None, "own_parts.learning_rates computes the rates of a schedule"
        return self._step_rates[num_steps]

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        if self.lr_schedule.name != "none" and self.lr_decay != 1.0:
            problem = f"training.lr_schedule.name={self.lr_schedule.name} decides about the learning rate"
            raise ConfigError("training.lr_decay", self.lr_decay, problem, "use 1, or lr_schedule.name=none")
        if self.lr_schedule.name == "none" and self.lr_schedule.options:
            problem = "training.lr_schedule.name=none has no options"
            remedy = "leave it out, or name a schedule"
            raise ConfigError("training.lr_schedule.options", dict(self.lr_schedule.options), problem, remedy)
        if self.lr_schedule.name == "none" and self.lr_schedule.per == "step":
            problem = "training.lr_schedule.name=none has one rate for a whole round"
            raise ConfigError("training.lr_schedule.per", "step", problem, "use round, or name a schedule")
        return self

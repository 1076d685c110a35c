"""The experiment config: a strict, frozen pydantic tree of all sections.

Every key has a default, so that an empty config is a complete experiment.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from orchestrator.config.errors import as_request_error
from orchestrator.config.faults import ChaosConfig
from orchestrator.config.overrides import flatten
from orchestrator.config.robustness import AggregationConfig, AttackConfig, PrivacyConfig
from orchestrator.config.rounds import AsynchronyConfig, FleetConfig, SelectionConfig
from orchestrator.config.runtime import RuntimeConfig, TrackingConfig
from orchestrator.config.section import Section
from orchestrator.config.sections import (
    AlgorithmConfig,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    SparsityConfig,
    WireConfig,
)
from orchestrator.config.training import TrainingConfig
from orchestrator.errors import ConfigError
from orchestrator.experiment.checks import check_aggregators, check_chaos, check_rounds, check_wire
from orchestrator.experiment.privacy_checks import check_privacy
from orchestrator.experiment.robustness_checks import check_aggregation, check_attack


def _resolve_algorithm(value: object) -> object:
    """Return the method's own config class for `{name: ..., option: ...}`."""
    if isinstance(value, AlgorithmConfig):
        return value
    if not isinstance(value, dict):
        raise ConfigError("algorithm", value, "this is a section, not a value", f"set algorithm.name={value}")
    from orchestrator.experiment.methods import load_algorithm

    options = load_algorithm(str(value.get("name", "fedavg"))).Config
    try:
        return options.model_validate(value)
    except ValidationError as error:
        raise as_request_error(error, options, "algorithm") from error


class ExperimentConfig(Section):
    """A complete experiment. `ExperimentConfig()` is FedAvg on the bundled digits."""

    #: keys that a resumed run may change
    RESUMABLE: ClassVar[tuple[str, ...]] = (
        "training.rounds",
        "training.stop.patience",
        "runtime",
        "tracking",
        "data.max_gib",
    )

    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="root seed of every random stream")
    algorithm: Annotated[SerializeAsAny[AlgorithmConfig], BeforeValidator(_resolve_algorithm)] = Field(
        default_factory=lambda: AlgorithmConfig(name="fedavg"),
        validate_default=True,
        description="the method and its own options",
    )
    sparsity: SparsityConfig = Field(SparsityConfig(), description="sparsity of the model")
    data: DataConfig = Field(DataConfig(), description="data set and split")
    model: ModelConfig = Field(ModelConfig(), description="network")
    fleet: FleetConfig = Field(FleetConfig(), description="population and devices")
    selection: SelectionConfig = Field(SelectionConfig(), description="sampling of a round's cohort")
    asynchrony: AsynchronyConfig = Field(AsynchronyConfig(), description="asynchronous rounds")
    aggregation: AggregationConfig = Field(AggregationConfig(), description="how the server combines updates")
    attack: AttackConfig = Field(AttackConfig(), description="clients that attack the training")
    privacy: PrivacyConfig = Field(PrivacyConfig(), description="differential privacy of clients")
    training: TrainingConfig = Field(TrainingConfig(), description="rounds and local training")
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="what an evaluation measures")
    wire: WireConfig = Field(WireConfig(), description="encoding of payloads")
    runtime: RuntimeConfig = Field(RuntimeConfig(), description="execution")
    tracking: TrackingConfig = Field(TrackingConfig(), description="MLflow")
    chaos: ChaosConfig = Field(ChaosConfig(), description="injected faults")

    @model_validator(mode="after")
    def _check_cohort(self) -> Self:
        cohort, population = self.training.clients_per_round, self.fleet.num_clients
        if cohort > population and not self.training.with_replacement:
            raise ConfigError(
                "training.clients_per_round",
                cohort,
                f"fleet.num_clients={population} is smaller than this number",
                f"use {population} or fewer, or more clients",
            )
        if (least := self.runtime.min_clients) > cohort:
            raise ConfigError(
                "runtime.min_clients",
                least,
                f"training.clients_per_round={cohort} is smaller than this number",
                f"use {cohort} or fewer",
            )
        return self

    @model_validator(mode="after")
    def _check_sections(self) -> Self:
        check_rounds(self)
        check_aggregation(self)
        check_attack(self)
        check_privacy(self)
        check_aggregators(self.runtime)
        check_chaos(self.chaos, self.runtime)
        check_wire(self.wire)
        return self

    @classmethod
    def is_resumable(cls, key: str) -> bool:
        """Return whether a resumed run may change the value of this dotted key."""
        return any(key == allowed or key.startswith(f"{allowed}.") for allowed in cls.RESUMABLE)

    @classmethod
    def parse(cls, tree: Mapping[str, Any]) -> Self:
        """Validate a nested mapping. Raises ConfigError with the key, the value and the remedy."""
        try:
            return cls.model_validate(dict(tree))
        except ValidationError as error:
            raise as_request_error(error, cls) from error

    def resumable_values(self) -> dict[str, Any]:
        """Return the values of the keys that a resumed run may change, by the dotted keys in RESUMABLE."""
        flat = flatten(self.to_dict())
        return {key: value for key, value in flat.items() if self.is_resumable(key)}

    def to_dict(self) -> dict[str, Any]:
        """Return a nested dict of YAML types, which `ExperimentConfig.parse` accepts."""
        return self.model_dump(mode="json")

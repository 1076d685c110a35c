"""Checks of options that differential privacy excludes. Every check raises ConfigError.

The logged epsilon holds for one procedure: each round samples a fixed number of clients uniformly without replacement,
and the mean of exactly their updates gets noise. These checks reject everything else.
"""

from typing import Any, Protocol

from orchestrator.config.robustness import AggregationConfig, PrivacyConfig
from orchestrator.config.rounds import AsynchronyConfig, FleetConfig, SelectionConfig
from orchestrator.config.runtime import RuntimeConfig
from orchestrator.config.sections import WireConfig
from orchestrator.config.training import TrainingConfig
from orchestrator.errors import ConfigError


class PrivateSections(Protocol):
    """The sections of an experiment's config that decide what its noise protects."""

    @property
    def privacy(self) -> PrivacyConfig:
        """Clipping and noise."""

    @property
    def aggregation(self) -> AggregationConfig:
        """The rule of the mean."""

    @property
    def asynchrony(self) -> AsynchronyConfig:
        """Asynchronous rounds."""

    @property
    def fleet(self) -> FleetConfig:
        """When a round ends."""

    @property
    def selection(self) -> SelectionConfig:
        """Sampling of the cohort."""

    @property
    def training(self) -> TrainingConfig:
        """Size of the cohort."""

    @property
    def runtime(self) -> RuntimeConfig:
        """What happens to clients that fail."""

    @property
    def wire(self) -> WireConfig:
        """Rounding of values."""


def check_privacy(config: PrivateSections) -> None:
    """Reject options under which the noise would not protect clients as the logged epsilon says."""
    privacy = config.privacy
    if not privacy.has_noise:
        if privacy.delta != type(privacy).model_fields["delta"].default:
            problem = "without privacy.noise_multiplier no epsilon is computed"
            raise ConfigError(
                "privacy.delta", privacy.delta, problem, "leave it unset, or set the noise multiplier"
            )
        return
    if privacy.clip_norm is None:
        problem = "the noise is scaled to the largest norm of an update, and no norm is set"
        raise ConfigError(
            "privacy.noise_multiplier", privacy.noise_multiplier, problem, "set privacy.clip_norm"
        )
    fleet = config.fleet
    cohort = "a round must average exactly its uniformly sampled clients"
    for key, value, needed, problem in (
        ("aggregation.rule", config.aggregation.rule, "mean", "epsilon is known only for the mean"),
        ("asynchrony.kind", config.asynchrony.kind, "none", cohort),
        ("selection.kind", config.selection.kind, "uniform", cohort),
        ("training.with_replacement", config.training.with_replacement, False, cohort),
        ("fleet.deadline_s", fleet.deadline_s, None, cohort),
        ("fleet.over_selection", fleet.over_selection, 1.0, cohort),
        ("runtime.failure_policy", config.runtime.failure_policy, "retry", cohort),
        (
            "wire.value_dtype",
            config.wire.value_dtype,
            "float32",
            "rounding can make updates longer than privacy.clip_norm",
        ),
    ):
        if value != needed:
            raise ConfigError(
                key,
                value,
                f"with privacy.noise_multiplier, {problem}",
                f"{_setting(needed)}, or use no noise",
            )


def _setting(needed: Any) -> str:
    return "leave it unset" if needed is None else f"use {str(needed).lower()}"

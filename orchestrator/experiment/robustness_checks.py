"""Checks of options of robust rules and of attacks that exclude each other. Every check raises ConfigError."""

from collections.abc import Mapping
from typing import Protocol

from orchestrator.config.robustness import AggregationConfig, AttackConfig
from orchestrator.config.rounds import AsynchronyConfig, FleetConfig
from orchestrator.config.training import TrainingConfig
from orchestrator.errors import ConfigError
from orchestrator.formatting import counted

#: options of `aggregation` that each rule reads
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "mean": (),
    "median": (),
    "trimmed_mean": ("attacker_share",),
    "krum": ("attacker_share",),
    "multi_krum": ("attacker_share", "num_selected"),
    "geometric_median": ("iterations", "smoothing"),
}


class RobustSections(Protocol):
    """The sections of an experiment's config that decide how many updates a rule combines."""

    @property
    def aggregation(self) -> AggregationConfig:
        """The rule."""

    @property
    def training(self) -> TrainingConfig:
        """The size of a cohort."""

    @property
    def asynchrony(self) -> AsynchronyConfig:
        """The size of a buffer."""


def updates_per_round(config: RobustSections) -> int:
    """Return how many updates a round combines if no client fails."""
    if config.asynchrony.kind == "none":
        return config.training.clients_per_round
    return config.asynchrony.buffer_size if config.asynchrony.kind == "fedbuff" else 1


def check_aggregation(config: RobustSections) -> None:
    """Reject options that the rule ignores, and rounds with too few updates for it."""
    chosen = config.aggregation
    for name, field in type(chosen).model_fields.items():
        value = getattr(chosen, name)
        if name not in ("rule", *_OPTIONS.get(chosen.rule, ("options",))) and value != field.default:
            problem = f"aggregation.rule={chosen.rule} ignores this option"
            value = dict(value) if isinstance(value, Mapping) else value
            raise ConfigError(f"aggregation.{name}", value, problem, "leave it unset, or choose another rule")
    if chosen.rule != "mean" and config.asynchrony.kind == "fedasync":
        problem = "asynchrony.kind=fedasync steps after each update, so that no rule can compare updates"
        raise ConfigError("aggregation.rule", chosen.rule, problem, "use mean, or asynchrony.kind=fedbuff")
    if chosen.rule in ("krum", "multi_krum"):
        _check_krum(chosen, updates_per_round(config))


def _check_krum(chosen: AggregationConfig, num_updates: int) -> None:
    f = chosen.num_attackers(num_updates)
    rounds = f"a round has {counted(num_updates, 'update')}"
    if num_updates < 3:
        problem = f"{rounds}, and Krum compares at least 3"
        raise ConfigError("aggregation.rule", chosen.rule, problem, "use median, or more clients per round")
    if num_updates < 2 * f + 3:
        most = int(1e4 * ((num_updates - 3) // 2) / num_updates) / 1e4
        problem = f"{rounds}, and Krum withstands {f} attackers only among {2 * f + 3}"
        remedy = f"use {most:g} or less, or more clients per round"
        raise ConfigError("aggregation.attacker_share", chosen.attacker_share, problem, remedy)
    if chosen.num_selected is not None and chosen.num_selected > num_updates:
        problem = f"{rounds}"
        remedy = f"use {num_updates} or fewer"
        raise ConfigError("aggregation.num_selected", chosen.num_selected, problem, remedy)


class AttackSections(Protocol):
    """The sections of an experiment's config that decide how many clients attack."""

    @property
    def attack(self) -> AttackConfig:
        """The attack."""

    @property
    def fleet(self) -> FleetConfig:
        """The number of clients."""


def check_attack(config: AttackSections) -> None:
    """Reject options that the attack ignores, and shares that give no attacker or no honest client."""
    chosen, num_clients = config.attack, config.fleet.num_clients
    used = {"none": (), "label_flip": ("share",)}.get(chosen.kind, ("share", "scale"))
    for name, field in type(chosen).model_fields.items():
        value = getattr(chosen, name)
        if name not in ("kind", *used) and value != field.default:
            problem = f"attack.kind={chosen.kind} ignores this option"
            raise ConfigError(f"attack.{name}", value, problem, "leave it unset, or choose another kind")
    if chosen.kind != "none" and not 0 < chosen.num_attackers(num_clients) < num_clients:
        found = counted(chosen.num_attackers(num_clients), "attacker")
        problem = f"this is {found} among {counted(num_clients, 'client')}"
        raise ConfigError(
            "attack.share", chosen.share, problem, "choose a share with attackers and honest clients"
        )

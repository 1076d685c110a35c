"""Checks of options in different config sections that exclude each other. Every check raises ConfigError."""

from math import ceil
from typing import Protocol

from orchestrator.config.faults import ChaosConfig
from orchestrator.config.rounds import AsynchronyConfig, FleetConfig, SelectionConfig
from orchestrator.config.runtime import RuntimeConfig
from orchestrator.config.sections import DataConfig, WireConfig
from orchestrator.config.training import TrainingConfig
from orchestrator.errors import ConfigError
from orchestrator.formatting import counted


class RoundSections(Protocol):
    """The sections of an experiment's config that decide how its rounds run."""

    @property
    def data(self) -> DataConfig:
        """The data and their partition."""

    @property
    def training(self) -> TrainingConfig:
        """Rounds and local training."""

    @property
    def fleet(self) -> FleetConfig:
        """Population and devices."""

    @property
    def selection(self) -> SelectionConfig:
        """Sampling of a round's cohort."""

    @property
    def asynchrony(self) -> AsynchronyConfig:
        """Asynchronous rounds."""

    @property
    def runtime(self) -> RuntimeConfig:
        """Execution."""


def check_rounds(config: RoundSections) -> None:
    """Check all options that decide who takes part in a round and when a round ends."""
    _check_selection(config)
    _check_replacement(config)
    _check_late_updates(config)
    _check_unused_asynchrony(config)
    _check_unseen_clients(config)
    if config.asynchrony.kind != "none":
        _check_asynchrony(config)


def _check_selection(config: RoundSections) -> None:
    kind, candidates = config.selection.kind, config.selection.candidates
    if kind not in ("uniform", "samples") and config.training.with_replacement:
        problem = f"training.with_replacement=true samples a client twice, but {kind} ranks different clients"
        raise ConfigError("selection.kind", kind, problem, "set training.with_replacement=false")
    if config.selection.options and not config.selection.is_own:
        problem = f"selection.kind={kind} is built in and has no options"
        remedy = "leave it out, or name your own function"
        raise ConfigError("selection.options", dict(config.selection.options), problem, remedy)
    if candidates is None:
        return
    if kind not in ("available", "power_of_choice"):
        problem = f"selection.kind={kind} compares no candidates"
        remedy = "leave it unset, or use available or power_of_choice"
        raise ConfigError("selection.candidates", candidates, problem, remedy)
    cohort = ceil(round(config.fleet.over_selection * config.training.clients_per_round, 9))
    if candidates < cohort:
        problem = f"the cohort has {counted(cohort, 'client')}"
        raise ConfigError("selection.candidates", candidates, problem, f"use {cohort} or more")
    if candidates > (population := config.fleet.num_clients):
        problem = f"fleet.num_clients={population} is smaller than this number"
        raise ConfigError("selection.candidates", candidates, problem, f"use {population} or fewer")


def _check_replacement(config: RoundSections) -> None:
    """Reject options that need the time of a single task: a client sampled twice runs its tasks one after the other."""
    if not config.training.with_replacement:
        return
    fleet = config.fleet
    for key, value, used in (
        ("fleet.over_selection", fleet.over_selection, fleet.over_selection > 1.0),
        ("fleet.deadline_s", fleet.deadline_s, fleet.deadline_s is not None),
    ):
        if used:
            problem = "training.with_replacement=true can give a client several tasks, one after the other"
            raise ConfigError(key, value, problem, "set training.with_replacement=false, or leave it unset")


def _check_unseen_clients(config: RoundSections) -> None:
    """Reject unseen clients that would have the samples of clients that train."""
    distinct = config.data.partition.distinct_clients
    if config.fleet.unseen_clients and distinct is not None and distinct < config.fleet.num_with_unseen:
        problem = (
            f"data.partition.distinct_clients={distinct} gives them samples on which other clients train"
        )
        remedy = "use 0, or leave data.partition.distinct_clients unset"
        raise ConfigError("fleet.unseen_clients", config.fleet.unseen_clients, problem, remedy)


def _check_late_updates(config: RoundSections) -> None:
    if config.fleet.late == "keep" and config.fleet.deadline_s is None:
        problem = "no update is late without a deadline"
        raise ConfigError("fleet.late", "keep", problem, "set fleet.deadline_s")


def _check_unused_asynchrony(config: RoundSections) -> None:
    """Reject options that the chosen kind ignores; `fleet.late=keep` uses the staleness options too."""
    chosen = config.asynchrony
    discounts = ("staleness", "exponent", "hinge", "refl_beta", "refl_scale", "max_staleness")
    used = {
        "none": discounts if config.fleet.late == "keep" else (),
        "fedbuff": ("buffer_size", "weight", *discounts),
        "fedasync": ("mixing", *discounts),
    }[chosen.kind]
    for name, field in type(chosen).model_fields.items():
        value = getattr(chosen, name)
        if name != "kind" and name not in used and value != field.default:
            problem = f"asynchrony.kind={chosen.kind} ignores this option"
            raise ConfigError(f"asynchrony.{name}", value, problem, "leave it unset, or choose another kind")


def _check_asynchrony(config: RoundSections) -> None:
    kind = config.asynchrony.kind
    if config.asynchrony.staleness == "refl":
        problem = "it compares late updates with the fresh updates of a synchronous round"
        remedy = "use polynomial, or asynchrony.kind=none with fleet.late=keep"
        raise ConfigError("asynchrony.staleness", "refl", problem, remedy)
    synchronous = {
        "fleet.deadline_s": config.fleet.deadline_s is not None,
        "fleet.over_selection": config.fleet.over_selection > 1.0,
        "training.with_replacement": config.training.with_replacement,
        f"selection.kind={config.selection.kind}": config.selection.kind == "power_of_choice"
        or config.selection.learns,
    }
    for option, is_set in synchronous.items():
        if is_set:
            problem = f"{option} needs synchronous rounds"
            raise ConfigError("asynchrony.kind", kind, problem, "unset that option, or use none")
    step = config.asynchrony.buffer_size if kind == "fedbuff" else 1
    if (least := config.runtime.min_clients) > step:
        problem = f"with asynchrony.kind={kind} a round has {step} update{'s' if step > 1 else ''}"
        raise ConfigError("runtime.min_clients", least, problem, f"use {step} or fewer")


def check_aggregators(runtime: RuntimeConfig) -> None:
    """Reject aggregators, which are actors, without Ray."""
    if runtime.executor == "inprocess" and runtime.aggregators != "auto":
        problem = "aggregators are actors on Ray, and runtime.executor=inprocess starts none"
        raise ConfigError(
            "runtime.aggregators", runtime.aggregators, problem, "use auto, or runtime.executor=ray"
        )


def check_wire(wire: WireConfig) -> None:
    """Reject int8 values in the old format."""
    if wire.value_dtype == "int8" and wire.version == 1:
        problem = "wire.version=1 has no such values"
        raise ConfigError("wire.value_dtype", "int8", problem, "use float16 or bfloat16, or wire.version=2")


def check_chaos(chaos: ChaosConfig, runtime: RuntimeConfig) -> None:
    """Reject faults that would kill or block the command itself, and hanging tasks without a time limit."""
    if runtime.executor == "inprocess":
        for name in ("client_hangs", "client_dies", "aggregator_dies", "driver_dies"):
            if share := getattr(chaos, name):
                problem = "with runtime.executor=inprocess this fault would hit the command itself"
                raise ConfigError(f"chaos.{name}", share, problem, "use runtime.executor=ray")
    if chaos.aggregator_dies and runtime.aggregators == "auto":
        problem = "runtime.aggregators=auto may start no aggregator"
        raise ConfigError(
            "chaos.aggregator_dies", chaos.aggregator_dies, problem, "set runtime.aggregators to a number"
        )
    if chaos.client_hangs and runtime.task_timeout_s is None:
        problem = "without runtime.task_timeout_s the run would wait forever"
        raise ConfigError("chaos.client_hangs", chaos.client_hangs, problem, "set runtime.task_timeout_s")

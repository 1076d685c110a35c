"""Options of different config sections that do not go together. Every check raises ConfigError."""

from math import ceil
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.experiment.config import ExperimentConfig


def check_rounds(config: "ExperimentConfig") -> None:
    """All that says how a round begins and ends."""
    _selection(config)
    _replacement(config)
    _late(config)
    _asynchrony_is_used(config)
    if config.asynchrony.kind != "none":
        _asynchrony(config)


def _selection(config: "ExperimentConfig") -> None:
    kind, candidates = config.selection.kind, config.selection.candidates
    if kind in ("available", "power_of_choice") and config.training.with_replacement:
        problem = "training.with_replacement=true draws clients twice, and these are the best of several"
        raise ConfigError("selection.kind", kind, problem, "draw without replacement")
    if candidates is None:
        return
    if kind in ("uniform", "samples"):
        problem = f"selection.kind={kind} asks nobody first"
        remedy = "leave it unset, or use available or power_of_choice"
        raise ConfigError("selection.candidates", candidates, problem, remedy)
    cohort = ceil(round(config.fleet.over_selection * config.training.clients_per_round, 9))
    if candidates < cohort:
        problem = f"a cohort of {cohort} is to be found among them"
        raise ConfigError("selection.candidates", candidates, problem, "ask more")
    if candidates > (population := config.fleet.num_clients):
        problem = f"it is more than fleet.num_clients={population}"
        raise ConfigError("selection.candidates", candidates, problem, "ask fewer")


def _replacement(config: "ExperimentConfig") -> None:
    """Tasks of a client drawn twice follow one another, so that none of them has a time of its own."""
    if not config.training.with_replacement:
        return
    fleet = config.fleet
    for key, value, used in (
        ("fleet.over_selection", fleet.over_selection, fleet.over_selection > 1.0),
        ("fleet.deadline_s", fleet.deadline_s, fleet.deadline_s is not None),
    ):
        if used:
            problem = "training.with_replacement=true draws clients twice, and their tasks follow one another"
            raise ConfigError(key, value, problem, "draw without replacement, or leave it unset")


def _late(config: "ExperimentConfig") -> None:
    if config.fleet.late == "keep" and config.fleet.deadline_s is None:
        problem = "no update is late without a deadline"
        raise ConfigError("fleet.late", "keep", problem, "set fleet.deadline_s")


def _asynchrony_is_used(config: "ExperimentConfig") -> None:
    """No option of asynchronous rounds is ignored; late updates that are kept are discounted as theirs are."""
    chosen = config.asynchrony
    discounts = ("staleness", "exponent", "hinge", "max_staleness")
    used = {
        "none": discounts if config.fleet.late == "keep" else (),
        "fedbuff": ("buffer_size", "weight", *discounts),
        "fedasync": ("mixing", *discounts),
    }[chosen.kind]
    for name, field in type(chosen).model_fields.items():
        value = getattr(chosen, name)
        if name != "kind" and name not in used and value != field.default:
            problem = f"asynchrony.kind={chosen.kind} has no use for it"
            raise ConfigError(f"asynchrony.{name}", value, problem, "leave it unset, or choose another kind")


def _asynchrony(config: "ExperimentConfig") -> None:
    kind = config.asynchrony.kind
    synchronous = {
        "fleet.deadline_s": config.fleet.deadline_s is not None,
        "fleet.over_selection": config.fleet.over_selection > 1.0,
        "training.with_replacement": config.training.with_replacement,
        "selection.kind=power_of_choice": config.selection.kind == "power_of_choice",
    }
    for what, asked in synchronous.items():
        if asked:
            problem = f"rounds that wait for nobody do not go with {what}"
            raise ConfigError("asynchrony.kind", kind, problem, "take that back, or use none")
    step = config.asynchrony.buffer_size if kind == "fedbuff" else 1
    if (least := config.runtime.min_clients) > step:
        problem = f"with asynchrony.kind={kind} a round has {step} updates"
        raise ConfigError("runtime.min_clients", least, problem, "demand fewer")


def check_chaos(config: "ExperimentConfig") -> None:
    """Refuse what would end or hold up the command itself, and a task that nobody would end."""
    chaos, runtime = config.chaos, config.runtime
    if runtime.executor == "inprocess":
        for name in ("client_hangs", "client_dies", "driver_dies"):
            if share := getattr(chaos, name):
                problem = "with runtime.executor=inprocess this would hit the command itself"
                raise ConfigError(f"chaos.{name}", share, problem, "use runtime.executor=ray")
    if chaos.client_hangs and runtime.task_timeout_s is None:
        problem = "without runtime.task_timeout_s it is waited for forever"
        raise ConfigError("chaos.client_hangs", chaos.client_hangs, problem, "set the timeout")

"""Checks whether a method supports the rounds, rule, attack and privacy of its experiment.

Every check raises ConfigError.
"""

from collections.abc import Iterator, Mapping

from orchestrator.config.robustness import PrivacyConfig
from orchestrator.errors import ConfigError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.federation.aggregate import AGGREGATORS
from orchestrator.federation.algorithm import Algorithm, AnyAlgorithm
from orchestrator.federation.exchange import MODEL_ITEM
from orchestrator.federation.item_form import ItemForm
from orchestrator.federation.plan import RoundPlan
from orchestrator.federation.privacy.accountant import require_accountant
from orchestrator.sparsity.payload import Bits


def require_support(config: ExperimentConfig, algorithm: AnyAlgorithm) -> None:
    """Reject options of rounds, values, aggregation, attack and privacy that the method does not support."""
    _require_plain_rounds(config, algorithm)
    _require_average(config, algorithm)
    _require_attackable(config, algorithm)
    _require_private(config, algorithm)
    _require_rounding(config, algorithm)
    _require_server_model(config, algorithm)
    _require_last_layer(config, algorithm)


def _require_rounding(config: ExperimentConfig, algorithm: AnyAlgorithm) -> None:
    """Reject values that are rounded at random for methods that compute with the values that the server decodes."""
    if config.wire.value_dtype == "int8" and algorithm.capabilities.exact_values:
        problem = f"{config.algorithm.name} computes with the values that the server decodes, and int8 rounds at random"
        raise ConfigError("wire.value_dtype", "int8", problem, "use float16 or bfloat16")


def _require_server_model(config: ExperimentConfig, algorithm: AnyAlgorithm) -> None:
    """Reject unseen clients for a method without a model that such a client could receive."""
    unseen = config.fleet.unseen_clients
    if unseen and (problem := _without_updates(config, algorithm)) is not None:
        problem = f"{problem}, so that unseen clients would get no trained model"
        raise ConfigError("fleet.unseen_clients", unseen, problem, "use 0, or another method")


def _require_last_layer(config: ExperimentConfig, algorithm: AnyAlgorithm) -> None:
    """Reject a model with several outputs for a method that needs to know the layer of the logits."""
    if config.model.output is not None and algorithm.uses_last_layer:
        problem = f"{config.algorithm.name} takes the model's last weight layer for the layer of the logits"
        remedy = "leave it unset, and use a model that returns only the logits"
        raise ConfigError("model.output", config.model.output, problem, remedy)


def _require_plain_rounds(config: ExperimentConfig, algorithm: AnyAlgorithm) -> None:
    """Reject late and surplus tasks for methods whose rounds have probes, or another cohort than the sampled one."""
    probes = ("plan_probe", "probes clients before training")
    plans = ("plan", "chooses itself which clients train")
    peers = ("neighbours", "sends the models of a client's neighbours as they are when its task starts")
    asynchronous, fleet = config.asynchrony.kind != "none", config.fleet
    if algorithm.capabilities.round_bound:
        problem = f"{config.algorithm.name} sends updates that belong to the mask of their round"
        if asynchronous:
            raise ConfigError("asynchrony.kind", config.asynchrony.kind, problem, "use none")
        if fleet.late == "keep":
            raise ConfigError("fleet.late", "keep", problem, "use drop")
    for is_set, key, value, remedy, hooks in (
        (asynchronous, "asynchrony.kind", config.asynchrony.kind, "use none", (probes, plans, peers)),
        (fleet.late == "keep", "fleet.late", "keep", "use drop", (probes, plans, peers)),
        (fleet.over_selection > 1.0, "fleet.over_selection", fleet.over_selection, "use 1", (plans,)),
    ):
        for hook, action in hooks:
            if is_set and getattr(type(algorithm), hook) is not getattr(Algorithm, hook):
                raise ConfigError(key, value, f"{config.algorithm.name} {action}", remedy)


def _require_average(config: ExperimentConfig, algorithm: AnyAlgorithm) -> None:
    """Reject a robust rule for a method whose updates no average of the server combines."""
    rule = config.aggregation.rule
    if rule == "mean":
        return
    problem = _without_updates(config, algorithm)
    if problem is None and type(algorithm.aggregator()) not in AGGREGATORS.values():
        problem = f"{config.algorithm.name} has an aggregator of its own"
    if problem is not None:
        raise ConfigError("aggregation.rule", rule, problem, "use mean, or another method")


def _require_attackable(config: ExperimentConfig, algorithm: AnyAlgorithm) -> None:
    """Reject an attack that alters updates for a method whose server receives none."""
    kind = config.attack.kind
    if kind in ("none", "label_flip"):
        return
    if (problem := _without_updates(config, algorithm)) is not None:
        raise ConfigError("attack.kind", kind, problem, "use label_flip, or another method")
    layout = algorithm.setting.layout
    if layout.size > layout.num_trainable and (problem := _without_model(config, algorithm)) is not None:
        problem = f"{problem}, so that the attack would alter the model's running statistics"
        remedy = "use label_flip, another method, or a model without running statistics"
        raise ConfigError("attack.kind", kind, problem, remedy)


def _without_updates(config: ExperimentConfig, algorithm: AnyAlgorithm) -> str | None:
    """Why the server averages no updates of the method; None if it does."""
    name = config.algorithm.name
    if type(algorithm).neighbours is not Algorithm.neighbours:
        return f"the clients of {name} average the models of their neighbours themselves"
    (task,) = RoundPlan.of(0, (0,)).tasks
    return None if algorithm.upload_items(task) else f"the clients of {name} send no update"


def _require_private(config: ExperimentConfig, algorithm: AnyAlgorithm) -> None:
    """Reject clipping for a method that sends no model, and noise for one whose clients send more than a model."""
    privacy = config.privacy
    if privacy.clip_norm is None:
        return
    problem = _without_updates(config, algorithm) or _without_model(config, algorithm)
    if problem is not None:
        raise ConfigError(
            "privacy.clip_norm", privacy.clip_norm, problem, "leave it unset, or use another method"
        )
    if not privacy.has_noise:
        return
    require_accountant(privacy.noise_multiplier)
    if (problem := _noise_problem(config, algorithm)) is not None:
        remedy = "use 0, or another method, model or fleet"
        raise ConfigError("privacy.noise_multiplier", privacy.noise_multiplier, problem, remedy)


def _noise_problem(config: ExperimentConfig, algorithm: AnyAlgorithm) -> str | None:
    """Why noise on the average would not protect the clients, or not as the accountant assumes; None if it does."""
    name, setting = config.algorithm.name, algorithm.setting
    if type(algorithm).plan_probe is not Algorithm.plan_probe:
        return f"the answers of the clients of {name} to its probes would have no noise"
    if further := _further_values(config, algorithm):
        return f"the clients of {name} also send {further}, which would have no noise"
    if type(algorithm.aggregator()) not in AGGREGATORS.values():
        return f"{name} has an aggregator of its own"
    if setting.layout.size > setting.layout.num_trainable:
        return "the model has running statistics, and noise can make a variance negative"
    if not setting.population.always_available:
        return "devices of this fleet come and go, so that cohorts are not uniform samples"
    if any(profile.dropout for profile in setting.profiles):
        return "devices of this fleet drop out, so that a round does not average its whole cohort"
    return None


def _without_model(config: ExperimentConfig, algorithm: AnyAlgorithm) -> str | None:
    """Why there is no model to clip in some round; None if every update has one."""
    for items in _items_of_rounds(config, algorithm):
        if MODEL_ITEM not in items:
            return f"the clients of {config.algorithm.name} send {', '.join(items)} and no model"
    return None


def _further_values(config: ExperimentConfig, algorithm: AnyAlgorithm) -> str:
    """The names of the items besides the model that are numbers and not masks; "" without such items."""
    names = {
        name: None
        for items in _items_of_rounds(config, algorithm)
        for name, form in items.items()
        if name != MODEL_ITEM and set(form.kinds) != {Bits}
    }
    return ", ".join(names)


def _items_of_rounds(config: ExperimentConfig, algorithm: AnyAlgorithm) -> Iterator[Mapping[str, ItemForm]]:
    for round_idx in range(config.training.rounds):
        yield algorithm.upload_items(RoundPlan.of(round_idx, (0,)).tasks[0])


def privacy_warnings(algorithm: AnyAlgorithm, privacy: PrivacyConfig) -> tuple[str, ...]:
    """Return a warning for a private run in which clients choose masks."""
    (task,) = RoundPlan.of(0, (0,)).tasks
    chooses = algorithm.capabilities.upload_mask != "received" or len(algorithm.upload_items(task)) > 1
    if not privacy.has_noise or not chooses:
        return ()
    return (
        "clients send masks of their own as they are; privacy/epsilon covers the values and not the masks",
    )

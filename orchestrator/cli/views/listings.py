"""What `sparsefleet list` prints: everything that a config key can name, and the config keys themselves."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel
from rich.console import RenderableType

from orchestrator.cli.views.tables import PlainTable
from orchestrator.config.errors import dotted_keys
from orchestrator.config.section import choices_of
from orchestrator.errors import ConfigError, RequestError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.suggest import suggest

#: long name of each registered average
AGGREGATION_NAMES = {
    "wmean": "sample-weighted mean",
    "covmean": "coverage-weighted mean",
    "dmean": "mean of differences",
    "ipart": "intersection average",
}


def listing(what: str, name: str | None = None, address: str | None = None) -> RenderableType:
    """Return the table of `what`: algorithms, models, datasets, fleets, spaces, presets, studies or keys.

    `name` restricts the list of fleets to one name or file, and the list of keys to keys that start with it. `address`
    is the Ray cluster that the fleets are compared with (None: this machine). Raises RequestError for an unknown list,
    fleet or key, and for an unreachable cluster.
    """
    _check(what, name, address)
    return _fleets(name, address) if what == "fleets" else _table(what, name)


def listing_records(what: str, name: str | None = None) -> list[dict[str, Any]]:
    """Return the rows of a list as plain values; a fleet has its profiles. Raises RequestError as `listing` does."""
    _check(what, name, None)
    if what != "fleets":
        return list(_table(what, name).records)
    from orchestrator.fleet.registry import FLEETS, get_fleet

    fleets = FLEETS.values() if name is None else [get_fleet(name)]
    return [
        {
            "fleet": fleet.name,
            "what it is": fleet.summary,
            "profiles": [
                {"share": share, **asdict(profile)}
                for share, profile in zip(fleet.shares, fleet.profiles, strict=False)
            ],
        }
        for fleet in fleets
    ]


def _check(what: str, name: str | None, address: str | None) -> None:
    if what not in LISTS:
        raise RequestError("WHAT", what, "there is no such list", f"choose one of {', '.join(LISTS)}")
    if name is not None and what not in ("fleets", "keys"):
        raise RequestError("NAME", name, "only the lists of fleets and keys take a name", "leave it out")
    if address is not None and what != "fleets":
        raise RequestError("--address", address, "only the list of fleets takes an address", "leave it out")


def _table(what: str, name: str | None) -> PlainTable:
    return _keys(name) if what == "keys" else _LISTINGS[what]()


def _algorithms() -> PlainTable:
    from orchestrator.experiment.methods import algorithm_names, load_algorithm

    table = PlainTable("algorithm", "what it is", "aggregation", "sparsity", "options")
    for name in algorithm_names():
        method = load_algorithm(name)
        options = [key for key in method.Config.model_fields if key != "name"]
        density, name_of = method.capabilities.default_density, method.capabilities.aggregation
        level = "dense" if density is None else f"{1.0 - density:g}"
        summary = (method.__doc__ or "").strip().splitlines()[0]
        average = f"{AGGREGATION_NAMES[name_of]} ({name_of})"
        table.add(name, summary, average, level, ", ".join(options) or "-")
    return table


def _models() -> PlainTable:
    from orchestrator.models.registry import MODELS

    table = PlainTable("model", "what it is")
    for name, entry in MODELS.items():
        table.add(name, entry.summary)
    return table


def _datasets() -> PlainTable:
    from orchestrator.data.registry import DATASETS

    table = PlainTable("data set", "what it is", "usual model", "data.root")
    for name, entry in DATASETS.items():
        table.add(
            name, entry.summary, entry.default_model or "by shape", "needed" if entry.needs_root else ""
        )
    return table


def _fleets(name: str | None = None, address: str | None = None) -> RenderableType:
    from orchestrator.cli.views.fleet_table import fleet_tables

    if address is None:
        return fleet_tables(name)
    from orchestrator.config.runtime import RuntimeConfig
    from orchestrator.execution.ray_capacity import cluster_capacity
    from orchestrator.runtime.ray_session import ray_session

    with ray_session(RuntimeConfig(address=address)):
        return fleet_tables(name, cluster_capacity())


def _spaces() -> PlainTable:
    from orchestrator.sweeping.space import load_space, space_names, varying_keys

    table = PlainTable("search space", "what it compares", "dimensions", "changed by pbt")
    for name in space_names():
        try:
            space = load_space(name)
        except ConfigError as error:  # a broken space of another package must not hide the other spaces
            table.add(name, str(error), "-", "-")
            continue
        dimensions, mutable = ", ".join(varying_keys(space.dimensions)), ", ".join(space.mutations)
        table.add(name, space.summary, dimensions, mutable or "-")
    return table


def _presets() -> PlainTable:
    from orchestrator.config.presets import PREFIX, preset_names, preset_summary

    table = PlainTable("preset", "what it is")
    for name in preset_names():
        table.add(f"{PREFIX}{name}", preset_summary(name))
    return table


def _studies() -> PlainTable:
    from orchestrator.studies.library import read_study, study_names, study_path

    table = PlainTable("study", "question", "data", "claims")
    for name in study_names():
        study = read_study(study_path(name))
        data = ", ".join(dict.fromkeys(setting.data for setting in study.settings.values()))
        table.add(name, study.question, data, str(len(study.claims)))
    return table


def _keys(prefix: str | None) -> PlainTable:
    """The keys that start with the prefix; a prefix that names a method selects the options of this method too."""
    from orchestrator.experiment.methods import algorithm_names, load_algorithm

    rows = [
        (key, str(default), _described(ExperimentConfig, key, description))
        for key, (description, default) in dotted_keys(ExperimentConfig).items()
        if key != "algorithm.name"
    ]
    rows.append(("algorithm.name", "fedavg", "registry name, path/to/file.py:Class or package.module:Class"))
    for name in algorithm_names():
        options = load_algorithm(name).Config
        for key, (description, default) in dotted_keys(options, "algorithm").items():
            if key != "algorithm.name":
                own = _described(options, key.removeprefix("algorithm."), description)
                rows.append((key, str(default), f"{name}: {own}"))
    table = PlainTable("key", "default", "what it is", whole=1)
    for row in rows:
        if prefix is None or row[0].startswith(prefix):
            table.add(*row)
    if not table.records:
        remedy = suggest(prefix or "", [key for key, *_ in rows], "see `sparsefleet list keys`")
        raise RequestError("NAME", prefix, "no key starts with this", remedy)
    return table


def _described(model: type[BaseModel], key: str, description: str) -> str:
    """The description of a key, followed by its choices."""
    first, _, rest = key.partition(".")
    annotation = model.model_fields[first].annotation
    if rest and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _described(annotation, rest, description)
    choices = choices_of(annotation)
    return f"{description} ({', '.join(choices)})" if choices else description


_LISTINGS: dict[str, Callable[[], PlainTable]] = {
    "algorithms": _algorithms,
    "models": _models,
    "datasets": _datasets,
    "spaces": _spaces,
    "presets": _presets,
    "studies": _studies,
}
#: the names of all lists
LISTS = ("algorithms", "models", "datasets", "fleets", "spaces", "presets", "studies", "keys")

"""What `sparsefleet list` prints: everything that a config key can name, and the config keys themselves."""

from collections.abc import Callable

from rich.console import RenderableType
from rich.table import Table

from orchestrator.cli.views.tables import plain_table
from orchestrator.config.errors import dotted_keys
from orchestrator.errors import ConfigError, RequestError
from orchestrator.experiment.config import ExperimentConfig

#: long name of each registered average
AGGREGATION_NAMES = {
    "wmean": "sample-weighted mean",
    "covmean": "coverage-weighted mean",
    "dmean": "mean of differences",
    "ipart": "intersection average",
}


def listing(what: str, fleet: str | None = None, address: str | None = None) -> RenderableType:
    """Return the table of `what`: algorithms, models, datasets, fleets, spaces, presets, studies or keys.

    `fleet` restricts the list of fleets to one name or file. `address` is the Ray cluster that the fleets are compared
    with (None: this machine). Raises RequestError for an unknown list, an unknown fleet, or an unreachable cluster.
    """
    if what not in _LISTINGS:
        raise RequestError("WHAT", what, "there is no such list", f"choose one of {', '.join(_LISTINGS)}")
    if what == "fleets":
        return _fleets(fleet, address)
    if fleet is not None:
        raise RequestError("FLEET", fleet, "only the list of fleets takes a name", "leave it out")
    if address is not None:
        raise RequestError("--address", address, "only the list of fleets takes an address", "leave it out")
    return _LISTINGS[what]()


def _algorithms() -> Table:
    from orchestrator.experiment.methods import algorithm_names, load_algorithm

    table = plain_table("algorithm", "what it is", "aggregation", "sparsity", "options")
    for name in algorithm_names():
        method = load_algorithm(name)
        options = [key for key in method.Config.model_fields if key != "name"]
        density, name_of = method.capabilities.default_density, method.capabilities.aggregation
        level = "dense" if density is None else f"{1.0 - density:g}"
        summary = (method.__doc__ or "").strip().splitlines()[0]
        average = f"{AGGREGATION_NAMES[name_of]} ({name_of})"
        table.add_row(name, summary, average, level, ", ".join(options) or "-")
    return table


def _models() -> Table:
    from orchestrator.models.registry import MODELS

    table = plain_table("model", "what it is")
    for name, entry in MODELS.items():
        table.add_row(name, entry.summary)
    return table


def _datasets() -> Table:
    from orchestrator.data.registry import DATASETS

    table = plain_table("data set", "what it is", "usual model", "data.root")
    for name, entry in DATASETS.items():
        table.add_row(
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


def _spaces() -> Table:
    from orchestrator.sweeping.space import load_space, space_names, varying_keys

    table = plain_table("search space", "what it compares", "dimensions", "changed by pbt")
    for name in space_names():
        try:
            space = load_space(name)
        except ConfigError as error:  # a broken space of another package must not hide the other spaces
            table.add_row(name, str(error), "-", "-")
            continue
        dimensions, mutable = ", ".join(varying_keys(space.dimensions)), ", ".join(space.mutations)
        table.add_row(name, space.summary, dimensions, mutable or "-")
    return table


def _presets() -> Table:
    from orchestrator.config.presets import PREFIX, preset_names, preset_summary

    table = plain_table("preset", "what it is")
    for name in preset_names():
        table.add_row(f"{PREFIX}{name}", preset_summary(name))
    return table


def _studies() -> Table:
    from orchestrator.studies.library import read_study, study_names, study_path

    table = plain_table("study", "question", "data", "claims")
    for name in study_names():
        study = read_study(study_path(name))
        data = ", ".join(dict.fromkeys(setting.data for setting in study.settings.values()))
        table.add_row(name, study.question, data, str(len(study.claims)))
    return table


def _keys() -> Table:
    from orchestrator.experiment.methods import algorithm_names, load_algorithm

    table = plain_table("key", "default", "what it is")
    for key, (description, default) in dotted_keys(ExperimentConfig).items():
        if key != "algorithm.name":
            table.add_row(key, str(default), description)
    table.add_row("algorithm.name", "fedavg", "registry name, path/to/file.py:Class or package.module:Class")
    for name in algorithm_names():
        for key, (description, default) in dotted_keys(load_algorithm(name).Config, "algorithm").items():
            if key != "algorithm.name":
                table.add_row(key, str(default), f"{name}: {description}")
    return table


_LISTINGS: dict[str, Callable[[], RenderableType]] = {
    "algorithms": _algorithms,
    "models": _models,
    "datasets": _datasets,
    "fleets": _fleets,
    "spaces": _spaces,
    "presets": _presets,
    "studies": _studies,
    "keys": _keys,
}

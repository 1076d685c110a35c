"""The tables of a sweep's configurations that `sparsefleet sweep` prints: one table for each data set."""

from collections import Counter
from collections.abc import Sequence
from math import inf

from rich.console import Group
from rich.table import Table

from orchestrator.analysis.labels import shortened, value_text
from orchestrator.formatting import format_bytes, format_seconds
from orchestrator.sweeping.result import DATA_KEY, ConfigurationResult, SweepResult


def sweep_table(result: SweepResult) -> Group:
    """Return a table of all configurations, best first, with the best configurations marked.

    Each dimension of the sweep is a column. A sweep over several data sets has a table for each of them.
    """
    data_sets = dict.fromkeys(str(each.values.get(DATA_KEY, "")) for each in result.configurations)
    return Group(*(_table(result, name, has_title=len(data_sets) > 1) for name in data_sets))


def _table(result: SweepResult, data_set: str, *, has_title: bool) -> Table:
    shown = [each for each in result.configurations if str(each.values.get(DATA_KEY, "")) == data_set]
    keys = dict.fromkeys(key for each in shown for key in each.values if not (has_title and key == DATA_KEY))
    metrics = list(result.best.objective) if result.best is not None and result.best.objective else []
    has_personal = any(each.personal_accuracy is not None for each in shown)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    if has_title:
        table.title, table.title_justify = f"{DATA_KEY}={data_set}", "left"
    table.add_column("", no_wrap=True)
    for key in keys:
        table.add_column(shortened(key, keys), overflow="fold")
    for heading in _headings(metrics, has_personal=has_personal):
        table.add_column(heading, justify="right", no_wrap=heading in ("upload", "emulated"))
    for configuration in shown:
        table.add_row(
            "best" if configuration.is_best else "",
            *(value_text(configuration.values[key]) if key in configuration.values else "-" for key in keys),
            *_cells(configuration, metrics, has_personal=has_personal),
        )
    return table


def _headings(metrics: Sequence[str], *, has_personal: bool) -> list[str]:
    test = [] if "test_accuracy" in metrics else ["test accuracy"]
    personal = ["personal accuracy"] if has_personal else []
    return [*(name.replace("_", " ") for name in metrics), *test, *personal, "upload", "emulated", "trials"]


def _cells(configuration: ConfigurationResult, metrics: Sequence[str], *, has_personal: bool) -> list[str]:
    upload, emulated_s = configuration.upload_bytes, configuration.emulated_s
    return [
        *(_metric_text(configuration, name) for name in metrics),
        *([] if "test_accuracy" in metrics else [_percent(configuration.accuracy)]),
        *([_percent(configuration.personal_accuracy)] if has_personal else []),
        "-" if upload is None else format_bytes(upload),
        "-" if emulated_s is None else format_seconds(emulated_s),
        _status_counts(configuration),
    ]


def _metric_text(configuration: ConfigurationResult, name: str) -> str:
    if configuration.objective is None:
        return "-"
    value = configuration.objective[name]
    if value == inf:
        return "never"
    if "bytes" in name:
        return format_bytes(value)
    return format_seconds(value) if name.endswith("_s") else _percent(value)


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.2f}%"


def _status_counts(configuration: ConfigurationResult) -> str:
    counts = Counter(configuration.statuses)
    return ", ".join(f"{count} {status}" for status, count in counts.items()) or "not ended"

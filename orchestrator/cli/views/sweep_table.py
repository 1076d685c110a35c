"""The table of a sweep's configurations that `sparsefleet sweep` prints."""

from collections import Counter
from collections.abc import Sequence
from math import inf

from rich.table import Table

from orchestrator.formatting import format_bytes, format_seconds
from orchestrator.sweeping.result import ConfigurationResult, SweepResult


def sweep_table(result: SweepResult, max_rows: int = 20) -> Table:
    """Return a table of the first `max_rows` configurations, best first, with the best configurations marked."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("configuration", overflow="fold", min_width=12)
    metrics = list(result.best.objective) if result.best is not None and result.best.objective else []
    names = [name.replace("_", " ") for name in metrics]
    test = [] if "test_accuracy" in metrics else ["test accuracy"]
    headings = [*names, *test, "upload", "emulated", "trials"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=heading in ("upload", "emulated"))
    for configuration in result.configurations[:max_rows]:
        mark = "best" if configuration.is_best else ""
        table.add_row(mark, configuration.label, *_cells(configuration, metrics))
    if len(result.configurations) > max_rows:
        table.caption = f"the first {max_rows} of {len(result.configurations)}"
    return table


def _cells(configuration: ConfigurationResult, metrics: Sequence[str]) -> list[str]:
    upload, emulated_s = configuration.upload_bytes, configuration.emulated_s
    return [
        *(_metric_text(configuration, name) for name in metrics),
        *([] if "test_accuracy" in metrics else [_percent(configuration.accuracy)]),
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

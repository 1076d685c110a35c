"""Formats the cells of the board from the text in CSV files."""

from orchestrator.analysis.report.tables import EMPTY
from orchestrator.studies.board.stored import Row
from orchestrator.studies.report.text import number_text

_SHARES = ("accuracy", "personal_accuracy")


def outcome_cell(row: Row) -> str:
    """Return mean and half width of the 95 % interval; accuracies in %."""
    if not row["mean"]:
        return EMPTY
    mean, half = float(row["mean"]), float(row["half_width"]) if row["half_width"] else None
    if row["metric"] in _SHARES:
        return f"{100 * mean:.2f}" + ("" if half is None else f" ± {100 * half:.2f}")
    return number_text(mean, row["metric"]) + (
        "" if half is None else f" ± {number_text(half, row['metric'])}"
    )


def cost_cell(row: Row, column: str) -> str:
    """Return the value of a column of costs with its unit."""
    return number_text(float(row[column]), column) if row[column] else EMPTY


def is_shown(row: Row) -> bool:
    """Whether the board has a line for an outcome: it is an accuracy, and has a mean."""
    return row["metric"] in _SHARES and bool(row["mean"])

"""Reads a trace: a CSV or Parquet file with each client's device and the intervals in which it is available.

Columns:

- `client`: any id.
- `profile`: the name of one of the fleet's profiles.
- `flops_per_s`, `uplink_bytes_per_s`, `downlink_bytes_per_s`: the device's own speeds.
- `available_from_s`, `available_until_s`: an interval in emulated seconds. A client has one row for each interval.

Legend: R = rows, N = devices, numbered in the order in which their clients appear.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ConfigError
from orchestrator.fleet.devices import SPEEDS, Devices
from orchestrator.fleet.trace_rows import TraceRows, read_table, rows_by_client
from orchestrator.suggest import suggest

FROM, UNTIL = "available_from_s", "available_until_s"
COLUMNS = ("client", "profile", *SPEEDS, FROM, UNTIL)


def read_trace(file: Path, profiles: Sequence[str] = (), period_s: float | None = None) -> Devices:
    """Read the devices of a trace.

    The rows name these `profiles`. Without profiles, the trace gives every device its own speeds. With `period_s` the
    intervals repeat. Intervals that touch are joined.

    Raises ConfigError, which names the file, row, client, column and value.
    """
    table = read_table(file, COLUMNS)
    _check_columns(file, table.column_names, profiles)
    rows = rows_by_client(file, table)
    first_row = np.unique(rows.client, return_index=True)[1]
    profile = _profile_numbers(rows, profiles)
    speeds = {name: _speed(rows, name) for name in SPEEDS if rows.has(name)}
    if rows.has(FROM):
        first, intervals = _intervals(rows, period_s)
    else:
        first, intervals = None, None
        _require_one_row_each(rows, first_row)
    per_device: dict[str, NDArray[Any]] = {"profile": profile, **speeds}
    for column, values in per_device.items():
        same = values == values[first_row][rows.client]
        problem = "an earlier row of the client has another value"
        rows.require(same, column, problem, "give all rows of the client the same value")
    return Devices(
        profile=profile[first_row],
        speeds=np.stack([speeds[name][first_row] for name in SPEEDS], axis=1) if speeds else None,
        first=first,
        intervals=intervals,
        period_s=period_s,
    )


def _check_columns(file: Path, names: Sequence[str], profiles: Sequence[str]) -> None:
    """Raise ConfigError for unknown, repeated or missing columns."""

    def column_error(problem: str, remedy: str) -> ConfigError:
        return ConfigError(f"{file}: columns", ", ".join(names), problem, remedy)

    for name in names:
        if name not in COLUMNS:
            remedy = suggest(name, COLUMNS, f"use only {', '.join(COLUMNS)}")
            raise column_error(f"a trace has no column {name}", remedy)
    if len(set(names)) < len(names):
        raise column_error("two columns have the same name", "remove one of the two columns")
    if "profile" in names and not profiles:
        remedy = "describe profiles in a YAML fleet with `trace:`, or remove the column profile"
        raise column_error("a trace without a YAML fleet has no profiles", remedy)
    required = _required_columns(set(names), len(profiles))
    if missing := [name for name in COLUMNS if name in required - set(names)]:
        raise column_error(f"missing: {', '.join(missing)}", "add what is missing")


def _required_columns(names: set[str], num_profiles: int) -> set[str]:
    """Return the columns that a trace with the columns `names` must have."""
    required = {"client"}
    if num_profiles > 1:
        required.add("profile")
    if num_profiles == 0 or names & set(SPEEDS):
        required.update(SPEEDS)
    if names & {FROM, UNTIL}:
        required.update((FROM, UNTIL))
    return required


def _profile_numbers(rows: TraceRows, names: Sequence[str]) -> NDArray[np.int32]:
    """Return each row's profile as its position in `names`, int32[R]; all 0 when there is no column `profile`."""
    if not rows.has("profile"):
        return np.zeros(len(rows.client), dtype=np.int32)
    codes, cells = rows.texts("profile")
    numbers = np.array([names.index(name) if name in names else -1 for name in cells], dtype=np.int32)[codes]
    rows.require(numbers >= 0, "profile", "there is no such profile", f"choose one of {', '.join(names)}")
    return numbers


def _speed(rows: TraceRows, column: str) -> NDArray[np.float64]:
    """Return the column as float64[R]. Raises ConfigError for a value that is not above 0."""
    speed = rows.numbers(column)
    rows.require(speed > 0.0, column, "is not above 0", "write the device's speed per second")
    return speed


def _require_one_row_each(rows: TraceRows, first_row: NDArray[np.int64]) -> None:
    """Raise ConfigError for a client with two rows."""
    is_first = np.zeros(len(rows.client), dtype=np.bool_)
    is_first[first_row] = True
    problem = "the client has two rows, and the trace has no intervals"
    rows.require(is_first, "client", problem, f"keep one of the rows, or add {FROM} and {UNTIL}")


def _intervals(rows: TraceRows, period_s: float | None) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return `first` and `intervals` of Devices. Raises ConfigError for invalid or overlapping intervals."""
    start, end = rows.numbers(FROM), rows.numbers(UNTIL)
    rows.require(start >= 0.0, FROM, "is negative", "count the seconds from the start of the run")
    rows.require(end > start, UNTIL, f"is not after {FROM}", "end the interval after its start")
    if period_s is not None:
        problem = f"is beyond period_s={period_s:g}"
        rows.require(
            end <= period_s, UNTIL, problem, "end the interval there, and add a row that starts at 0"
        )
    order = np.lexsort((start, rows.client))
    client, start, end = rows.client[order], start[order], end[order]
    same = client[1:] == client[:-1]
    disjoint = np.ones(len(order), dtype=np.bool_)
    disjoint[order[1:]] = ~same | (start[1:] >= end[:-1])
    problem = "overlaps with another interval of the client"
    rows.require(disjoint, FROM, problem, "combine the two rows into one row")
    touching = same & (start[1:] == end[:-1])
    opens, closes = np.append(True, ~touching), np.append(~touching, True)
    first = np.searchsorted(client[opens], np.arange(len(rows.ids) + 1))
    return first.astype(np.int64), np.stack([start[opens], end[closes]], axis=1)

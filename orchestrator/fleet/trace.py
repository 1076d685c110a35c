"""Traces: CSV or Parquet files that say which device each client has, and when it is there.

Columns: `client` (any id); `profile`, the name of one of the fleet's profiles; `flops_per_s`, `uplink_bytes_per_s` and
`downlink_bytes_per_s`, the device's own speeds; `available_from_s` and `available_until_s`, an interval in emulated
seconds. A client has a row for each of its intervals.

Legend: R = rows, N = devices, numbered as their clients appear.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ConfigError
from orchestrator.fleet.devices import SPEEDS, Devices
from orchestrator.fleet.trace_rows import TraceRows, by_client, read_table
from orchestrator.suggest import suggest

FROM, UNTIL = "available_from_s", "available_until_s"
COLUMNS = ("client", "profile", *SPEEDS, FROM, UNTIL)


def read_trace(file: Path, profiles: Sequence[str] = (), period_s: float | None = None) -> Devices:
    """The devices of a trace whose rows name these profiles; with none () every device has its own speeds.

    With `period_s` the intervals repeat; those that touch are joined. Raises ConfigError: file, row, client, column,
    value and remedy.
    """
    table = read_table(file, COLUMNS)
    _check_columns(file, table.column_names, profiles)
    rows = by_client(file, table)
    first_row = np.unique(rows.client, return_index=True)[1]
    profile = _profiles(rows, profiles)
    speeds = {name: _speed(rows, name) for name in SPEEDS if rows.has(name)}
    if rows.has(FROM):
        first, intervals = _intervals(rows, period_s)
    else:
        first, intervals = None, None
        _require_one_row_each(rows, first_row)
    facts: dict[str, NDArray[Any]] = {"profile": profile, **speeds}
    for column, values in facts.items():
        same = values == values[first_row][rows.client]
        rows.require(same, column, "an earlier row of the client has another", "give it one device")
    return Devices(
        profile=profile[first_row],
        speeds=np.stack([speeds[name][first_row] for name in SPEEDS], axis=1) if speeds else None,
        first=first,
        intervals=intervals,
        period_s=period_s,
    )


def _check_columns(file: Path, names: Sequence[str], profiles: Sequence[str]) -> None:
    def wrong(problem: str, remedy: str) -> ConfigError:
        return ConfigError(f"{file}: columns", ", ".join(names), problem, remedy)

    for name in names:
        if name not in COLUMNS:
            remedy = suggest(name, COLUMNS, f"use only {', '.join(COLUMNS)}")
            raise wrong(f"a trace has no column {name}", remedy)
    if len(set(names)) < len(names):
        raise wrong("a name stands there twice", "drop one of them")
    if "profile" in names and not profiles:
        raise wrong(
            "there are no profiles to name", "describe them in a YAML fleet with `trace:`, or drop it"
        )
    if missing := [name for name in COLUMNS if name in _wanted(set(names), len(profiles)) - set(names)]:
        raise wrong(f"{', '.join(missing)} is missing", "add it")


def _wanted(names: set[str], num_profiles: int) -> set[str]:
    """The columns that a trace needs which has these."""
    wanted = {"client"}
    if num_profiles > 1:
        wanted.add("profile")
    if num_profiles == 0 or names & set(SPEEDS):
        wanted.update(SPEEDS)
    if names & {FROM, UNTIL}:
        wanted.update((FROM, UNTIL))
    return wanted


def _profiles(rows: TraceRows, names: Sequence[str]) -> NDArray[np.int32]:
    """int32[R], the place of each row's profile in `names`; 0 where there is no such column."""
    if not rows.has("profile"):
        return np.zeros(len(rows.client), dtype=np.int32)
    codes, given = rows.texts("profile")
    places = np.array([names.index(name) if name in names else -1 for name in given], dtype=np.int32)[codes]
    rows.require(places >= 0, "profile", "there is no such profile", f"choose one of {', '.join(names)}")
    return places


def _speed(rows: TraceRows, column: str) -> NDArray[np.float64]:
    """float64[R]."""
    speed = rows.numbers(column)
    rows.require(speed > 0.0, column, "is not above 0", "write what the device does in a second")
    return speed


def _require_one_row_each(rows: TraceRows, first_row: NDArray[np.int64]) -> None:
    alone = np.zeros(len(rows.client), dtype=np.bool_)
    alone[first_row] = True
    problem = "the client had a row before, and no intervals tell the two apart"
    rows.require(alone, "client", problem, f"keep one of them, or add {FROM} and {UNTIL}")


def _intervals(rows: TraceRows, period_s: float | None) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """`first` and `intervals` of Devices."""
    start, end = rows.numbers(FROM), rows.numbers(UNTIL)
    rows.require(start >= 0.0, FROM, "is negative", "count from the start of the run")
    rows.require(end > start, UNTIL, f"is not after {FROM}", "end the interval after its start")
    if period_s is not None:
        problem = f"is beyond period_s={period_s:g}"
        rows.require(end <= period_s, UNTIL, problem, "end the interval there, and go on in a row from 0")
    order = np.lexsort((start, rows.client))
    client, start, end = rows.client[order], start[order], end[order]
    same = client[1:] == client[:-1]
    disjoint = np.ones(len(order), dtype=np.bool_)
    disjoint[order[1:]] = ~same | (start[1:] >= end[:-1])
    rows.require(disjoint, FROM, "another interval of the client covers it", "make one row of the two")
    touching = same & (start[1:] == end[:-1])
    opens, closes = np.append(True, ~touching), np.append(~touching, True)
    first = np.searchsorted(client[opens], np.arange(len(rows.ids) + 1))
    return first.astype(np.int64), np.stack([start[opens], end[closes]], axis=1)

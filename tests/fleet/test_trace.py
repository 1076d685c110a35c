"""Traces: the devices that valid rows give, and rejected files, columns and rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.fleet.trace import read_trace

SPEED_COLUMNS = "flops_per_s,uplink_bytes_per_s,downlink_bytes_per_s"
NAMES = ("phone", "box")


def write(folder: Path, *lines: str) -> Path:
    file = folder / "trace.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def rejection(file: Path, profiles: tuple[str, ...] = (), period_s: float | None = None) -> ConfigError:
    """The error for a wrong trace. Its message is one line."""
    with pytest.raises(ConfigError) as caught:
        read_trace(file, profiles, period_s)
    assert "\n" not in str(caught.value)
    return caught.value


def test_devices_are_numbered_in_order_of_appearance(tmp_path: Path) -> None:
    file = write(
        tmp_path, f"client,profile,{SPEED_COLUMNS}", "z,box,1e9,2,3", "007,phone,4,5.5,6", " a , box ,7,8,9"
    )
    devices = read_trace(file, NAMES)
    assert devices.profile.dtype == np.int32
    assert devices.profile.tolist() == [1, 0, 1]
    assert devices.speeds is not None
    assert devices.speeds.tolist() == [[1e9, 2, 3], [4, 5.5, 6], [7, 8, 9]]
    assert (devices.first, devices.intervals, devices.period_s) == (None, None, None)


def test_columns_may_be_in_any_order(tmp_path: Path) -> None:
    file = write(tmp_path, "downlink_bytes_per_s,client,uplink_bytes_per_s,flops_per_s", "3,a,2,1")
    speeds = read_trace(file).speeds
    assert speeds is not None
    assert speeds.tolist() == [[1, 2, 3]]


def test_fleet_of_one_profile_needs_no_profile_column(tmp_path: Path) -> None:
    devices = read_trace(write(tmp_path, "client", "a", "b"), ("phone",))
    assert devices.profile.tolist() == [0, 0]
    assert devices.speeds is None


def test_intervals_are_sorted_and_touching_intervals_are_joined(tmp_path: Path) -> None:
    heading = "client,profile,available_from_s,available_until_s"
    rows = ["a,phone,50,60", "b,box,0,5", "a,phone,20,30", "a,phone,30,40", "b,box,6,7", "a,phone,0,1"]
    devices = read_trace(write(tmp_path, heading, *rows), NAMES, 60.0)
    assert devices.profile.tolist() == [0, 1]
    assert devices.first is not None
    assert devices.intervals is not None
    assert devices.first.tolist() == [0, 3, 5]
    assert devices.intervals.tolist() == [[0, 1], [20, 40], [50, 60], [0, 5], [6, 7]]
    assert devices.period_s == 60.0


@pytest.mark.parametrize("ids", [["z", "a", "z"], [70, 5, 70], [7.5, 1.5, 7.5]])
def test_parquet_and_csv_give_the_same_devices(tmp_path: Path, ids: list[Any]) -> None:
    columns = {
        "client": ids,
        "profile": ["box", "phone", "box"],
        "available_from_s": [0, 0, 9],
        "available_until_s": [4.5, 1.0, 9.5],
    }
    parquet = tmp_path / "trace.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), parquet)
    rows = [",".join(str(cell) for cell in row) for row in zip(*columns.values(), strict=True)]
    csv = write(tmp_path, ",".join(columns), *rows)
    for devices in (read_trace(parquet, NAMES), read_trace(csv, NAMES)):
        assert devices.profile.tolist() == [1, 0]
        assert devices.first is not None
        assert devices.intervals is not None
        assert devices.first.tolist() == [0, 2, 3]
        assert devices.intervals.tolist() == [[0, 4.5], [9, 9.5], [0, 1]]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), min_size=1, max_size=40, unique=True))
def test_intervals_cover_the_rows_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, seconds: list[tuple[int, int]]
) -> None:
    """Every row is an interval of one second; a client's intervals cover exactly the seconds of its rows."""
    rows = [f"{client},{second},{second + 1}" for client, second in seconds]
    folder = tmp_path_factory.mktemp("trace")
    devices = read_trace(write(folder, "client,available_from_s,available_until_s", *rows), ("phone",))
    clients = list(dict.fromkeys(client for client, _ in seconds))
    for number, client in enumerate(clients):
        for second in range(32):
            available = devices.available_until(number, second) > second
            assert available == ((client, second) in seconds)
            if available:
                end = int(devices.available_until(number, second))
                assert all((client, s) in seconds for s in range(second, end))
                assert (client, end) not in seconds


@pytest.mark.parametrize(
    ("heading", "profiles", "problem", "remedy"),
    [
        ("id,profile", NAMES, "no column id", "client, profile, "),
        ("client,profil", NAMES, "no column profil", "'profile'?"),
        ("profile", NAMES, "missing: client", "add"),
        ("client", NAMES, "missing: profile", "add"),
        (f"client,{SPEED_COLUMNS}", NAMES, "missing: profile", "add"),
        ("client", (), "missing: flops_per_s, uplink_bytes_per_s, downlink_bytes_per_s", "add"),
        ("client,profile,flops_per_s", NAMES, "missing: uplink_bytes_per_s, downlink_bytes_per_s", "add"),
        ("client,profile,available_from_s", NAMES, "missing: available_until_s", "add"),
        ("client,profile,available_until_s", NAMES, "missing: available_from_s", "add"),
        ("client,profile,profile", NAMES, "same name", "remove"),
        (f"client,profile,{SPEED_COLUMNS}", (), "no profiles", "YAML fleet"),
    ],
)
def test_wrong_columns_are_rejected(
    tmp_path: Path, heading: str, profiles: tuple[str, ...], problem: str, remedy: str
) -> None:
    file = write(tmp_path, heading, ",".join(["1"] * len(heading.split(","))))
    error = rejection(file, profiles)
    assert (error.field, error.value) == (f"{file}: columns", heading.replace(",", ", "))
    assert problem in error.problem
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("rows", "cell", "value", "problem"),
    [
        (["a,phone,1,1,1,0,1", ",phone,1,1,1,0,1"], "row 2: client", "(nothing)", "no client"),
        (["a,phone,1,1,1,0,1", "b,fone,1,1,1,0,1"], "row 2, client b: profile", "fone", "no such profile"),
        (["a,,1,1,1,0,1"], "row 1, client a: profile", "(nothing)", "no such profile"),
        (["a,phone,fast,1,1,0,1"], "row 1, client a: flops_per_s", "fast", "not a number"),
        (["a,phone,1,,1,0,1"], "row 1, client a: uplink_bytes_per_s", "(nothing)", "not a number"),
        (["a,phone,1,nan,1,0,1"], "row 1, client a: uplink_bytes_per_s", "nan", "not a number"),
        (["a,phone,1,1,inf,0,1"], "row 1, client a: downlink_bytes_per_s", "inf", "not a number"),
        (["a,phone,1,1,1,0,1", "b,phone,0,1,1,0,1"], "row 2, client b: flops_per_s", "0", "above 0"),
        (["a,phone,1,1,1,-1,1"], "row 1, client a: available_from_s", "-1", "negative"),
        (["a,phone,1,1,1,5,5"], "row 1, client a: available_until_s", "5", "not after available_from_s"),
        (["a,phone,1,1,1,9,5"], "row 1, client a: available_until_s", "5", "not after available_from_s"),
        (["a,phone,1,1,1,0,101"], "row 1, client a: available_until_s", "101", "beyond period_s=100"),
        (
            ["a,phone,1,1,1,10,20", "b,phone,1,1,1,15,20", "a,phone,1,1,1,0,10.5"],
            "row 1, client a: available_from_s",
            "10",
            "overlaps",
        ),
        (
            ["a,phone,1,1,1,10,20", "a,phone,1,1,1,10,20"],
            "row 2, client a: available_from_s",
            "10",
            "overlaps",
        ),
        (
            ["a,phone,1,1,1,0,1", "b,box,1,1,1,0,1", "a,box,1,1,1,2,3"],
            "row 3, client a: profile",
            "box",
            "earlier row",
        ),
        (
            ["a,phone,1,1,1,0,1", "a,phone,1,1,2,2,3"],
            "row 2, client a: downlink_bytes_per_s",
            "2",
            "earlier row",
        ),
    ],
)
def test_wrong_rows_are_rejected(
    tmp_path: Path, rows: list[str], cell: str, value: str, problem: str
) -> None:
    file = write(tmp_path, f"client,profile,{SPEED_COLUMNS},available_from_s,available_until_s", *rows)
    error = rejection(file, NAMES, 100.0)
    assert (error.field, error.value) == (f"{file}: {cell}", value)
    assert problem in error.problem


def test_second_row_of_a_client_without_intervals_is_rejected(tmp_path: Path) -> None:
    file = write(tmp_path, "client,profile", "a,phone", "b,box", "a,phone")
    error = rejection(file, NAMES)
    assert (error.field, error.value) == (f"{file}: row 3, client a: client", "a")
    assert "two rows" in error.problem
    assert "available_from_s and available_until_s" in error.remedy


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("client,profile\n", "no rows"),
        ("", "cannot be read"),
        ("client,profile\na\n", "Expected 2 columns"),
    ],
)
def test_csv_without_rows_or_with_short_rows_is_rejected(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(text)
    error = rejection(file, NAMES)
    assert (error.field, error.value) == ("trace", file)
    assert problem in error.problem


def test_file_that_is_not_parquet_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "trace.parquet"
    file.write_text("client,profile\na,phone\n")
    error = rejection(file, NAMES)
    assert (error.field, error.value) == ("trace", file)
    assert "cannot be read" in error.problem


@pytest.mark.parametrize(
    ("column", "cells", "where", "value", "problem"),
    [
        ("client", [{"id": 1}], "column", "client", "struct<id: int64>"),
        ("client", [None], "row 1: client", "(nothing)", "no client"),
        ("flops_per_s", [None], "row 1, client a: flops_per_s", "(nothing)", "not a number"),
    ],
)
def test_parquet_cells_of_another_type_are_rejected(
    tmp_path: Path, column: str, cells: list[Any], where: str, value: str, problem: str
) -> None:
    file = tmp_path / "trace.parquet"
    columns: dict[str, Any] = {"client": ["a"], **{name: [1.0] for name in SPEED_COLUMNS.split(",")}}
    pyarrow.parquet.write_table(pyarrow.table({**columns, column: cells}), file)
    error = rejection(file)
    assert (error.field, error.value) == (f"{file}: {where}", value)
    assert problem in error.problem

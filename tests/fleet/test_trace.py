"""Traces of devices: what their rows come to, and every way in which they can be wrong."""

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


def refusal(file: Path, profiles: tuple[str, ...] = (), period_s: float | None = None) -> str:
    """What the refusal says after the file's name; it is one line and begins with that."""
    with pytest.raises(ConfigError) as caught:
        read_trace(file, profiles, period_s)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith((f"{file}: ", "trace="))
    return line.replace(f"{file}: ", "", 1)


def test_devices_are_numbered_as_their_clients_appear(tmp_path: Path) -> None:
    file = write(
        tmp_path, f"client,profile,{SPEED_COLUMNS}", "z,box,1e9,2,3", "007,phone,4,5.5,6", " a , box ,7,8,9"
    )
    devices = read_trace(file, NAMES)
    assert devices.profile.dtype == np.int32
    assert devices.profile.tolist() == [1, 0, 1]
    assert devices.speeds is not None
    assert devices.speeds.tolist() == [[1e9, 2, 3], [4, 5.5, 6], [7, 8, 9]]
    assert (devices.first, devices.intervals, devices.period_s) == (None, None, None)


def test_columns_come_in_any_order(tmp_path: Path) -> None:
    file = write(tmp_path, "downlink_bytes_per_s,client,uplink_bytes_per_s,flops_per_s", "3,a,2,1")
    speeds = read_trace(file).speeds
    assert speeds is not None
    assert speeds.tolist() == [[1, 2, 3]]


def test_a_fleet_of_one_profile_needs_no_column_for_it(tmp_path: Path) -> None:
    devices = read_trace(write(tmp_path, "client", "a", "b"), ("phone",))
    assert devices.profile.tolist() == [0, 0]
    assert devices.speeds is None


def test_intervals_are_sorted_by_client_and_start_and_joined_where_they_touch(tmp_path: Path) -> None:
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
def test_parquet_says_the_same_as_csv(tmp_path: Path, ids: list[Any]) -> None:
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
def test_any_order_of_rows_gives_every_client_its_seconds(
    tmp_path_factory: pytest.TempPathFactory, seconds: list[tuple[int, int]]
) -> None:
    """Rows of one second each: what a client's intervals cover is just the seconds that it was given."""
    rows = [f"{client},{second},{second + 1}" for client, second in seconds]
    folder = tmp_path_factory.mktemp("trace")
    devices = read_trace(write(folder, "client,available_from_s,available_until_s", *rows), ("phone",))
    clients = list(dict.fromkeys(client for client, _ in seconds))
    for number, client in enumerate(clients):
        for second in range(32):
            there = devices.available_until(number, second) > second
            assert there == ((client, second) in seconds)
            if there:
                end = int(devices.available_until(number, second))
                assert all((client, s) in seconds for s in range(second, end))
                assert (client, end) not in seconds


@pytest.mark.parametrize(
    ("heading", "profiles", "told"),
    [
        ("id,profile", NAMES, r"a trace has no column id; use only client, profile, "),
        ("client,profil", NAMES, r"a trace has no column profil; did you mean 'profile'\?"),
        ("profile", NAMES, "client is missing; add it"),
        ("client", NAMES, "profile is missing"),
        (f"client,{SPEED_COLUMNS}", NAMES, "profile is missing"),
        ("client", (), "flops_per_s, uplink_bytes_per_s, downlink_bytes_per_s is missing"),
        ("client,profile,flops_per_s", NAMES, "uplink_bytes_per_s, downlink_bytes_per_s is missing"),
        ("client,profile,available_from_s", NAMES, "available_until_s is missing"),
        ("client,profile,available_until_s", NAMES, "available_from_s is missing"),
        ("client,profile,profile", NAMES, "a name stands there twice"),
        (
            f"client,profile,{SPEED_COLUMNS}",
            (),
            "there are no profiles to name; describe them in a YAML fleet",
        ),
    ],
)
def test_columns_that_are_missing_or_unknown(
    tmp_path: Path, heading: str, profiles: tuple[str, ...], told: str
) -> None:
    file = write(tmp_path, heading, ",".join(["1"] * len(heading.split(","))))
    line = refusal(file, profiles)
    assert line.startswith(f"columns={heading.replace(',', ', ')}: ")
    with pytest.raises(ConfigError, match=told):
        read_trace(file, profiles)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (
            ["a,phone,1,1,1,0,1", ",phone,1,1,1,0,1"],
            "row 2: client=(nothing): the row has no client; name it",
        ),
        (
            ["a,phone,1,1,1,0,1", "b,fone,1,1,1,0,1"],
            "row 2, client b: profile=fone: there is no such profile; choose one of phone, box",
        ),
        (
            ["a,,1,1,1,0,1"],
            "row 1, client a: profile=(nothing): there is no such profile; choose one of phone, box",
        ),
        (
            ["a,phone,fast,1,1,0,1"],
            "row 1, client a: flops_per_s=fast: is not a number; write one in every row",
        ),
        (
            ["a,phone,1,,1,0,1"],
            "row 1, client a: uplink_bytes_per_s=(nothing): is not a number; write one in every row",
        ),
        (
            ["a,phone,1,nan,1,0,1"],
            "row 1, client a: uplink_bytes_per_s=nan: is not a number; write one in every row",
        ),
        (
            ["a,phone,1,1,inf,0,1"],
            "row 1, client a: downlink_bytes_per_s=inf: is not a number; write one in every row",
        ),
        (
            ["a,phone,1,1,1,0,1", "b,phone,0,1,1,0,1"],
            "row 2, client b: flops_per_s=0: is not above 0; write what the device does in a second",
        ),
        (
            ["a,phone,1,1,1,-1,1"],
            "row 1, client a: available_from_s=-1: is negative; count from the start of the run",
        ),
        (
            ["a,phone,1,1,1,5,5"],
            "row 1, client a: available_until_s=5: is not after available_from_s; end the interval after its start",
        ),
        (
            ["a,phone,1,1,1,9,5"],
            "row 1, client a: available_until_s=5: is not after available_from_s; end the interval after its start",
        ),
        (
            ["a,phone,1,1,1,0,101"],
            "row 1, client a: available_until_s=101: is beyond period_s=100; "
            "end the interval there, and go on in a row from 0",
        ),
        (
            ["a,phone,1,1,1,10,20", "b,phone,1,1,1,15,20", "a,phone,1,1,1,0,10.5"],
            "row 1, client a: available_from_s=10: another interval of the client covers it; make one row of the two",
        ),
        (
            ["a,phone,1,1,1,10,20", "a,phone,1,1,1,10,20"],
            "row 2, client a: available_from_s=10: another interval of the client covers it; make one row of the two",
        ),
        (
            ["a,phone,1,1,1,0,1", "b,box,1,1,1,0,1", "a,box,1,1,1,2,3"],
            "row 3, client a: profile=box: an earlier row of the client has another; give it one device",
        ),
        (
            ["a,phone,1,1,1,0,1", "a,phone,1,1,2,2,3"],
            "row 2, client a: downlink_bytes_per_s=2: an earlier row of the client has another; give it one device",
        ),
    ],
)
def test_rows_that_are_wrong(tmp_path: Path, rows: list[str], told: str) -> None:
    file = write(tmp_path, f"client,profile,{SPEED_COLUMNS},available_from_s,available_until_s", *rows)
    assert refusal(file, NAMES, 100.0) == told


def test_a_client_twice_without_intervals(tmp_path: Path) -> None:
    file = write(tmp_path, "client,profile", "a,phone", "b,box", "a,phone")
    assert refusal(file, NAMES) == (
        "row 3, client a: client=a: the client had a row before, and no intervals tell the two apart; "
        "keep one of them, or add available_from_s and available_until_s"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("client,profile\n", "it has no rows"),
        ("", "cannot be read"),
        ("client,profile\na\n", "Expected 2 columns"),
    ],
)
def test_a_csv_without_rows_or_out_of_shape(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(text)
    assert told in refusal(file, NAMES)


def test_a_parquet_file_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "trace.parquet"
    file.write_text("client,profile\na,phone\n")
    with pytest.raises(ConfigError, match=r"^trace=.*trace\.parquet: cannot be read \("):
        read_trace(file, NAMES)


@pytest.mark.parametrize(
    ("column", "cells", "told"),
    [
        ("client", [{"id": 1}], "column=client: it holds struct<id: int64>; write numbers or text"),
        ("client", [None], "row 1: client=(nothing): the row has no client; name it"),
        (
            "flops_per_s",
            [None],
            "row 1, client a: flops_per_s=(nothing): is not a number; write one in every row",
        ),
    ],
)
def test_parquet_cells_of_another_kind(tmp_path: Path, column: str, cells: list[Any], told: str) -> None:
    file = tmp_path / "trace.parquet"
    columns: dict[str, Any] = {"client": ["a"], **{name: [1.0] for name in SPEED_COLUMNS.split(",")}}
    pyarrow.parquet.write_table(pyarrow.table({**columns, column: cells}), file)
    assert refusal(file) == told

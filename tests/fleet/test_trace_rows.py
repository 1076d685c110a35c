"""The rows of a trace: clients, numbers and texts of its cells, and errors that name the row."""

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from orchestrator.errors import ConfigError
from orchestrator.fleet.trace_rows import TraceRows, read_table, rows_by_client
from tests.support.errors import rejects


def _rows(folder: Path, *lines: str) -> TraceRows:
    file = folder / "trace.csv"
    file.write_text("\n".join(lines) + "\n")
    return rows_by_client(file, read_table(file, ("client", "profile")))


def test_clients_are_numbered_in_order_of_appearance(tmp_path: Path) -> None:
    rows = _rows(tmp_path, "client,x", "007,1", "b,2", " 007 ,3")
    assert rows.client.tolist() == [0, 1, 0]
    assert list(rows.ids) == ["007", "b"]


def test_columns_that_the_file_has(tmp_path: Path) -> None:
    rows = _rows(tmp_path, "client,x", "a,1")
    assert rows.has("client", "x")
    assert not rows.has("x", "y")


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [(("1", "2"), [1.0, 2.0]), (("1.5", "-2e3"), [1.5, -2000.0]), ((" 1 ", '" 2"'), [1.0, 2.0])],
)
def test_numbers_are_read_from_numeric_and_text_cells(
    tmp_path: Path, cells: tuple[str, str], numbers: list[float]
) -> None:
    rows = _rows(tmp_path, "client,x", f"a,{cells[0]}", f"b,{cells[1]}")
    assert rows.numbers("x").tolist() == numbers


@pytest.mark.parametrize(("cell", "value"), [("fast", "fast"), ("inf", None), ("", "(nothing)")])
def test_first_cell_that_is_no_number_is_rejected_with_its_row_and_client(
    tmp_path: Path, cell: str, value: object
) -> None:
    rows = _rows(tmp_path, "client,x", "a,1", f"b,{cell}", "c,also")
    with pytest.raises(ConfigError) as caught:
        rows.numbers("x")
    assert caught.value.field == f"{tmp_path / 'trace.csv'}: row 2, client b: x"
    assert value is None or caught.value.value == value


def test_texts_are_codes_and_distinct_values(tmp_path: Path) -> None:
    rows = _rows(tmp_path, "client,profile", "a,phone", "b,box", "c,", "d, phone ")
    codes, texts = rows.texts("profile")
    assert codes.tolist() == [0, 1, 2, 0]
    assert texts == ["phone", "box", ""]


def test_first_invalid_row_is_rejected_with_its_value(tmp_path: Path) -> None:
    rows = _rows(tmp_path, "client,x", "a,1", "b,5", "a,7")
    rows.require(np.array([True, True, True]), "x", "is too large", "use less")
    with rejects(f"{tmp_path / 'trace.csv'}: row 3, client a: x", 7):
        rows.require(np.array([True, True, False]), "x", "is too large", "use less")


def test_row_without_a_client_is_rejected(tmp_path: Path) -> None:
    with rejects(f"{tmp_path / 'trace.csv'}: row 2: client", "(nothing)"):
        _rows(tmp_path, "client,x", "a,1", ",2")


def test_parquet_and_csv_give_the_same_rows(tmp_path: Path) -> None:
    file = tmp_path / "trace.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"client": ["a", "b", "a"], "x": [1.0, 2.0, 3.0]}), file)
    packed = rows_by_client(file, read_table(file, ()))
    plain = _rows(tmp_path, "client,x", "a,1", "b,2", "a,3")
    assert packed.client.tolist() == plain.client.tolist()
    assert packed.numbers("x").tolist() == plain.numbers("x").tolist()


@pytest.mark.parametrize("content", [None, "", "client,x\n"])
def test_file_without_rows_or_that_cannot_be_read_is_rejected(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "trace.csv"
    if content is not None:
        file.write_text(content)
    with rejects("trace", file):
        read_table(file, ("client",))

"""The table and the CSV file of a retimed run."""

import csv
import io
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.errors import RequestError
from orchestrator.retiming import RetimedRound, RetimedRun, print_report, write_csv


def retimed_run(num_rounds: int) -> RetimedRun:
    """Each round takes 1/3 s on `phones` and 7 s on `boards`; every second round is evaluated."""
    rounds = (
        RetimedRound(
            round_idx=r,
            accuracy=0.75 if r % 2 else None,
            personal_accuracy=0.5 if r % 2 else None,
            emulated_s=1 / 3,
            emulated_s_total=(r + 1) / 3,
            retimed_s=7.0,
            retimed_s_total=7.0 * (r + 1),
        )
        for r in range(num_rounds)
    )
    return RetimedRun(run_id="some-run", fleet="phones", other_fleet="boards", rounds=tuple(rounds))


def printed(run: RetimedRun) -> list[str]:
    out = io.StringIO()
    print_report(Console(file=out, width=120), run)
    return out.getvalue().splitlines()


def test_report_shows_all_rounds_of_a_short_run() -> None:
    heading, *rows, empty, total = printed(retimed_run(3))
    assert heading.split() == [
        "round_idx",
        "accuracy",
        "personal",
        "on",
        "phones",
        "total",
        "on",
        "boards",
        "total",
    ]
    assert [row.split() for row in rows] == [
        ["0", "-", "-", "0.333", "s", "0.333", "s", "7", "s", "7", "s"],
        ["1", "75.00%", "50.00%", "0.333", "s", "0.667", "s", "7", "s", "14", "s"],
        ["2", "-", "-", "0.333", "s", "1", "s", "7", "s", "21", "s"],
    ]
    assert empty == ""
    assert re.findall(r"some-run|\d+ s on \w+|factor \d+", total) == [
        "some-run",
        "1 s on phones",
        "21 s on boards",
        "factor 21",
    ]


@pytest.mark.parametrize("num_rounds", [21, 400, 1001])
def test_report_shows_twenty_rounds_of_a_long_run(num_rounds: int) -> None:
    _, *rows, _, total, note = printed(retimed_run(num_rounds))
    shown = [int(row.split()[0]) for row in rows]
    assert len(shown) == len(set(shown)) == 20
    assert (shown, shown[0], shown[-1]) == (sorted(shown), 0, num_rounds - 1)
    gaps = {b - a for a, b in pairwise(shown)}
    assert max(gaps) - min(gaps) <= 1
    assert "factor 21)" in total
    assert f"20 of {num_rounds} rounds" in note
    assert "--out" in note


def test_report_names_the_availability_limit_of_the_other_fleet() -> None:
    run = retimed_run(1)
    *without, last = printed(replace(run, availability_limit="some devices sleep"))
    assert without == printed(run)
    assert "boards" in last
    assert "some devices sleep" in last


def test_report_of_a_run_with_one_round() -> None:
    assert len(printed(retimed_run(1))) == 4


def test_csv_has_every_round_with_full_precision(tmp_path: Path) -> None:
    path = tmp_path / "not" / "yet" / "rounds.csv"
    write_csv(retimed_run(30), path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "round_idx",
        "accuracy",
        "personal_accuracy",
        "emulated_s",
        "emulated_s_total",
        "retimed_s",
        "retimed_s_total",
    ]
    assert [int(row["round_idx"]) for row in rows] == list(range(30))
    assert (rows[0]["accuracy"], rows[1]["accuracy"], rows[1]["personal_accuracy"]) == ("", "0.75", "0.5")
    assert float(rows[0]["emulated_s"]) == 1 / 3
    assert float(rows[29]["retimed_s_total"]) == 210.0


def test_write_csv_rejects_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "rounds.csv"):
        with pytest.raises(RequestError) as caught:
            write_csv(retimed_run(1), place)
        assert (caught.value.field, caught.value.value) == ("--out", place)

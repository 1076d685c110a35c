"""A retimed run as people and as programs read it."""

import csv
import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.errors import RequestError
from orchestrator.retiming import RetimedRound, Retiming, print_report, write_csv


def retiming_of(num_rounds: int) -> Retiming:
    """Each round takes 1/3 s, and 7 s on the other fleet; every second round is evaluated."""
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
    return Retiming(run_id="some-run", fleet="phones", other="boards", rounds=tuple(rounds))


def printed(retiming: Retiming) -> list[str]:
    out = io.StringIO()
    print_report(Console(file=out, width=120), retiming)
    return out.getvalue().splitlines()


def test_a_short_run_is_shown_whole() -> None:
    heading, *rows, empty, total = printed(retiming_of(3))
    assert heading.split() == [
        "round_idx",
        "accuracy",
        "personal",
        "on",
        "phones",
        "so",
        "far",
        "on",
        "boards",
        "so",
        "far",
    ]
    assert [row.split() for row in rows] == [
        ["0", "-", "-", "0.333", "s", "0.333", "s", "7", "s", "7", "s"],
        ["1", "75.00%", "50.00%", "0.333", "s", "0.667", "s", "7", "s", "14", "s"],
        ["2", "-", "-", "0.333", "s", "1", "s", "7", "s", "21", "s"],
    ]
    assert (empty, total) == ("", "some-run: 1 s on phones, 21 s on boards, 21 times as long.")


@pytest.mark.parametrize("num_rounds", [21, 400, 1001])
def test_of_a_long_run_twenty_rounds_are_shown(num_rounds: int) -> None:
    _, *rows, _, total, note = printed(retiming_of(num_rounds))
    shown = [int(row.split()[0]) for row in rows]
    assert len(shown) == len(set(shown)) == 20
    assert (shown, shown[0], shown[-1]) == (sorted(shown), 0, num_rounds - 1)
    gaps = {b - a for a, b in pairwise(shown)}
    assert max(gaps) - min(gaps) <= 1
    assert "21 times as long" in total
    assert note == f"20 of {num_rounds} rounds are shown; --out FILE.csv has all."


def test_what_is_taken_for_granted_is_said() -> None:
    retiming = replace(retiming_of(1), although="some of them sleep")
    assert (
        printed(retiming)[-1]
        == "Devices of boards are taken to be there for every task, although some of them sleep."
    )


def test_one_round_is_a_run_too() -> None:
    assert len(printed(retiming_of(1))) == 4


def test_the_csv_has_every_round_and_every_digit(tmp_path: Path) -> None:
    path = tmp_path / "not" / "yet" / "rounds.csv"
    write_csv(retiming_of(30), path)
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


def test_a_place_for_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "rounds.csv"):
        with pytest.raises(RequestError, match=r"^--out=.*cannot be written .*name a file that can"):
            write_csv(retiming_of(1), place)

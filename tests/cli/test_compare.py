"""`compare`: finished runs beside one another, from the command line."""

import csv
import json
from pathlib import Path

import pytest

from tests.support.command import Command


@pytest.fixture
def two_runs(command: Command, quick: tuple[str, ...], storage: Path) -> Path:
    """The storage of a run of FedAvg and one of FedDST."""
    for method in ("fedavg", "feddst"):
        assert command("run", "-q", *quick, f"algorithm.name={method}").code == 0
    return storage


def test_a_table_for_people(command: Command, two_runs: Path) -> None:
    ended = command("compare", "--storage", two_runs, "--baseline", "fedavg", "--to-accuracy", "0.05")
    assert (ended.code, ended.err) == (0, "")
    assert "fedavg" in ended.out
    assert "feddst" in ended.out
    assert "to 5%" in ended.out


def test_csv_and_json_for_programs_agree(command: Command, two_runs: Path) -> None:
    as_csv = command("compare", "--storage", two_runs, "--format", "csv")
    as_json = command("compare", "--storage", two_runs, "--format", "json")
    assert (as_csv.code, as_csv.err, as_json.code, as_json.err) == (0, "", 0, "")
    lines = list(csv.DictReader(as_csv.out.splitlines()))
    found = json.loads(as_json.out)["configurations"]
    assert [line["configuration"] for line in lines] == [one["label"] for one in found]
    summaries = [json.loads(file.read_text()) for file in two_runs.glob("*/summary.json")]
    accuracies = {summary["algorithm"]: summary["accuracy"] for summary in summaries}
    assert {line["method"]: float(line["accuracy_mean"]) for line in lines} == pytest.approx(accuracies)


def test_a_report_to_look_at(command: Command, two_runs: Path, tmp_path: Path) -> None:
    ended = command("compare", "--storage", two_runs, "--out", tmp_path / "report")
    assert ended.code == 0
    assert f"report: {tmp_path / 'report' / 'report.html'}" in ended.err
    names = {"report.html", "curves.png", "pareto.png", "comparison.csv", "comparison.json"}
    assert {file.name for file in (tmp_path / "report").iterdir()} == names


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--format", "xml"], "error: --format=xml: there is no such choice; choose one of table, csv, json"),
        (["--metric", "loss"], "error: --metric=loss: there is no such choice; choose one of accuracy, "),
        (["--cost", "money"], "error: --cost=money: there is no such choice; choose one of upload, "),
        (["--tag", "method"], "error: --tag=method: this is no KEY=VALUE; write --tag method=feddst"),
        (["--at-upload", "much"], "error: --at-upload=much: this is no number of bytes; write 5MB"),
        (["--at-upload", "0"], "error: --at-upload=0.0: "),
        (["--to-accuracy", "90"], "error: --to-accuracy=90.0: "),
        (["--baseline", "fedaw"], "error: --baseline=fedaw: "),
        (["fedaw-*"], "error: RUN=fedaw-*: "),
        (["--sweep", "none"], "error: --sweep=none: "),
    ],
)
def test_bad_input_gets_one_line(command: Command, finished: Path, words: list[str], line: str) -> None:
    ended = command("compare", "--storage", finished.parent, *words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(line)
    assert ended.err.count("\n") == 1

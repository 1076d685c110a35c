"""`compare` of finished runs: table, CSV, JSON and report, and the requests that it rejects."""

import csv
import json
from pathlib import Path

import pytest

from tests.support.command import Command


@pytest.fixture
def two_runs(command: Command, quick: tuple[str, ...], storage: Path) -> Path:
    """A storage folder with a run of FedAvg and a run of FedDST."""
    for method in ("fedavg", "feddst"):
        assert command("run", "-q", *quick, f"algorithm.name={method}").code == 0
    return storage


def test_compare_prints_a_table(command: Command, two_runs: Path) -> None:
    result = command("compare", "--storage", two_runs, "--baseline", "fedavg", "--to-accuracy", "0.05")
    assert (result.code, result.err) == (0, "")
    assert "fedavg" in result.out
    assert "feddst" in result.out
    assert "to 5%" in result.out


def test_csv_and_json_have_the_same_numbers(command: Command, two_runs: Path) -> None:
    as_csv = command("compare", "--storage", two_runs, "--format", "csv")
    as_json = command("compare", "--storage", two_runs, "--format", "json")
    assert command("compare", "--storage", two_runs, "--json") == as_json
    assert (as_csv.code, as_csv.err, as_json.code, as_json.err) == (0, "", 0, "")
    lines = list(csv.DictReader(as_csv.out.splitlines()))
    found = json.loads(as_json.out)["configurations"]
    assert [line["configuration"] for line in lines] == [one["label"] for one in found]
    summaries = [json.loads(file.read_text()) for file in two_runs.glob("*/summary.json")]
    accuracies = {summary["algorithm"]: summary["accuracy"] for summary in summaries}
    assert {line["method"]: float(line["accuracy_mean"]) for line in lines} == pytest.approx(accuracies)


def test_out_writes_a_report(command: Command, two_runs: Path, tmp_path: Path) -> None:
    result = command("compare", "--storage", two_runs, "--out", tmp_path / "report")
    assert result.code == 0
    assert f"report: {tmp_path / 'report' / 'report.html'}" in result.err
    figures = {
        f"{name}.{ending}" for name in ("curves", "pareto", "fairness") for ending in ("png", "pdf", "svg")
    }
    names = {"report.html", "comparison.csv", "comparison.json", *figures}
    assert {file.name for file in (tmp_path / "report").iterdir()} == names


@pytest.mark.parametrize(
    ("arguments", "field_and_value"),
    [
        (["--format", "xml"], "--format=xml"),
        (["--metric", "loss"], "--metric=loss"),
        (["--cost", "money"], "--cost=money"),
        (["--tag", "method"], "--tag=method"),
        (["--at-upload", "much"], "--at-upload=much"),
        (["--at-upload", "0"], "--at-upload=0.0"),
        (["--to-accuracy", "90"], "--to-accuracy=90.0"),
        (["--baseline", "fedaw"], "--baseline=fedaw"),
        (["fedaw-*"], "RUN=fedaw-*"),
        (["--sweep", "none"], "--sweep=none"),
    ],
)
def test_compare_rejects_an_invalid_request_in_one_line(
    command: Command, finished: Path, arguments: list[str], field_and_value: str
) -> None:
    result = command("compare", "--storage", finished.parent, *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.error_line.startswith(f"error: {field_and_value}: ")

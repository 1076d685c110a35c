"""`compare` of finished runs: table, CSV, JSON and report, and the requests that it rejects."""

import csv
import json
import re
from pathlib import Path

import pytest

from tests.support.command import Command
from tests.support.run_folders import write_run


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


@pytest.fixture
def two_data_sets(tmp_path: Path) -> Path:
    """A storage folder with two runs on digits and one run on MNIST."""
    storage = tmp_path / "mixed"
    for name, data, method in (
        ("a", "digits", "fedavg"),
        ("b", "digits", "feddst"),
        ("c", "mnist", "fedavg"),
    ):
        write_run(storage / name, f"data.name={data}", method=method)
    return storage


def test_each_data_set_has_a_table_and_a_report(
    command: Command, two_data_sets: Path, tmp_path: Path
) -> None:
    result = command("compare", "--storage", two_data_sets, "--out", tmp_path / "report")
    assert result.code == 0, result.err
    parts = re.split(r"^data\.name=(\w+)$", result.out, flags=re.MULTILINE)[1:]
    assert dict(zip(parts[::2], ["feddst" in part for part in parts[1::2]], strict=True)) == {
        "digits": True,
        "mnist": False,
    }
    for name in ("digits", "mnist"):
        assert f"report: {tmp_path / 'report' / name / 'report.html'}" in result.err
        assert (tmp_path / "report" / name / "comparison.csv").is_file()


def test_json_of_several_data_sets_has_an_object_for_each(command: Command, two_data_sets: Path) -> None:
    found = json.loads(command("compare", "--storage", two_data_sets, "--json").out)["data_sets"]
    assert {name: len(each["configurations"]) for name, each in found.items()} == {"digits": 2, "mnist": 1}


def test_csv_of_several_data_sets_is_rejected_with_a_remedy_that_works(
    command: Command, two_data_sets: Path
) -> None:
    arguments = ("compare", "--storage", two_data_sets, "--format", "csv")
    assert command(*arguments).error_line.endswith("add --tag data=digits")
    assert len(command(*arguments, "--tag", "data=digits").out.splitlines()) == 3


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

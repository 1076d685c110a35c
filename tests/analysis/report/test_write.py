"""The folder of a report."""

import csv
import json
from pathlib import Path

import pytest

from orchestrator.analysis import Comparison, to_json, write_report
from orchestrator.errors import RequestError
from tests.support.comparisons import HOSTILE, report_with_hostile_name


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, list[Path]]:
    return report_with_hostile_name(tmp_path_factory.mktemp("runs"))


def test_report_folder_has_all_files(report: tuple[Comparison, list[Path]]) -> None:
    comparison, paths = report
    names = ["report.html", "comparison.csv", "comparison.json"]
    figures = [f"{name}.{ending}" for name in ("curves", "pareto") for ending in ("png", "pdf", "svg")]
    assert [path.name for path in paths] == names + figures, "no run has recorded its clients' accuracies"
    with paths[1].open(newline="") as file:
        assert [line["method"] for line in csv.DictReader(file)] == [HOSTILE, "fedavg"]
    assert paths[2].read_text() == to_json(comparison)
    assert json.loads(paths[2].read_text())["configurations"][0]["label"] == HOSTILE


def test_unwritable_folder_is_rejected(report: tuple[Comparison, list[Path]], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError) as caught:
        write_report(report[0], tmp_path / "file" / "report")
    assert (caught.value.field, caught.value.value) == ("--out", tmp_path / "file" / "report")

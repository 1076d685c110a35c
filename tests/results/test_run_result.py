"""The result of a run: its summary, tables, plot and texts."""

import json
from pathlib import Path

import pytest

from orchestrator.errors import CheckpointError, RequestError
from orchestrator.results.run_result import RunResult
from orchestrator.storage.summary import RunSummary
from tests.support.run_folders import records, write_run
from tests.support.sweeps import summary


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "fedavg-1", rounds=records(0.25, 0.5), interrupted=None)


def test_result_has_the_fields_of_its_summary(folder: Path) -> None:
    found = RunResult.from_summary(summary("fedavg-1"), folder)
    assert found.to_dict() == summary("fedavg-1").to_dict()
    assert (found.accuracy, found.folder) == (0.5, folder)
    assert json.loads(found.to_json())["run_id"] == "fedavg-1"


def test_unfinished_run_is_summarised_from_its_rounds(folder: Path) -> None:
    found = RunResult.load(folder)
    assert (found.num_rounds, found.accuracy, found.upload_bytes_total) == (2, 0.5, 200)
    assert (found.interrupted, found.params_sha256) == (True, None)
    assert found.config.training.rounds == 20
    assert "interrupted" in repr(found)


def test_summary_is_used_unless_the_run_has_more_rounds(folder: Path) -> None:
    written = RunSummary(**{**summary("fedavg-1", accuracy=0.125).to_dict(), "num_rounds": 2})
    (folder / "summary.json").write_text(written.to_json())
    assert RunResult.load(folder).accuracy == 0.125
    (folder / "summary.json").write_text(summary("fedavg-1", accuracy=0.125).to_json())
    assert RunResult.load(folder).accuracy == 0.5, "the summary has another number of rounds"


def test_damaged_summary_is_an_error(folder: Path) -> None:
    (folder / "summary.json").write_text("{}")
    with pytest.raises(CheckpointError):
        RunResult.load(folder)


def test_tables_and_plot(folder: Path) -> None:
    found = RunResult.load(folder)
    assert found.to_dataframe()["eval/accuracy"].tolist() == [0.25, 0.5]
    (line,) = found.plot(x="comm/upload_bytes_total").lines
    assert list(line.get_xdata()) == [100.0, 200.0]
    with pytest.raises(RequestError) as caught:
        found.to_dataframe("trials")  # type: ignore[arg-type]
    assert caught.value.value == "trials"


def test_texts_name_the_run_and_its_results(folder: Path) -> None:
    found = RunResult.from_summary(summary("fedavg-1", upload=2_500_000, emulated_s=75.0), folder)
    for text in (repr(found), found._repr_html_()):
        assert "fedavg-1 (4 rounds)" in text
        for part in ("50.00%", "2.5 MB", "1:15", str(folder)):
            assert part in text
    unmeasured = RunResult.from_summary(summary("fedavg-1", accuracy=None), folder)
    assert "accuracy not measured" in repr(unmeasured)

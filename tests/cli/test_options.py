"""Options and hints that several commands share."""

from pathlib import Path

import pytest

from orchestrator.cli.options import (
    check_summary,
    mlflow_ui_hint,
    require_choice,
    write_summary,
)
from orchestrator.errors import RequestError, SparsefleetError
from orchestrator.experiment.loading import load_config
from orchestrator.tracking.presentation.pages import runs_page


def test_summary_may_be_a_file_but_no_folder(tmp_path: Path) -> None:
    check_summary(None)
    check_summary(tmp_path / "new.json")
    with pytest.raises(RequestError) as caught:
        check_summary(tmp_path)
    assert (caught.value.field, caught.value.value) == ("--summary", tmp_path)


def test_value_that_is_no_choice_is_rejected() -> None:
    require_choice("--on-interrupt", "stop", ("ask", "stop"))
    with pytest.raises(RequestError) as caught:
        require_choice("--on-interrupt", "Stop", ("ask", "stop"))
    assert (caught.value.field, caught.value.value) == ("--on-interrupt", "Stop")


def test_summary_is_written_with_its_folders(tmp_path: Path) -> None:
    write_summary(tmp_path / "a" / "b.json", '{"accuracy": 0.5}')
    assert (tmp_path / "a" / "b.json").read_text() == '{"accuracy": 0.5}\n'


def test_summary_that_cannot_be_written_is_no_error_of_the_request(tmp_path: Path) -> None:
    """The run itself is complete, so the exit code is 1 and not 2."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SparsefleetError, match=str(tmp_path / "file" / "s.json")) as caught:
        write_summary(tmp_path / "file" / "s.json", "{}")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("overrides", "experiment_id", "hint"),
    [
        (["tracking.enabled=false"], "3", None),
        (["runtime.storage=/my runs"], "3", "sparsefleet ui --storage '/my runs'"),
        (
            ["tracking.uri=sqlite:////a/m.db"],
            "3",
            "mlflow ui --backend-store-uri sqlite+pysqlite:////a/m.db, then http://127.0.0.1:5000/"
            + runs_page("3"),
        ),
        (["tracking.uri=https://ann:secret@host:5000/"], "3", "https://host:5000/" + runs_page("3")),
        (["tracking.uri=https://host:5000"], None, "https://host:5000/"),
    ],
)
def test_hint_opens_the_store_of_the_config(
    overrides: list[str], experiment_id: str | None, hint: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["pytest"])
    monkeypatch.setattr("shutil.which", lambda name: name)
    config = load_config(None, overrides)
    assert mlflow_ui_hint(config.tracking, config.runtime.storage, experiment_id) == hint

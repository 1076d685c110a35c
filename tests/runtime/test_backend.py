"""The backend that runs everything in this process."""

from pathlib import Path

from orchestrator.runtime.backend import InProcessBackend
from tests.support.runs import drive, prepared


def test_backend_yields_each_round_once_and_gives_the_drivers_result(tmp_path: Path) -> None:
    experiment = prepared()
    (tmp_path / "run").mkdir()
    backend = InProcessBackend(experiment, tmp_path / "run")
    backend.ready()
    assert [record.round_idx for record in backend.records()] == [0, 1, 2, 3]
    assert backend.params_sha256() == drive(experiment, tmp_path / "driver").params_sha256()
    backend.close()


def test_stopped_backend_ends_early_and_a_new_backend_runs_the_rest(tmp_path: Path) -> None:
    experiment = prepared()
    (tmp_path / "run").mkdir()
    first = InProcessBackend(experiment, tmp_path / "run")
    stopped = []
    for record in first.records():
        stopped.append(record.round_idx)
        first.stop()
    assert 0 < len(stopped) < 4
    second = InProcessBackend(experiment, tmp_path / "run")
    rest = [record.round_idx for record in second.records()]
    assert stopped + rest == [0, 1, 2, 3]
    assert second.params_sha256() == drive(experiment, tmp_path / "driver").params_sha256()

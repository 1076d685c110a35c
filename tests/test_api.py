"""The public functions: the same runs as from the command line, seen through a display of one's own."""

import importlib
import json
from pathlib import Path

import pandas as pd
import pytest

import orchestrator
from algorithms.prunefl import PruneFLConfig
from orchestrator import ExperimentConfig, resume, run
from orchestrator.config.overrides import read_yaml
from orchestrator.errors import ConfigError
from orchestrator.experiment.prepare import prepare
from orchestrator.tracking.record import RoundRecord, read_records


class Watching:
    """A display that remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def start(self, name: str, num_rounds: int, first_round: int) -> None:
        """See Display."""
        self.calls.append(("start", name, num_rounds, first_round))

    def update(self, record: RoundRecord) -> None:
        """See Display."""
        self.calls.append(("update", record.round_idx))

    def note(self, text: str) -> None:
        """See Display."""
        self.calls.append(("note", text))

    def stop(self) -> None:
        """See Display."""
        self.calls.append(("stop",))


def _config(storage: Path, **training: int) -> ExperimentConfig:
    return ExperimentConfig.parse(
        {
            "fleet": {"num_clients": 3},
            "training": {"rounds": 2, "clients_per_round": 2, "local_epochs": 1, **training},
            "runtime": {"executor": "inprocess", "storage": str(storage)},
            "tracking": {"enabled": False},
        }
    )


def test_the_public_names_are_those_promised() -> None:
    assert set(orchestrator.__all__) >= {"ExperimentConfig", "run", "resume", "sweep", "resume_sweep"}
    importlib.import_module("orchestrator.sweeping.tune.session")
    for name in orchestrator.__all__:
        assert callable(getattr(orchestrator, name)), "a module of that name would hide it"
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        orchestrator.walk  # noqa: B018


def test_a_run_is_shown_summarised_and_kept(tmp_path: Path) -> None:
    display, config = Watching(), _config(tmp_path)
    summary = run(config, display)
    folder = tmp_path / summary.run_id
    told = [call for call in display.calls if call[0] != "note"]
    assert told == [("start", summary.run_id, 2, 0), ("update", 0), ("update", 1), ("stop",)]
    assert json.loads((folder / "summary.json").read_text()) == summary.to_dict()
    assert len(read_records(folder / "metrics.jsonl")) == summary.num_rounds == 2
    assert ExperimentConfig.parse(read_yaml(folder / "config.yaml")) == config
    about = json.loads((folder / "run.json").read_text())
    assert about["run_id"] == summary.run_id
    assert about["fingerprint"].items() >= prepare(config).fingerprint().items()
    assert about["packages"].keys() >= {"sparsefleet", "torch", "ray", "numpy"}


def test_a_run_shows_its_methods_warnings_once_before_round_0(tmp_path: Path) -> None:
    config = _config(tmp_path)
    config = config.model_copy(
        update={"algorithm": PruneFLConfig(name="prunefl", adjust_every=1, initial_pruning=False)}
    )
    display = Watching()
    run(config, display)
    warned = [place for place, call in enumerate(display.calls) if "warning" in str(call[-1])]
    assert len(warned) == 1
    assert warned[0] < [call[0] for call in display.calls].index("start")
    text = display.calls[warned[0]][1]
    assert str(text).startswith("warning: prunefl adjusts the mask in round 1, the last")


def test_a_run_keeps_who_had_which_images(tmp_path: Path) -> None:
    config = _config(tmp_path)
    summary = run(config, Watching())
    found = pd.read_parquet(tmp_path / summary.run_id / "partition.parquet")
    experiment = prepare(config)
    expected = experiment.partition.table(experiment.dataset)
    assert list(found.columns) == list(expected)
    assert found["client_id"].tolist() == [0, 1, 2]
    assert int(found["num_train"].sum() + found["num_validation"].sum()) == 1438
    for name, column in expected.items():
        assert found[name].tolist() == column.tolist()


def test_a_run_goes_on_where_it_ended(tmp_path: Path) -> None:
    first = run(_config(tmp_path), Watching())
    display = Watching()
    extended = resume(tmp_path / first.run_id, ["training.rounds=4"], display)
    told = [call for call in display.calls if call[0] != "note"]
    assert told == [("start", first.run_id, 4, 2), ("update", 2), ("update", 3), ("stop",)]
    at_once = run(_config(tmp_path, rounds=4), Watching())
    assert extended.params_sha256 == at_once.params_sha256 != first.params_sha256
    assert extended.upload_bytes_total == at_once.upload_bytes_total == 2 * first.upload_bytes_total


def test_what_cannot_be_resumed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such run"):
        resume(tmp_path / "none")
    summary = run(_config(tmp_path), Watching())
    with pytest.raises(ConfigError) as caught:
        resume(tmp_path / summary.run_id, ["seed=1"])
    assert caught.value.field == "seed"


def test_two_runs_of_one_second_have_two_folders(tmp_path: Path) -> None:
    runs = {run(_config(tmp_path), Watching()).run_id for _ in range(3)}
    assert len(runs) == 3
    assert all(name.startswith("fedavg-") for name in runs)


def test_a_user_without_a_name_may_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that is started under a number which its system does not know."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert run(_config(tmp_path), Watching()).num_rounds == 2


class Noting(Watching):
    """A display that remembers the lines too."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        """See Display."""
        self.lines.append(text)


def test_a_run_names_what_stays_dense_once(tmp_path: Path) -> None:
    display, config = Noting(), _config(tmp_path)
    model = config.model.model_copy(update={"name": "tests.support.library_models:spare_layer"})
    run(config.model_copy(update={"model": model}), display)
    assert "\n".join(display.lines).count("1.spare.weight") == 1

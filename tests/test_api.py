"""The public functions of `orchestrator`, with a display that records its calls."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

import orchestrator
from algorithms.prunefl import PruneFLConfig
from orchestrator import ExperimentConfig, RunSummary, api, compare, load_run, resume, run
from orchestrator.config.overrides import read_yaml
from orchestrator.errors import ConfigError, RequestError
from orchestrator.experiment.prepare import prepare
from orchestrator.results.run_result import RunResult
from orchestrator.tracking.record import RoundRecord, read_records


class RecordingDisplay:
    """A display that records its calls."""

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


#: the public classes
RECORDS = {"ExperimentConfig", "RunCallback", "RunSummary", "TensorBoardCallback", "WandbCallback"}


def test_public_names_are_exactly_these() -> None:
    functions = {"run", "resume", "sweep", "resume_sweep", "compare", "load_run", "load_sweep", "trainable"}
    assert set(orchestrator.__all__) == {*functions, *RECORDS, "__version__"}
    assert len(orchestrator.__all__) == len(set(orchestrator.__all__))
    importlib.import_module("orchestrator.sweeping.tune.session")
    for name in functions:
        assert getattr(orchestrator, name) is getattr(api, name), (
            "a module of this name would hide the function"
        )
    assert orchestrator.ExperimentConfig is ExperimentConfig
    assert orchestrator.RunSummary is RunSummary
    with pytest.raises(AttributeError, match="walk"):
        orchestrator.walk  # noqa: B018


def test_run_returns_its_summary_and_writes_its_folder(tmp_path: Path) -> None:
    display, config = RecordingDisplay(), _config(tmp_path)
    summary = run(config, display)
    folder = tmp_path / summary.run_id
    calls = [call for call in display.calls if call[0] != "note"]
    assert calls == [("start", summary.run_id, 2, 0), ("update", 0), ("update", 1), ("stop",)]
    assert json.loads((folder / "summary.json").read_text()) == summary.to_dict()
    assert load_run(folder) == load_run(summary.run_id, storage=tmp_path) == summary
    assert len(read_records(folder / "metrics.jsonl")) == summary.num_rounds == 2
    assert ExperimentConfig.parse(read_yaml(folder / "config.yaml")) == config
    about = json.loads((folder / "run.json").read_text())
    assert about["run_id"] == summary.run_id
    assert about["fingerprint"].items() >= prepare(config).fingerprint().items()
    assert about["packages"].keys() >= {"sparsefleet", "torch", "ray", "numpy"}


class RecordingCallback:
    """A callback that records its calls; with `fails_in`, it raises in that round."""

    def __init__(self, fails_in: int | None = None) -> None:
        self.calls: list[tuple[object, ...]] = []
        self._fails_in = fails_in

    def on_round(self, round_idx: int, metrics: Mapping[str, float]) -> None:
        """See RunCallback."""
        self.calls.append((round_idx, metrics["eval/accuracy"]))
        if round_idx == self._fails_in:
            raise ZeroDivisionError("in a callback")

    def on_end(self, result: RunResult) -> None:
        """See RunCallback."""
        self.calls.append(("end", result))


def test_callbacks_get_every_round_and_the_result(tmp_path: Path) -> None:
    callback = RecordingCallback()
    result = run(_config(tmp_path), RecordingDisplay(), callbacks=[callback])
    accuracies = result.to_dataframe()["eval/accuracy"]
    assert callback.calls == [(0, accuracies[0]), (1, accuracies[1]), ("end", result)]
    more = RecordingCallback()
    resumed = resume(result.folder, ["training.rounds=3"], RecordingDisplay(), callbacks=[more])
    assert more.calls == [(2, resumed.accuracy), ("end", resumed)]


def test_run_whose_callback_fails_can_be_resumed(tmp_path: Path) -> None:
    callback = RecordingCallback(fails_in=0)
    with pytest.raises(ZeroDivisionError):
        run(_config(tmp_path), RecordingDisplay(), callbacks=[callback])
    (folder,) = tmp_path.iterdir()
    assert len(callback.calls) == 1
    resumed = resume(folder, (), RecordingDisplay())
    assert resumed.params_sha256 == run(_config(tmp_path), RecordingDisplay()).params_sha256


def test_run_shows_the_warnings_of_a_method_once_before_round_0(tmp_path: Path) -> None:
    config = _config(tmp_path)
    config = config.model_copy(
        update={"algorithm": PruneFLConfig(name="prunefl", adjust_every=1, initial_pruning=False)}
    )
    display = RecordingDisplay()
    run(config, display)
    warned = [place for place, call in enumerate(display.calls) if "warning" in str(call[-1])]
    assert len(warned) == 1
    assert warned[0] < [call[0] for call in display.calls].index("start")
    text = display.calls[warned[0]][1]
    assert str(text).startswith("warning: prunefl ")


def test_run_writes_the_partition(tmp_path: Path) -> None:
    config = _config(tmp_path)
    summary = run(config, RecordingDisplay())
    found = pd.read_parquet(tmp_path / summary.run_id / "partition.parquet")
    experiment = prepare(config)
    expected = experiment.partition.table(experiment.dataset)
    assert list(found.columns) == list(expected)
    assert found["client_id"].tolist() == [0, 1, 2]
    assert int(found["num_train"].sum() + found["num_validation"].sum()) == 1438
    for name, column in expected.items():
        assert found[name].tolist() == column.tolist()


def test_resume_extends_a_run(tmp_path: Path) -> None:
    first = run(_config(tmp_path), RecordingDisplay())
    display = RecordingDisplay()
    extended = resume(tmp_path / first.run_id, ["training.rounds=4"], display)
    calls = [call for call in display.calls if call[0] != "note"]
    assert calls == [("start", first.run_id, 4, 2), ("update", 2), ("update", 3), ("stop",)]
    at_once = run(_config(tmp_path, rounds=4), RecordingDisplay())
    assert extended.params_sha256 == at_once.params_sha256 != first.params_sha256
    assert extended.upload_bytes_total == at_once.upload_bytes_total == 2 * first.upload_bytes_total


def test_resume_rejects_an_unknown_run_and_a_changed_seed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        resume(tmp_path / "none")
    assert (caught.value.field, caught.value.value) == ("RUN", str(tmp_path / "none"))
    summary = run(_config(tmp_path), RecordingDisplay())
    with pytest.raises(ConfigError) as caught:
        resume(tmp_path / summary.run_id, ["seed=1"])
    assert caught.value.field == "seed"


def test_runs_of_the_same_second_have_different_folders(tmp_path: Path) -> None:
    runs = {run(_config(tmp_path), RecordingDisplay()).run_id for _ in range(3)}
    assert len(runs) == 3
    assert all(name.startswith("fedavg-") for name in runs)


def test_run_works_for_a_user_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may start under a user id that its system does not know."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert run(_config(tmp_path), RecordingDisplay()).num_rounds == 2


class NoteDisplay(RecordingDisplay):
    """A display that also records the text of each note."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        """See Display."""
        self.lines.append(text)


def test_run_names_each_dense_parameter_once(tmp_path: Path) -> None:
    display, config = NoteDisplay(), _config(tmp_path)
    model = config.model.model_copy(update={"name": "tests.support.library_models:spare_layer"})
    run(config.model_copy(update={"model": model}), display)
    assert "\n".join(display.lines).count("1.spare.weight") == 1


@pytest.fixture
def two_runs(tmp_path: Path) -> list[RunResult]:
    """The summaries of two runs in `tmp_path` that differ only in their seed."""
    config = _config(tmp_path)
    return [run(config.model_copy(update={"seed": seed}), RecordingDisplay()) for seed in (0, 1)]


def test_compare_returns_the_means_over_seeds(two_runs: list[RunResult], tmp_path: Path) -> None:
    comparison = compare(storage=tmp_path, cost="download", upload_caps=[1e9])
    assert {compared.run_id for compared in comparison.runs} == {summary.run_id for summary in two_runs}
    (row,) = comparison.rows
    assert compare(two_runs, cost="download", upload_caps=[1e9]) == comparison
    accuracies = [summary.accuracy for summary in two_runs]
    assert row.final["accuracy"].mean == pytest.approx(sum(filter(None, accuracies)) / 2)
    assert (comparison.metric, comparison.cost, comparison.upload_caps) == ("accuracy", "download", (1e9,))


def test_compare_selects_runs_by_id_folder_name_and_tags(two_runs: list[RunResult], tmp_path: Path) -> None:
    first, second = (summary.run_id for summary in two_runs)
    for criteria in (
        {"runs": [first]},
        {"runs": [tmp_path / first]},
        {"name": first},
        {"runs": ["fedavg-*"], "tags": {"seed": "0"}},
    ):
        found = compare(storage=tmp_path, **criteria)
        assert [compared.run_id for compared in found.runs] == [first], criteria
    assert {compared.run_id for compared in compare(["fedavg-*"], storage=tmp_path).runs} == {first, second}


def test_compare_rejects_unknown_runs_and_options(two_runs: list[RunResult], tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        compare(["none"], storage=tmp_path)
    assert (caught.value.field, caught.value.value) == ("RUN", "none")
    with pytest.raises(RequestError) as caught:
        compare(storage=tmp_path, metric="loss")
    assert caught.value.value == "loss"
    with pytest.raises(TypeError, match="colour"):
        compare(storage=tmp_path, colour="red")

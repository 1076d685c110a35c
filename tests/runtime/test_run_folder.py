"""A run's folder as it begins, what is checked when it is found again, and what trackers hear of it."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.config.overrides import apply_overrides
from orchestrator.errors import CheckpointError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.runtime.run_folder import (
    begin_run,
    config_digest,
    public_params,
    run_info,
    tracking_uri,
    unique_name,
    verify_run,
)
from tests.support.runs import prepared

OVERRIDES = ("model.name=mlp",)


def _config(*overrides: str) -> ExperimentConfig:
    return ExperimentConfig.parse(apply_overrides({}, overrides))


def test_names_are_unique_and_begin_with_the_stem() -> None:
    names = {unique_name("feddst") for _ in range(20)}
    assert len(names) > 15
    assert all(re.fullmatch(r"feddst-\d{8}-\d{6}-[0-9a-f]{4}", name) for name in names)


class TestBeginning:
    """`begin_run`."""

    def test_a_run_begins_with_its_config_and_its_split(self, tmp_path: Path) -> None:
        experiment = prepared(*OVERRIDES)
        store = begin_run(experiment, tmp_path / "deep" / "r1")
        assert {path.name for path in store.folder.iterdir()} >= {
            "config.yaml",
            "run.json",
            "partition.parquet",
        }
        assert store.config() == experiment.config.to_dict()
        split = pd.read_parquet(store.folder / "partition.parquet")
        assert len(split) == experiment.config.fleet.num_clients

    def test_it_is_called_by_its_id_and_tagged_by_its_method(self, tmp_path: Path) -> None:
        about = begin_run(prepared(*OVERRIDES, "seed=3"), tmp_path / "r1").about()
        assert (about["run_id"], about["name"]) == ("r1", "r1")
        assert about["tags"].items() >= {"method": "fedavg", "fleet": "uniform", "seed": "3"}.items()
        assert set(about["packages"]) == {"sparsefleet", "torch", "ray", "numpy"}
        assert about["tags"]["git_commit"] == (about["git_commit"] or "unknown")

    def test_name_tags_and_notes_are_added(self, tmp_path: Path) -> None:
        about = begin_run(
            prepared(*OVERRIDES),
            tmp_path / "r1",
            name="fedavg lr=0.1",
            tags={"trial": "3", "seed": "own"},
            notes={"trial_values": {"training.lr": 0.1}},
        ).about()
        assert (about["run_id"], about["name"]) == ("r1", "fedavg lr=0.1")
        assert (about["tags"]["trial"], about["tags"]["seed"], about["tags"]["method"]) == (
            "3",
            "own",
            "fedavg",
        )
        assert about["trial_values"] == {"training.lr": 0.1}


class TestVerifying:
    """`verify_run`."""

    def test_the_same_experiment_is_taken(self, tmp_path: Path) -> None:
        store = begin_run(prepared(*OVERRIDES), tmp_path / "r1")
        assert verify_run(store, prepared(*OVERRIDES, "training.rounds=9")) == []

    @pytest.mark.parametrize(
        ("override", "name"),
        [("training.lr=0.3", "config"), ("seed=1", "config"), ("model.name=auto", "config")],
    )
    def test_another_config_is_refused(self, tmp_path: Path, override: str, name: str) -> None:
        store = begin_run(prepared(*OVERRIDES), tmp_path / "r1")
        with pytest.raises(CheckpointError, match=f"{name} is not what the run r1 was started with"):
            verify_run(store, prepared(*OVERRIDES, override))

    def test_other_data_are_refused_by_name(self, tmp_path: Path) -> None:
        experiment = prepared(*OVERRIDES)
        store = begin_run(experiment, tmp_path / "r1")
        other = replace(experiment, partition=prepared(*OVERRIDES, "seed=1").partition)
        with pytest.raises(CheckpointError, match="partition is not what the run r1"):
            verify_run(store, other)

    def test_another_machine_is_noted(self, tmp_path: Path) -> None:
        store = begin_run(prepared(*OVERRIDES), tmp_path / "r1")
        about = store.about()
        name = next(iter(about["machine"]))
        about["machine"][name] = "another"
        store.describe(store.config(), about)
        (line,) = verify_run(store, prepared(*OVERRIDES))
        assert line.startswith(f"{name} was another and is ")
        assert "agree to rounding only" in line

    def test_a_run_of_a_release_without_fixed_state_can_be_resumed(self, tmp_path: Path) -> None:
        store = begin_run(prepared(*OVERRIDES), tmp_path / "r1")
        about = store.about()
        del about["fingerprint"]["fixed_state"]
        store.describe(store.config(), about)
        assert verify_run(store, prepared(*OVERRIDES)) == []

    @pytest.mark.parametrize("about", [{}, {"fingerprint": {}}, {"fingerprint": 1, "machine": {}}])
    def test_a_run_without_fingerprints_is_refused(self, tmp_path: Path, about: dict[str, object]) -> None:
        store = begin_run(prepared(*OVERRIDES), tmp_path / "r1")
        store.describe(store.config(), about)
        with pytest.raises(CheckpointError, match="has no fingerprints"):
            verify_run(store, prepared(*OVERRIDES))


class TestDigest:
    """`config_digest`."""

    @pytest.mark.parametrize("override", ["training.rounds=9", "runtime.storage=x", "tracking.enabled=false"])
    def test_what_a_resumed_run_may_change_does_not_count(self, override: str) -> None:
        assert config_digest(_config(override)) == config_digest(_config())

    def test_every_other_key_does(self) -> None:
        others = ["seed=1", "training.lr=0.3", "algorithm.name=feddst", "fleet.num_clients=7"]
        digests = {config_digest(_config(*words)) for words in ([], *[[word] for word in others])}
        assert len(digests) == 5

    def test_a_key_that_is_left_out_has_its_default(self) -> None:
        assert config_digest(_config("seed=0")) == config_digest(_config())


class TestTracking:
    """What a tracker is told."""

    def test_a_tracker_hears_the_run_s_name_params_and_tags(self, tmp_path: Path) -> None:
        experiment = prepared(*OVERRIDES)
        store = begin_run(experiment, tmp_path / "r1", name="a name", tags={"trial": "3"})
        config = _config("tracking.experiment=e", "tracking.uri=http://host:5000", "training.lr=0.3")
        info = run_info(store, config)
        assert (info.run_id, info.run_dir, info.run_name) == ("r1", str(tmp_path / "r1"), "a name")
        assert (info.uri, info.experiment) == ("http://host:5000", "e")
        assert (info.params["training.lr"], info.params["seed"]) == ("0.3", "0")
        assert info.tags.items() >= {"trial": "3", "method": "fedavg"}.items()
        fingerprint = store.about()["fingerprint"]
        assert info.tags["fingerprint.config"] == fingerprint["config"]
        assert info.flush_timeout_s == config.tracking.flush_timeout_s

    def test_a_run_of_an_earlier_version_is_called_by_its_id(self, tmp_path: Path) -> None:
        store = begin_run(prepared(*OVERRIDES), tmp_path / "r1")
        about = {key: value for key, value in store.about().items() if key not in ("name", "tags")}
        store.describe(store.config(), about)
        assert run_info(store, _config()).run_name == "r1"

    def test_a_store_is_the_configured_one_or_beside_the_runs(self, tmp_path: Path) -> None:
        assert tracking_uri(_config(f"runtime.storage={tmp_path}")) == f"sqlite:///{tmp_path}/mlflow.db"
        assert tracking_uri(_config("tracking.uri=http://host:5000")) == "http://host:5000"
        relative = tracking_uri(_config("tracking.uri=sqlite:///some.db"))
        assert relative == f"sqlite:///{Path('some.db').resolve()}"

    def test_params_do_not_tell_a_password(self) -> None:
        params = public_params({"tracking": {"uri": "http://ann:secret@host:5000"}, "a": {"b": [1, None]}})
        assert params["a.b"] == "[1, None]"
        assert "secret" not in str(params)
        assert "host:5000" in params["tracking.uri"]

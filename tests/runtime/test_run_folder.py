"""The folder of a new run, its verification when the run is resumed, and its description for trackers."""

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
    verify_run,
)
from tests.support.runs import prepared

OVERRIDES = ("model.name=mlp",)


def _config(*overrides: str) -> ExperimentConfig:
    return ExperimentConfig.parse(apply_overrides({}, overrides))


class TestBeginRun:
    """`begin_run`."""

    def test_attackers_are_recorded(self, tmp_path: Path) -> None:
        attacked = prepared(*OVERRIDES, "attack.kind=sign_flip", "attack.share=0.34")
        store = begin_run(attacked, tmp_path / "attacked")
        assert store.about()["attackers"] == list(attacked.attackers)
        assert len(attacked.attackers) == 2
        assert run_info(store, attacked.config).params["attack.kind"] == "sign_flip"
        assert "attackers" not in begin_run(prepared(*OVERRIDES), tmp_path / "honest").about()

    def test_folder_contains_config_and_partition(self, tmp_path: Path) -> None:
        experiment = prepared(*OVERRIDES)
        store = begin_run(experiment, tmp_path / "deep" / "r1")
        assert {path.name for path in store.folder.iterdir()} >= {
            "config.yaml",
            "run.json",
            "partition.parquet",
        }
        assert store.folder.stat().st_mode & 0o777 == 0o700
        files = [path for path in store.folder.iterdir() if path.is_file()]
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
        assert store.config() == experiment.config.to_dict()
        split = pd.read_parquet(store.folder / "partition.parquet")
        assert len(split) == experiment.config.fleet.num_clients

    def test_run_is_never_overwritten(self, tmp_path: Path) -> None:
        begin_run(prepared(*OVERRIDES), tmp_path / "r1")
        before = {path: path.read_bytes() for path in (tmp_path / "r1").iterdir()}
        with pytest.raises(CheckpointError, match=r"\br1\b"):
            begin_run(prepared(*OVERRIDES, "seed=3"), tmp_path / "r1")
        assert {path: path.read_bytes() for path in (tmp_path / "r1").iterdir()} == before

    def test_run_has_its_id_as_name_and_tags_of_its_method(self, tmp_path: Path) -> None:
        experiment = prepared(*OVERRIDES, "seed=3")
        about = begin_run(experiment, tmp_path / "r1").about()
        assert (about["run_id"], about["name"]) == ("r1", "r1")
        assert about["tags"].items() >= {"method": "fedavg", "fleet": "uniform", "seed": "3"}.items()
        assert set(about["packages"]) == {"sparsefleet", "torch", "ray", "numpy"}
        assert about["resolved"]["model.num_parameters"] == experiment.setting.layout.size
        assert [part["context"] for part in about["datasets"]] == ["training", "testing"]

    def test_given_name_tags_and_notes_are_written(self, tmp_path: Path) -> None:
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


class TestVerifyRun:
    """`verify_run`."""

    def test_same_experiment_is_accepted(self, tmp_path: Path) -> None:
        store = begin_run(prepared(*OVERRIDES), tmp_path / "r1")
        assert verify_run(store, prepared(*OVERRIDES, "training.rounds=9")) == []

    @pytest.mark.parametrize(
        "override",
        ["training.lr=0.3", "seed=1", "model.name=auto"],
    )
    def test_changed_config_is_rejected(self, tmp_path: Path, override: str) -> None:
        store = begin_run(prepared(*OVERRIDES), tmp_path / "r1")
        with pytest.raises(CheckpointError, match=r"^config .*r1"):
            verify_run(store, prepared(*OVERRIDES, override))

    def test_changed_partition_is_rejected_by_name(self, tmp_path: Path) -> None:
        experiment = prepared(*OVERRIDES)
        store = begin_run(experiment, tmp_path / "r1")
        other = replace(experiment, partition=prepared(*OVERRIDES, "seed=1").partition)
        with pytest.raises(CheckpointError, match=r"^partition .*r1"):
            verify_run(store, other)

    def test_changed_machine_is_noted(self, tmp_path: Path) -> None:
        store = begin_run(prepared(*OVERRIDES), tmp_path / "r1")
        about = store.about()
        name = next(iter(about["machine"]))
        about["machine"][name] = "another"
        store.describe(store.config(), about)
        (line,) = verify_run(store, prepared(*OVERRIDES))
        assert line.startswith(f"{name} was another and is ")

    def test_run_of_a_release_without_fixed_state_is_accepted(self, tmp_path: Path) -> None:
        store = begin_run(prepared(*OVERRIDES), tmp_path / "r1")
        about = store.about()
        del about["fingerprint"]["fixed_state"]
        store.describe(store.config(), about)
        with pytest.raises(CheckpointError, match=r"^fixed_state .*r1"):
            verify_run(store, prepared(*OVERRIDES))
        del about["format"]
        store.describe(store.config(), about)
        assert len(verify_run(store, prepared(*OVERRIDES))) == 1

    @pytest.mark.parametrize("about", [{}, {"fingerprint": {}}, {"fingerprint": 1, "machine": {}}])
    def test_run_without_fingerprints_is_rejected(self, tmp_path: Path, about: dict[str, object]) -> None:
        store = begin_run(prepared(*OVERRIDES), tmp_path / "r1")
        store.describe(store.config(), about)
        with pytest.raises(CheckpointError, match="fingerprints"):
            verify_run(store, prepared(*OVERRIDES))


class TestConfigDigest:
    """`config_digest`."""

    @pytest.mark.parametrize("override", ["training.rounds=9", "runtime.storage=x", "tracking.enabled=false"])
    def test_keys_that_a_resumed_run_may_change_do_not_count(self, override: str) -> None:
        assert config_digest(_config(override)) == config_digest(_config())

    def test_every_other_key_counts(self) -> None:
        others = ["seed=1", "training.lr=0.3", "algorithm.name=feddst", "fleet.num_clients=7"]
        digests = {config_digest(_config(*overrides)) for overrides in ([], *[[one] for one in others])}
        assert len(digests) == 5

    def test_missing_key_counts_as_its_default(self) -> None:
        assert config_digest(_config("seed=0")) == config_digest(_config())


class TestTracking:
    """`run_info` and `public_params`."""

    def test_run_info_has_name_params_and_tags(self, tmp_path: Path) -> None:
        experiment = prepared(*OVERRIDES)
        store = begin_run(experiment, tmp_path / "r1", name="a name", tags={"trial": "3"})
        config = _config("tracking.experiment=e", "tracking.uri=http://host:5000", "training.lr=0.3")
        info = run_info(store, config)
        assert (info.run_id, info.run_dir, info.run_name) == ("r1", str(tmp_path / "r1"), "a name")
        assert (info.uri, info.experiment) == ("http://host:5000", "e")
        assert (info.params["training.lr"], info.params["seed"]) == ("0.3", "0")
        assert info.tags.items() >= {"trial": "3", "method": "fedavg"}.items()
        fingerprint = store.about()["fingerprint"]
        assert not set(fingerprint.values()) & set(info.tags.values()), "run.json is an artifact"
        assert info.flush_timeout_s == config.tracking.flush_timeout_s

    def test_run_of_an_earlier_release_has_its_id_as_name(self, tmp_path: Path) -> None:
        store = begin_run(prepared(*OVERRIDES), tmp_path / "r1")
        about = {key: value for key, value in store.about().items() if key not in ("name", "tags")}
        store.describe(store.config(), about)
        assert run_info(store, _config()).run_name == "r1"

    def test_params_do_not_contain_a_password(self) -> None:
        params = public_params({"tracking.uri": "http://ann:secret@host:5000", "a.b": [1, None]})
        assert params["a.b"] == "[1, None]"
        assert "secret" not in str(params)
        assert "host:5000" in params["tracking.uri"]

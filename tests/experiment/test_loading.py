"""Configs from files and `KEY=VALUE` arguments, and the keys that a resumed run may change."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.config.overrides import apply_overrides, flatten, read_yaml
from orchestrator.errors import ConfigError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.loading import load_config, resumed_config


def _file(folder: Path, content: str) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(content)
    return path


class TestOverrides:
    """`a.b=value` on top of a nested mapping."""

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("training.rounds=7", 7),
            ("training.lr=0.1", 0.1),
            ("training.lr=1e-3", 0.001),
            ("training.lr=1E-3", 0.001),
            ("training.lr=1.e-3", 0.001),
            ("training.lr=5", 5.0),
            ("training.lr= 0.5 ", 0.5),
            ("training.clip_norm=null", None),
            ("training.clip_norm=~", None),
            ("training.clip_norm=", None),
            ("training.clip_norm=1e3", 1000.0),
            ("data.augment=true", True),
            ("data.augment=no", False),
            ("data.root=/some/where", "/some/where"),
            ("data.root=C:/x y", "C:/x y"),
            ("tracking.uri=http://host:5000/a=b", "http://host:5000/a=b"),
            ("tracking.experiment='quoted: text'", "quoted: text"),
            ("tracking.experiment=a: b: c", "a: b: c"),
            ("tracking.experiment=[unclosed", "[unclosed"),
            ("tracking.experiment=2024", "2024"),
            ("tracking.experiment=1e3", "1e3"),
            ("tracking.experiment='007'", "007"),
            ("tracking.experiment=007", "007"),
            ("tracking.experiment=1.50", "1.50"),
            ("tracking.experiment=2024-01-31", "2024-01-31"),
            ("tracking.experiment=2024-02-31", "2024-02-31"),
            ("model.name=12", "12"),
            ("data.client_column=0x10", "0x10"),
            ("tracking.experiment=sweep #3", "sweep #3"),
            ("tracking.experiment='sweep' #3", "'sweep' #3"),
            ("tracking.experiment=[a] #3", "[a] #3"),
            ("tracking.experiment=#3", "#3"),
            ("tracking.experiment=a: b", "a: b"),
            ("tracking.experiment=- a", "- a"),
            ("tracking.experiment=yes", "yes"),
            ("tracking.experiment=true", "true"),
            ("tracking.experiment=TRUE", "TRUE"),
            ("tracking.experiment=1:30", "1:30"),
            ("tracking.experiment=1_000", "1_000"),
            ("tracking.experiment=1e400", "1e400"),
            ("tracking.experiment=&a", "&a"),
            ("tracking.experiment=!x", "!x"),
            ("tracking.experiment=*a", "*a"),
            ("tracking.experiment=@a", "@a"),
            ("tracking.experiment='it''s'", "it's"),
            ("data.client_column='null'", "null"),
            ("data.client_column=null", None),
            ("data.root=2024", "2024"),
            ("training.rounds=010", 10),
            ("training.rounds=1e2", 100),
            ("training.rounds='7'", 7),
            ("training.lr=010", 10.0),
            ("training.lr=.5", 0.5),
            ("data.augment=on", True),
        ],
    )
    def test_argument_is_read_by_the_type_of_its_key(self, text: str, value: object) -> None:
        config = load_config(None, [text])
        found = flatten(config.to_dict())[text.partition("=")[0]]
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize(
        ("key", "text"),
        [
            ("tracking.experiment", "010"),
            ("tracking.experiment", "1:30"),
            ("tracking.experiment", "yes"),
            ("tracking.experiment", "true"),
            ("tracking.experiment", "2024-01-31"),
            ("tracking.experiment", "1.50"),
            ("tracking.experiment", "0x1f"),
            ("tracking.experiment", "'null'"),
            ("tracking.experiment", "1.0e+2"),
            ("data.client_column", "~"),
            ("training.rounds", "010"),
            ("training.rounds", "1_0"),
            ("training.rounds", "1e1"),
            ("training.rounds", "1.0e+1"),
            ("training.lr", "1e-2"),
            ("training.lr", "1.0e-2"),
            ("training.lr", "010"),
            ("data.augment", "yes"),
            ("data.augment", "On"),
        ],
    )
    def test_file_and_argument_give_the_same_value(self, tmp_path: Path, key: str, text: str) -> None:
        section, _, name = key.partition(".")
        of_file = load_config([_file(tmp_path, f"{section}: {{{name}: {text}}}\n")], [])
        assert of_file == load_config(None, [f"{key}={text}"])
        plain = text.strip("'")
        expected = {
            "tracking.experiment": plain,
            "data.client_column": None,
            "training.rounds": 10,
            "training.lr": 10.0 if text == "010" else 0.01,
            "data.augment": True,
        }[key]
        assert flatten(of_file.to_dict())[key] == expected

    @pytest.mark.parametrize(
        "text", ["1:30", "0x10", "2024-01-31", "true", "yes", "1.5", "x", "null", "1e400"]
    )
    def test_text_that_is_not_a_number_is_rejected_in_files_and_arguments(
        self, tmp_path: Path, text: str
    ) -> None:
        problems = []
        for files, arguments in (
            ([_file(tmp_path, f"training: {{rounds: {text}}}\n")], []),
            (None, [f"training.rounds={text}"]),
        ):
            with pytest.raises(ConfigError) as caught:
                load_config(files, arguments)
            problems.append(str(caught.value))
        assert problems[0] == problems[1]
        assert problems[0].startswith("training.rounds=")

    def test_keys_in_files_are_text(self, tmp_path: Path) -> None:
        text = "sparsity: {allocation: explicit, layer_density: {010: 0.5, on: 0.25, null: 1}}\n"
        density = load_config([_file(tmp_path, text)], []).sparsity.layer_density
        assert density == {"010": 0.5, "on": 0.25, "null": 1.0}

    def test_last_value_of_a_key_wins(self) -> None:
        assert load_config(None, ["seed=1", "seed=2"]).seed == 2

    def test_option_can_precede_the_name_of_its_method(self) -> None:
        config = load_config(None, ["algorithm.mu=1e-4", "algorithm.name=fedprox"])
        assert config.algorithm.model_dump() == {"name": "fedprox", "mu": 0.0001}

    def test_section_can_be_set_as_a_mapping(self) -> None:
        config = load_config(None, ["data.partition={kind: shards, classes_per_client: 3}"])
        assert (config.data.partition.kind, config.data.partition.classes_per_client) == ("shards", 3)

    def test_original_mapping_is_not_changed(self) -> None:
        tree = {"training": {"rounds": 3}, "seed": 1}
        changed = apply_overrides(tree, ["training.rounds=4", "training.lr=1", "seed=2", "a.b.c=x"])
        assert changed == {"training": {"rounds": 4, "lr": 1}, "seed": 2, "a": {"b": {"c": "x"}}}
        assert tree == {"training": {"rounds": 3}, "seed": 1}

    @pytest.mark.parametrize("value", ["\udcff", "a\ud800", "ü\udc80"])
    def test_invalid_unicode_is_rejected(self, value: str) -> None:
        with pytest.raises(ConfigError, match="UTF-8") as caught:
            load_config(None, [f"algorithm.name={value}"])
        assert (caught.value.field, caught.value.value) == ("algorithm.name", ascii(value))
        assert load_config(None, ["tracking.experiment=ü"]).tracking.experiment == "ü"

    @pytest.mark.parametrize("argument", ["seed.x=1", "training.lr.x=1", "data.partition.kind.a.b=1"])
    def test_value_used_as_a_section_is_rejected(self, argument: str) -> None:
        tree = {"seed": 1, "training": {"lr": 0.1}, "data": {"partition": {"kind": "iid"}}}
        key = argument.partition("=")[0]
        with pytest.raises(ConfigError, match="is a value") as caught:
            apply_overrides(tree, [argument])
        assert caught.value.field == key


class TestFiles:
    """`--config FILE`."""

    def test_overrides_replace_the_file_and_the_file_replaces_defaults(self, tmp_path: Path) -> None:
        path = _file(tmp_path, "seed: 3\ntraining: {rounds: 9, lr: 1e-2}\n")
        config = load_config([path], ["training.rounds=4"])
        assert (config.seed, config.training.rounds, config.training.lr) == (3, 4, 0.01)
        assert config.training.batch_size == 20

    @pytest.mark.parametrize("content", ["", "# only a comment\n", "---\n", "null\n"])
    def test_empty_file_changes_nothing(self, tmp_path: Path, content: str) -> None:
        assert read_yaml(_file(tmp_path, content)) == {}

    def test_resolved_config_is_a_valid_config_file(self, tmp_path: Path) -> None:
        config = load_config(None, ["algorithm.name=feddst", "algorithm.alpha=0.1", "seed=5"])
        path = _file(tmp_path, yaml.safe_dump(config.to_dict()))
        assert load_config([path], []) == config

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"a: [1\n", "is not YAML"),
            (b"a: b: c\n", "is not YAML"),
            (b"\ta: 1\n", "is not YAML"),
            (b"a: \x00\n", "is not YAML"),
            (b"!!python/object/apply:os.getcwd []\n", "is not YAML"),
            (b"- seed: 1\n", "mapping"),
            (b"seed\n", "mapping"),
            (b"3\n", "mapping"),
            (b"\xff\xfeseed: 1\n", "not text"),
        ],
    )
    def test_file_that_is_not_a_config_is_rejected(
        self, tmp_path: Path, content: bytes, problem: str
    ) -> None:
        path = tmp_path / "experiment.yaml"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=problem) as caught:
            read_yaml(path)
        assert (caught.value.field, caught.value.value) == ("--config", path)
        assert len(str(caught.value).splitlines()) == 1

    def test_unreadable_file_is_rejected(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="No such file"):
            read_yaml(tmp_path / "missing.yaml")
        with pytest.raises(ConfigError, match="Is a directory"):
            read_yaml(tmp_path)

    def test_key_that_is_not_text_is_rejected(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            load_config([_file(tmp_path, "1: 2\n")], [])
        assert caught.value.field == "1"


def test_flatten_gives_dotted_leaves() -> None:
    tree: dict[str, Any] = {"a": 1, "b": {"c": None, "d": {"e": [1, 2]}}, "f": {}}
    assert flatten(tree) == {"a": 1, "b.c": None, "b.d.e": [1, 2], "f": {}}
    assert flatten({"x": 1}, "a.b") == {"a.b.x": 1}


class TestResume:
    """A resumed run may change only its rounds, its runtime and its tracking."""

    @staticmethod
    def stored(*overrides: str) -> dict[str, Any]:
        return load_config(None, ["algorithm.name=fedprox", "algorithm.mu=0.1", *overrides]).to_dict()

    def test_resume_without_overrides_keeps_the_config(self) -> None:
        assert resumed_config(self.stored(), []).to_dict() == self.stored()

    @pytest.mark.parametrize(
        "override",
        [
            "training.rounds=99",
            "runtime.executor=inprocess",
            "runtime.actors=pooled",
            "runtime.pool_size=3",
            "runtime.failure_policy=drop",
            "runtime.max_retries=0",
            "runtime.storage=elsewhere",
            "tracking.uri=http://elsewhere",
            "tracking.enabled=false",
        ],
    )
    def test_resume_accepts_keys_that_change_no_result(self, override: str) -> None:
        key, _, _ = override.partition("=")
        config = resumed_config(self.stored(), [override])
        changed = flatten(config.to_dict())
        assert changed.pop(key) != flatten(self.stored())[key]
        assert changed.items() <= flatten(self.stored()).items()

    @pytest.mark.parametrize(
        ("override", "had"),
        [
            ("seed=1", "0"),
            ("algorithm.name=fedavg", "fedprox"),
            ("algorithm.mu=0.2", "0.1"),
            ("sparsity.level=0.5", "None"),
            ("data.name=mnist", "digits"),
            ("data.partition.alpha=0.6", "0.5"),
            ("model.name=mlp", "auto"),
            ("fleet.num_clients=21", "20"),
            ("training.lr=0.06", "0.05"),
            ("training.eval_every=2", "1"),
            ("training.clients_per_round=4", "5"),
            ("wire.value_dtype=float16", "float32"),
        ],
    )
    def test_resume_rejects_other_keys(self, override: str, had: str) -> None:
        key, _, value = override.partition("=")
        overrides = [override, *(["algorithm={name: fedavg}"] if key == "algorithm.name" else [])]
        with pytest.raises(ConfigError, match=f"the run has {had},") as caught:
            resumed_config(self.stored(), overrides)
        assert (caught.value.field, str(caught.value.value)) == (key, value)

    def test_resume_accepts_the_same_value(self) -> None:
        overrides = ["seed=0", "training.lr=5e-2", "algorithm.mu=0.1"]
        assert resumed_config(self.stored(), overrides).to_dict() == self.stored()

    def test_resume_rejects_sections_with_a_similar_name(self) -> None:
        with pytest.raises(ConfigError) as caught:
            resumed_config(self.stored(), ["runtime_x=1"])
        assert caught.value.field == "runtime_x"

    def test_resume_rejects_stored_configs_with_unknown_keys(self) -> None:
        stored = self.stored() | {"no_longer": 1}
        with pytest.raises(ConfigError) as caught:
            resumed_config(stored, [])
        assert caught.value.field == "no_longer"

    @pytest.mark.parametrize(
        ("override", "field"),
        [
            ("sparsity.device_levels={}", "sparsity.device_levels"),
            ("sparsity.device_levels={phone: 0.5}", "sparsity.device_levels.tablet"),
            ("sparsity.device_levels.phone=0.6", "sparsity.device_levels.phone"),
            ("sparsity.device_levels.watch=0.9", "sparsity.device_levels.watch"),
        ],
    )
    def test_resume_rejects_added_and_removed_names_in_mappings(self, override: str, field: str) -> None:
        stored = self.stored("sparsity.device_levels={phone: 0.5, tablet: 0.25}")
        with pytest.raises(ConfigError) as caught:
            resumed_config(stored, [override])
        assert caught.value.field == field
        assert resumed_config(stored, ["sparsity.device_levels.phone=0.5"]).to_dict() == stored

    def test_resume_rejects_removed_options_of_the_method(self) -> None:
        stored = self.stored()
        assert isinstance(resumed_config(stored, []), ExperimentConfig)
        with pytest.raises(ConfigError) as caught:
            resumed_config(stored, ["algorithm={name: fedprox}"])
        assert caught.value.field == "algorithm.mu"

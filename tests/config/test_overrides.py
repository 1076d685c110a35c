"""Overrides: `KEY=VALUE` arguments, and values set in a config tree by dotted keys."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.overrides import (
    apply_overrides,
    flatten,
    merge,
    method_options,
    parse_overrides,
    put_values,
    read_configs,
)
from orchestrator.errors import ConfigError


class TestPutValues:
    """`put_values`."""

    def test_values_are_set_in_a_copy_of_the_tree(self) -> None:
        tree = {"training": {"lr": 0.1, "rounds": 3}, "seed": 1}
        changed = put_values(tree, {"training.lr": 0.2, "a.b.c": "x", "seed": 5})
        assert changed == {"training": {"lr": 0.2, "rounds": 3}, "seed": 5, "a": {"b": {"c": "x"}}}
        assert tree == {"training": {"lr": 0.1, "rounds": 3}, "seed": 1}

    def test_copy_shares_nothing_with_the_tree(self) -> None:
        tree = {"a": {"b": [1]}}
        changed = put_values(tree, {})
        changed["a"]["b"].append(2)
        assert tree == {"a": {"b": [1]}}

    def test_values_are_not_converted(self) -> None:
        values: dict[str, Any] = {"a": None, "b": [1, 2], "c": {"d": 1}, "e": "007"}
        assert put_values({}, values) == values

    def test_mapping_replaces_the_section(self) -> None:
        assert put_values({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3}}

    def test_later_keys_win(self) -> None:
        assert put_values({}, {"a": {"b": 1}, "a.c": 2}) == {"a": {"b": 1, "c": 2}}
        assert put_values({}, {"a.c": 2, "a": {"b": 1}}) == {"a": {"b": 1}}

    def test_values_are_copied(self) -> None:
        value = {"b": 1}
        put_values({}, {"a": value, "a.c": 2})
        assert value == {"b": 1}

    def test_value_used_as_a_section_is_rejected(self) -> None:
        with pytest.raises(ConfigError, match="training is a value") as caught:
            put_values({"training": 5}, {"training.lr": 0.1})
        assert (caught.value.field, caught.value.value) == ("training.lr", 0.1)

    def test_flattened_tree_can_be_rebuilt(self) -> None:
        tree = {"a": 1, "b": {"c": None, "d": {"e": [1, 2]}}}
        assert put_values({}, flatten(tree)) == tree


class TestParseOverrides:
    """`parse_overrides`."""

    def test_each_argument_is_a_key_and_a_yaml_value(self) -> None:
        arguments = ["seed=3", "training.lr=[0.1, 0.2]", "a.b={c: 1}", "x=", "y=a=b", "z=true"]
        assert parse_overrides(arguments) == {
            "seed": 3,
            "training.lr": [0.1, 0.2],
            "a.b": {"c": 1},
            "x": None,
            "y": "a=b",
            "z": True,
        }

    def test_last_value_of_a_key_wins(self) -> None:
        assert parse_overrides(["seed=1", "seed=[2, 3]"]) == {"seed": [2, 3]}
        assert parse_overrides([]) == {}

    @pytest.mark.parametrize("argument", ["seed", "", "=3", "--seed"])
    def test_argument_without_a_key_and_a_value_is_rejected(self, argument: str) -> None:
        with pytest.raises(ConfigError) as caught:
            parse_overrides(["a=1", argument])
        assert (caught.value.field, caught.value.value) == ("KEY=VALUE", argument)

    @pytest.mark.parametrize(
        ("text", "value"), [("007", "007"), ("1.50", "1.50"), ("2024-01-31", "2024-01-31"), ("1e3", "1e3")]
    )
    def test_value_in_a_list_is_read_like_a_single_value(self, text: str, value: object) -> None:
        assert parse_overrides([f"a={text}"]) == {"a": value}
        assert parse_overrides([f"a=[{text}, x]"]) == {"a": [value, "x"]}

    def test_apply_overrides_parses_and_sets(self) -> None:
        arguments = ["training.rounds=4", "training.lr=1", "a.b.c=x"]
        tree = {"training": {"rounds": 3}}
        assert apply_overrides(tree, arguments) == put_values(tree, parse_overrides(arguments))


def test_later_tree_wins_and_mappings_are_merged() -> None:
    first = {"training": {"rounds": 3, "lr": 0.1}, "seed": 1, "data": {"partition": {"kind": "iid"}}}
    later = {"training": {"lr": 0.2}, "data": {"partition": {"alpha": 0.1}, "name": "npz"}}
    assert merge(first, later) == {
        "training": {"rounds": 3, "lr": 0.2},
        "seed": 1,
        "data": {"partition": {"kind": "iid", "alpha": 0.1}, "name": "npz"},
    }
    assert first["training"] == {"rounds": 3, "lr": 0.1}, "merging does not change its arguments"


def test_list_replaces_a_list_and_a_value_replaces_a_section() -> None:
    assert merge({"a": [1, 2], "b": {"c": 1}}, {"a": [3], "b": None}) == {"a": [3], "b": None}


def test_config_files_are_merged_in_order(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("training: {rounds: 3, lr: 0.1}\nseed: 1\n")
    (tmp_path / "b.yaml").write_text("training: {rounds: 5}\n")
    assert read_configs(["a.yaml", "b.yaml"], tmp_path) == {"training": {"rounds": 5, "lr": 0.1}, "seed": 1}
    assert read_configs([tmp_path / "b.yaml", "a.yaml"], tmp_path)["training"] == {"rounds": 3, "lr": 0.1}
    assert read_configs([]) == {}


def test_method_options_are_the_sections_of_the_method(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "algorithm: {name: feddst, alpha: 0.1}\nsparsity: {level: 0.5, layer_density: {fc: 1.0}}\nseed: 3\n"
    )
    options = method_options([tmp_path / "a.yaml"])
    assert parse_overrides(options) == {
        "algorithm.alpha": 0.1,
        "sparsity.level": 0.5,
        "sparsity.layer_density.fc": 1.0,
    }

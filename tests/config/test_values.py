"""Values put into a config tree by dotted keys, and the words that they are read from."""

from typing import Any

import pytest

from orchestrator.config.overrides import (
    apply_overrides,
    flatten,
    parse_overrides,
    put_values,
)
from orchestrator.errors import ConfigError


class TestPutValues:
    """`put_values`."""

    def test_values_go_below_their_keys_and_the_tree_is_left_alone(self) -> None:
        tree = {"training": {"lr": 0.1, "rounds": 3}, "seed": 1}
        changed = put_values(tree, {"training.lr": 0.2, "a.b.c": "x", "seed": 5})
        assert changed == {"training": {"lr": 0.2, "rounds": 3}, "seed": 5, "a": {"b": {"c": "x"}}}
        assert tree == {"training": {"lr": 0.1, "rounds": 3}, "seed": 1}

    def test_the_copy_shares_nothing(self) -> None:
        tree = {"a": {"b": [1]}}
        changed = put_values(tree, {})
        changed["a"]["b"].append(2)
        assert tree == {"a": {"b": [1]}}

    def test_values_are_taken_as_they_are(self) -> None:
        values: dict[str, Any] = {"a": None, "b": [1, 2], "c": {"d": 1}, "e": "007"}
        assert put_values({}, values) == values

    def test_a_mapping_replaces_what_was_there(self) -> None:
        assert put_values({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3}}

    def test_later_keys_go_on_top(self) -> None:
        assert put_values({}, {"a": {"b": 1}, "a.c": 2}) == {"a": {"b": 1, "c": 2}}
        assert put_values({}, {"a.c": 2, "a": {"b": 1}}) == {"a": {"b": 1}}

    def test_a_value_that_was_put_is_left_alone_too(self) -> None:
        value = {"b": 1}
        put_values({}, {"a": value, "a.c": 2})
        assert value == {"b": 1}

    def test_a_value_is_no_section(self) -> None:
        with pytest.raises(ConfigError, match="training is a value, not a section") as caught:
            put_values({"training": 5}, {"training.lr": 0.1})
        assert (caught.value.field, caught.value.value) == ("training.lr", 0.1)

    def test_what_is_flattened_comes_back(self) -> None:
        tree = {"a": 1, "b": {"c": None, "d": {"e": [1, 2]}}}
        assert put_values({}, flatten(tree)) == tree


class TestParseOverrides:
    """`parse_overrides`."""

    def test_each_word_is_a_key_and_a_yaml_value(self) -> None:
        words = ["seed=3", "training.lr=[0.1, 0.2]", "a.b={c: 1}", "x=", "y=a=b", "z=true"]
        assert parse_overrides(words) == {
            "seed": 3,
            "training.lr": [0.1, 0.2],
            "a.b": {"c": 1},
            "x": None,
            "y": "a=b",
            "z": True,
        }

    def test_the_last_of_two_counts(self) -> None:
        assert parse_overrides(["seed=1", "seed=[2, 3]"]) == {"seed": [2, 3]}
        assert parse_overrides([]) == {}

    @pytest.mark.parametrize("word", ["seed", "", "=3", "--seed"])
    def test_a_word_that_is_no_assignment_is_refused(self, word: str) -> None:
        with pytest.raises(ConfigError, match="this is no assignment") as caught:
            parse_overrides(["a=1", word])
        assert caught.value.value == word

    @pytest.mark.parametrize(
        ("text", "value"), [("007", "007"), ("1.50", "1.50"), ("2024-01-31", "2024-01-31"), ("1e3", "1e3")]
    )
    def test_a_word_in_a_list_is_read_as_it_is_alone(self, text: str, value: object) -> None:
        assert parse_overrides([f"a={text}"]) == {"a": value}
        assert parse_overrides([f"a=[{text}, x]"]) == {"a": [value, "x"]}

    def test_it_is_what_overrides_are_applied_by(self) -> None:
        words = ["training.rounds=4", "training.lr=1", "a.b.c=x"]
        tree = {"training": {"rounds": 3}}
        assert apply_overrides(tree, words) == put_values(tree, parse_overrides(words))

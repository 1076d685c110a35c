"""YAML within limits: plain documents are read like PyYAML does, harmful documents are rejected quickly."""

import time
from typing import Any

import pytest
import yaml

from orchestrator.config.yaml import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NODES,
    load_settings,
    load_yaml,
    read_setting,
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: 1\nb: {c: [1, 2.5, null, true, 'x', 1e-3, 0x1f, 2024-01-31]}\n",
        "base: &base {x: 1, y: 2}\nother: {<<: *base, y: 3}\nlist: [*base, *base]\n",
        "é: größe",
        "a: !!binary aGVsbG8=\nb: !!set {x, y}\n",
        '"a": "1"\n1: 2\n',
    ],
)
def test_plain_documents_are_read_like_pyyaml(text: str) -> None:
    assert load_yaml(text) == load_yaml(text.encode()) == yaml.safe_load(text)


def _bomb(levels: int, form: str) -> str:
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} " + form.format(*[f"*a{level - 1}"] * 9))
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 5000, "nested more than 32 deep"),
        ("{a: " * 5000, "nested more than 32 deep"),
        ("- " * 5000 + "x", "nested more than 32 deep"),
        (_bomb(12, "[{}, {}, {}, {}, {}, {}, {}, {}, {}]"), "more than 50000 values"),
        (_bomb(12, "{{b: {}, c: {}, d: {}, e: {}, f: {}}}"), "more than 50000 values"),
        (_bomb(12, "{{<<: [{}, {}, {}, {}, {}, {}, {}, {}, {}]}}"), "more than 50000 values"),
        ("a: &a [*a]", "an alias inside"),
        ("a: &a {b: {c: *a}}", "an alias inside"),
        ("x" * (MAX_BYTES + 1), "longer than"),
        ("seed: 1\nseed: 2\n", "the key 'seed' occurs twice"),
        ("a: {b: {c: 1, 'c': 2}}", "the key 'c' occurs twice"),
        ("a: " + "9" * 101, "more than 100 digits"),
        ("a: 0x" + "f" * 5000, "more than 100 digits"),
        ("a: 1" + ":59" * 3000 + ".5", "more than 100 digits"),
        ("a: !!bool x", "'x' is not a valid bool"),
        ("a: !!int ''", "'' is not a valid int"),
        ("a: !!timestamp x", "'x' is not a valid timestamp"),
        ('a: "x\\0"', "an invalid character"),
        ('"\\ud800": 1', "an invalid character"),
        ("a: 2024-02-31", "'2024-02-31' is not a valid timestamp"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    ],
)
def test_harmful_documents_are_rejected_quickly(text: str, problem: str) -> None:
    started_s = time.process_time()
    with pytest.raises((yaml.YAMLError, ValueError), match=problem):
        load_yaml(text)
    assert time.process_time() - started_s < 5


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-7", -7),
        ("0", 0),
        ("0.1", 0.1),
        ("1e-05", 1e-05),
        ("true", True),
        ("false", False),
        *((text, None) for text in ("", "~", "null", "Null", "NULL")),
        *(
            (text, text)
            for text in ("010", "-0", "+7", "1_0", "0x1f", "1:30", "1e-2", "1.50", ".5", "1.", ".inf")
        ),
        *(
            (text, text)
            for text in ("nan", "inf", "yes", "No", "on", "True", "2024-01-31", "=", "<<x", "9" * 101)
        ),
    ],
)
def test_setting_stays_text_if_a_type_would_lose_information(text: str, value: object) -> None:
    for found in (
        read_setting(text),
        read_setting(f" {text} "),
        load_settings(f"a: {text}\n")["a"],
        load_settings(f"a: [x, {text or '~'}]\n")["a"][1],
        read_setting(f"[x, {text or '~'}]")[1],
    ):
        assert found == value
        assert type(found) is type(value)
    for quote in "'\"":
        assert read_setting(f"{quote}{text}{quote}") == load_settings(f"a: {quote}{text}{quote}")["a"] == text


def test_settings_keep_the_structure_of_yaml() -> None:
    text = "base: &base {x: 1, y: 010}\nother: {<<: *base, y: 3}\nlist: [*base]\n010: {yes: !!int '5'}\n# comment\n"
    base = {"x": 1, "y": "010"}
    assert load_settings(text) == {
        "base": base,
        "other": {"x": 1, "y": 3},
        "list": [base],
        "010": {"yes": 5},
    }


@pytest.mark.parametrize(
    "text", ["[a] # b", "'a' # b", "{a: 1} #", "'a' b", "[a", "{a: 1, a: 2}", "a: 1", "- 1", "&x 1"]
)
def test_setting_that_is_not_a_single_value_is_text(text: str) -> None:
    assert read_setting(text) == text


@pytest.mark.parametrize(
    "text", ["a: !!python/object/apply:os.getcwd []", "a: 1\na: 2\n", "a: !!int x", 'a: "x\\0"', "[" * 5000]
)
def test_harmful_settings_are_rejected(text: str) -> None:
    with pytest.raises((yaml.YAMLError, ValueError)):
        load_settings(text)


def test_limits_are_inclusive() -> None:
    nested: Any = 1
    for _ in range(MAX_DEPTH - 1):
        nested = [nested]
    assert load_yaml(repr(nested)) == nested
    numbers = [7] * (MAX_NODES - 1)
    assert load_yaml(repr(numbers)) == numbers
    with pytest.raises(yaml.YAMLError, match="more than 50000 values"):
        load_yaml(repr([*numbers, 7]))
    assert load_yaml("9" * 100) == int("9" * 100)


def test_bytes_are_utf_8() -> None:
    assert load_yaml("\ufeffa: ü".encode()) == {"a": "ü"}
    with pytest.raises(UnicodeDecodeError):
        load_yaml("a: ü".encode("latin-1"))

"""YAML within bounds: what is plain is read as ever, what is a trap is refused at once."""

import time
from typing import Any

import pytest
import yaml

from orchestrator.config.yaml import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NODES,
    load_yaml,
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
def test_what_is_plain_is_read_as_ever(text: str) -> None:
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
        ("a: &a [*a]", "an alias within what it stands for"),
        ("a: &a {b: {c: *a}}", "an alias within what it stands for"),
        ("x" * (MAX_BYTES + 1), "longer than"),
        ("seed: 1\nseed: 2\n", "the key 'seed' stands twice"),
        ("a: {b: {c: 1, 'c': 2}}", "the key 'c' stands twice"),
        ("a: " + "9" * 101, "more than 100 digits"),
        ("a: 0x" + "f" * 5000, "more than 100 digits"),
        ("a: 1" + ":59" * 3000 + ".5", "more than 100 digits"),
        ("a: !!bool x", "'x' is no bool"),
        ("a: !!int ''", "'' is no int"),
        ("a: !!timestamp x", "'x' is no timestamp"),
        ('a: "x\\0"', "a character that no text has"),
        ('"\\ud800": 1', "a character that no text has"),
        ("a: 2024-02-31", "'2024-02-31' is no timestamp"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    ],
)
def test_what_is_a_trap_is_refused_at_once(text: str, problem: str) -> None:
    started_s = time.process_time()
    with pytest.raises((yaml.YAMLError, ValueError), match=problem):
        load_yaml(text)
    assert time.process_time() - started_s < 5


def test_the_bounds_themselves_are_allowed() -> None:
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

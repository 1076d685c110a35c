"""Sections of the config: values become the type of their key, and unknown keys are errors."""

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError

from orchestrator.config.section import Section, UserPath, convert, dotted_names


class _Typed(Section):
    count: int = 0
    rate: float | None = None
    text: str = ""
    kind: Literal["a", "b"] = "a"
    flag: bool = False
    folder: UserPath = Field(Path("runs"))


@pytest.mark.parametrize(
    ("value", "annotation", "converted"),
    [
        ("010", int, 10),
        ("1e3", float, 1000.0),
        ("1e3", float | None, 1000.0),
        ("1e999", float, "1e999"),
        ("five", int, "five"),
        (10, str, "10"),
        (1.5, str | None, "1.5"),
        (True, str, "true"),
        (True, Path, "true"),
        ("yes", bool, "yes"),
        (3, int, 3),
        ([1], str, [1]),
        (None, int | None, None),
    ],
)
def test_value_is_converted_to_the_type_of_its_key(
    value: object, annotation: object, converted: object
) -> None:
    found = convert(value, annotation)
    assert found == converted
    assert type(found) is type(converted)


@pytest.mark.parametrize("text", [".inf", "-.INF", "+.Inf", ".nan", ".NaN"])
def test_infinity_and_nan_of_yaml_are_numbers_that_a_section_rejects(text: str) -> None:
    assert isinstance(convert(text, float), float)
    with pytest.raises(ValidationError, match="finite"):
        _Typed.model_validate({"rate": text})


@pytest.mark.parametrize("key", ["count", "rate"])
def test_true_is_no_number(key: str) -> None:
    with pytest.raises(ValidationError):
        _Typed.model_validate({key: True})


@pytest.mark.parametrize(
    "tree", [{"colour": 1}, {"count": "five"}, {"kind": "c"}, {"flag": "maybe"}, {"text": [1]}]
)
def test_unknown_keys_and_values_of_another_type_are_rejected(tree: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _Typed.model_validate(tree)


def test_section_is_frozen() -> None:
    with pytest.raises(ValidationError):
        _Typed().count = 1  # type: ignore[misc]


def test_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _Typed.model_validate({"folder": "~/runs"}).folder == tmp_path / "runs"
    with pytest.raises(ValidationError):
        _Typed.model_validate({"folder": "~nobody-has-this-name/runs"})


@pytest.mark.parametrize(
    ("tree", "flat"),
    [
        ({"a": {"b": 1}}, {"a.b": 1}),
        ({"a": {"b": {"c": 1}, "d": 2}, "e": 3}, {"a.b.c": 1, "a.d": 2, "e": 3}),
        ({"a.b": 1, 2: 3}, {"a.b": 1, "2": 3}),
        ({"a": {}}, {"a": {}}),
        (7, 7),
    ],
)
def test_nested_mappings_become_dotted_names(tree: object, flat: object) -> None:
    assert dotted_names(tree) == flat

"""Suggestions for misspelt names."""

import pytest

from orchestrator.suggest import closest, did_you_mean, suggest

NAMES = ["fedavg", "feddst", "fedprox", "snip"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("fedprx", "fedprox"), ("snip", "snip"), ("snips", "snip"), ("q", None), ("", None)],
)
def test_closest_returns_the_most_similar_name(name: str, expected: str | None) -> None:
    assert closest(name, iter(NAMES)) == expected


def test_closest_applies_the_cutoff() -> None:
    """`difflib` compares "snpi" and "snip": 2 * 3 matching characters of 8 make 0.75."""
    assert closest("snpi", NAMES, cutoff=0.75) == "snip"
    assert closest("snpi", NAMES, cutoff=0.76) is None


def test_suggestion_quotes_the_name() -> None:
    assert did_you_mean("snip") == suggest("snp", NAMES, "never used") == "did you mean 'snip'?"


def test_suggest_returns_the_alternative_when_no_name_is_similar() -> None:
    assert suggest("q", NAMES, "name a file") == "name a file"
    assert suggest("q", [], "name a file") == "name a file"


def test_suggest_lists_the_first_names_when_no_name_is_similar() -> None:
    assert suggest("q", ["c", "b", "a", "b"]) == "choose from a, b, c"
    assert suggest("q", "abcde") == "choose from a, b, c, d, e"
    assert suggest("q", "abcdefg") == "choose from a, b, c, d, e and 2 more"
    assert suggest("q", []) == "create one first, none exists yet"

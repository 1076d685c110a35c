"""The test part by its name, and notes about files that are not read."""

from pathlib import Path

import pytest

from orchestrator.data.loaders.parts import TEST_NAMES, choose_test, join_names, unused_note


@pytest.mark.parametrize(
    ("parts", "chosen"),
    [
        ({"val": 1, "test": 2}, 2),
        ({"eval": 1, "validation": 2, "dev": 3}, 2),
        ({"val": 1, "test": 0}, 1),
        ({"test": 0}, None),
        ({"train": 5, "other": 6}, None),
        ({}, None),
    ],
)
def test_first_usable_part_in_the_order_of_the_names_is_chosen(
    parts: dict[str, int], chosen: int | None
) -> None:
    """A part is usable with at least one sample."""
    assert choose_test(parts, lambda num_samples: num_samples > 0) == chosen


def test_every_name_of_a_test_part_is_recognised() -> None:
    assert [choose_test({name: name}, bool) for name in TEST_NAMES] == list(TEST_NAMES)


@pytest.mark.parametrize(
    ("names", "joined"),
    [([], ""), (["a"], "a"), (["a", "b", "c"], "a, b, c"), (list("abcde"), "a, b, c and 2 more")],
)
def test_at_most_three_names_are_listed(names: list[str], joined: str) -> None:
    assert join_names(names) == joined


def test_note_names_unused_files_relative_to_the_root() -> None:
    root = Path("/data")
    (note,) = unused_note(root, [root / "a.png", root / "b" / "c.png"], "no class")
    assert "/data: a.png, b/c.png (no class)" in note
    assert unused_note(root, [], "no class") == ()

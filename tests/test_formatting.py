"""Numbers are formatted and parsed with decimal prefixes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.formatting import counted, format_bytes, format_flops, format_seconds, parse_bytes

TWO_PREFIXES = ("5kk", "5MkB", "5 kMB", "1EEB")


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("0", 0.0),
        ("5", 5.0),
        ("5B", 5.0),
        ("1.5kB", 1500.0),
        ("1.5 kB", 1500.0),
        ("12.3MB", 12_300_000.0),
        (" 12.3 M ", 12_300_000.0),
        ("2GB", 2e9),
        ("2TB", 2e12),
        ("2PB", 2e15),
        ("2EB", 2e18),
        ("5e6", 5e6),
        ("5E6", 5e6),
        ("5e3k", 5e6),
        ("1_000", 1000.0),
        (".5k", 500.0),
        ("-2k", -2000.0),
    ],
)
def test_parse_accepts_decimal_prefixes(text: str, num_bytes: float) -> None:
    assert parse_bytes(text) == pytest.approx(num_bytes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "B",
        "k",
        "kB",
        "many",
        "5 XB",
        "5mB",
        "5KB",
        "5MiB",
        "5 M B M",
        "0x10",
        "5BB",
        "5k5",
        *TWO_PREFIXES,
    ],
)
def test_parse_rejects_other_text_and_two_prefixes(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_bytes(text)


@given(st.integers(0, 10**20))
def test_formatted_size_can_be_parsed(num_bytes: int) -> None:
    """The formatted size has three digits."""
    assert parse_bytes(format_bytes(num_bytes)) == pytest.approx(num_bytes, rel=0.005)


def test_numbers_are_formatted_with_three_digits_and_decimal_prefixes() -> None:
    assert [format_bytes(n) for n in (0, 999, 1000, 999_499, 999_501, 12_345_678, 2.5e9)] == [
        "0 B",
        "999 B",
        "1 kB",
        "999 kB",
        "1 MB",
        "12.3 MB",
        "2.5 GB",
    ]
    assert [format_flops(n) for n in (12, 3.21e15, 1e21)] == ["12 FLOP", "3.21 PFLOP", "1e+03 EFLOP"]
    assert [format_seconds(s) for s in (0, 1.234, 59.9, 60, 3599.6)] == [
        "0 s",
        "1.23 s",
        "59.9 s",
        "1:00",
        "1:00:00",
    ]


def test_noun_after_a_count_is_singular_only_for_one() -> None:
    assert [counted(num, "round") for num in (0, 1, 2)] == ["0 rounds", "1 round", "2 rounds"]
    assert [counted(num, "class", "classes") for num in (1, 2)] == ["1 class", "2 classes"]

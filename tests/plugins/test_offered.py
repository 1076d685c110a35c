"""Objects by built-in name, by module, by file, or rejected."""

from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.plugins.offered import load_offered, offered_names

KNOWN = {"square": "math:sqrt", "sum": "math:fsum"}


def _load(name: str) -> object:
    return load_offered(name, "data.name", "sparsefleet.test_group", KNOWN, "data set")


def test_built_in_names_modules_and_files(tmp_path: Path) -> None:
    import math

    (tmp_path / "mine.py").write_text("value = 7\n")
    assert _load("sum") is math.fsum
    assert _load("math:gcd") is math.gcd
    assert _load(f"{tmp_path / 'mine.py'}:value") == 7


def test_entry_points_of_other_packages_are_listed() -> None:
    names = offered_names("console_scripts", KNOWN)
    assert names["sum"] == "math:fsum"
    assert names["sparsefleet"] == "orchestrator.cli.main:main"


def test_unknown_names_are_rejected_with_a_similar_name_or_all_names() -> None:
    for name, remedy in (
        ("Squares", "did you mean 'square'?"),
        ("zz", "choose one of square, sum, or write"),
    ):
        with pytest.raises(ConfigError) as caught:
            _load(name)
        assert (caught.value.field, caught.value.problem) == ("data.name", "there is no such data set")
        assert caught.value.remedy.startswith(remedy)

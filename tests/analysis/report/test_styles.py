"""The colours, markers and line styles of configurations."""

from orchestrator.analysis.configurations import Configuration
from orchestrator.analysis.report.styles import family_of, looks_of


def _configurations(*names: str) -> list[Configuration]:
    """Return configurations from `method` or `method/label`."""
    pairs = [(name.split("/")[0], name) for name in names]
    return [Configuration(label=label, method=method, key_values={}, runs={}) for method, label in pairs]


def test_families_have_colours_and_methods_have_markers() -> None:
    first, second, other, again = looks_of(_configurations("fedavg", "fedprox", "feddst", "fedavg/2"))
    assert (first.group, other.group) == ("dense, global", "global masks")
    assert first.color == second.color == again.color != other.color
    assert first.marker == again.marker != second.marker
    assert first.dashes != again.dashes


def test_methods_of_one_family_have_their_own_colours() -> None:
    first, second = looks_of(_configurations("fedavg", "fedprox"))
    assert (first.group, second.group) == ("fedavg", "fedprox")
    assert first.color != second.color


def test_configurations_of_one_method_have_their_own_colours() -> None:
    looks = looks_of(_configurations("feddst/a", "feddst/b", "feddst/c"))
    assert len({look.color for look in looks}) == 3
    assert {look.marker for look in looks} == {"o"}


def test_forty_configurations_of_ten_methods_are_distinct() -> None:
    methods = ("fedavg", "fedprox", "ditto", "feddst", "fedspa", "topk", "heterofl", "snip", "apfl", "local")
    looks = looks_of(_configurations(*(f"{method}/{idx}" for method in methods for idx in range(4))))
    assert len({(look.color, look.marker, look.dashes) for look in looks}) == 40


def test_family_of_a_method_comes_from_its_classification() -> None:
    families = {name: family_of(name) for name in ("fedper", "fedspa", "topk", "heterofl", "/a/mine.py:Mine")}
    assert families == {
        "fedper": "dense, personal",
        "fedspa": "personal masks",
        "topk": "sparse updates",
        "heterofl": "submodels",
        "/a/mine.py:Mine": "other methods",
    }

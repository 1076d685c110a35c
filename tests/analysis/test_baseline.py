"""The baseline: how it can be named, and errors for names that match none or several configurations."""

from pathlib import Path

import pytest

from orchestrator.analysis.baseline import find_baseline
from orchestrator.analysis.configurations import Configuration, group_runs
from orchestrator.errors import RequestError
from tests.support.run_folders import selected, write_run


@pytest.fixture
def configurations(tmp_path: Path) -> list[Configuration]:
    """fedavg lr=0.05, feddst lr=0.05, and feddst lr=0.1 with another momentum."""
    write_run(tmp_path / "a", "training.momentum=0.1")
    write_run(tmp_path / "b", "training.momentum=0.1", method="feddst")
    write_run(tmp_path / "c", "training.lr=0.1", method="feddst")
    return group_runs(selected(tmp_path))[0]


@pytest.mark.parametrize(
    ("text", "run_id"),
    [
        ("feddst lr=0.1 momentum=0.9", "c"),
        ("fedavg", "a"),
        ("b", "b"),
        ("training.lr=0.1", "c"),
        ("lr=0.1", "c"),
        ("lr=1e-1", "c"),
        ("training.lr=.1", "c"),
        ("momentum=9e-1", "c"),
        ("momentum=0.9", "c"),
        ("algorithm.name=fedavg", "a"),
    ],
)
def test_label_method_run_id_or_value_names_the_baseline(
    configurations: list[Configuration], text: str, run_id: str
) -> None:
    assert find_baseline(text, configurations).runs[0].run_id == run_id


@pytest.mark.parametrize("text", ["feddst", "lr=0.05", "training.batch_size=20"])
def test_ambiguous_baseline_is_rejected_with_the_matches(
    configurations: list[Configuration], text: str
) -> None:
    with pytest.raises(RequestError, match="'fed") as caught:
        find_baseline(text, configurations)
    assert (caught.value.field, caught.value.value) == ("--baseline", text)


@pytest.mark.parametrize("text", ["fedavgm", "lr=0.7", "training.nothing=1", "batch_size=20", "="])
def test_unknown_baseline_is_rejected(configurations: list[Configuration], text: str) -> None:
    with pytest.raises(RequestError) as caught:
        find_baseline(text, configurations)
    assert (caught.value.field, caught.value.value) == ("--baseline", text)


def test_similar_name_is_suggested(configurations: list[Configuration]) -> None:
    with pytest.raises(RequestError, match="'fedavg'"):
        find_baseline("fedavgm", configurations)


def test_value_may_have_four_digits_as_in_labels(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "training.lr=0.1234567")
    write_run(tmp_path / "b")
    found = group_runs(selected(tmp_path))[0]
    assert find_baseline("lr=0.1235", found) is find_baseline("lr=0.1234567", found)
    assert find_baseline("lr=0.1235", found).label == "fedavg lr=0.1235"

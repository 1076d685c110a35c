"""What may name the baseline, and what is said when it does not."""

from pathlib import Path

import pytest

from orchestrator.analysis.baseline import find_baseline
from orchestrator.analysis.configurations import Configuration, group_runs
from orchestrator.errors import RequestError
from tests.support.run_folders import picked, write_run


@pytest.fixture
def configurations(tmp_path: Path) -> list[Configuration]:
    """fedavg lr=0.05, feddst lr=0.05 and feddst lr=0.1 with a momentum of its own."""
    write_run(tmp_path / "a", "training.momentum=0.1")
    write_run(tmp_path / "b", "training.momentum=0.1", method="feddst")
    write_run(tmp_path / "c", "training.lr=0.1", method="feddst")
    return group_runs(picked(tmp_path))[0]


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
def test_a_label_a_method_a_run_or_a_value_names_it(
    configurations: list[Configuration], text: str, run_id: str
) -> None:
    assert find_baseline(text, configurations).runs[0].run_id == run_id


@pytest.mark.parametrize("text", ["feddst", "lr=0.05", "training.batch_size=20"])
def test_several_answers_are_told(configurations: list[Configuration], text: str) -> None:
    with pytest.raises(
        RequestError, match=r"--baseline=.* [23] configurations answer to that, 'fed.*by its label"
    ):
        find_baseline(text, configurations)


@pytest.mark.parametrize("text", ["fedavgm", "lr=0.7", "training.nothing=1", "batch_size=20", "="])
def test_no_answer_is_told(configurations: list[Configuration], text: str) -> None:
    with pytest.raises(RequestError, match=r"--baseline=.*: no configuration compared answers to that; "):
        find_baseline(text, configurations)


def test_near_ones_are_named(configurations: list[Configuration]) -> None:
    with pytest.raises(RequestError, match=r"did you mean 'fedavg'"):
        find_baseline("fedavgm", configurations)


def test_a_value_may_be_as_short_as_in_labels(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "training.lr=0.1234567")
    write_run(tmp_path / "b")
    found = group_runs(picked(tmp_path))[0]
    assert find_baseline("lr=0.1235", found) is find_baseline("lr=0.1234567", found)
    assert find_baseline("lr=0.1235", found).label == "fedavg lr=0.1235"

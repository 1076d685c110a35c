"""Paired differences by seed, only on the same partition, against scipy's paired t test."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from scipy import stats

from orchestrator.analysis.configurations import Configuration, group_runs
from orchestrator.analysis.measures import final_value
from orchestrator.analysis.pairing import PairedDifference, paired_difference
from tests.support.run_folders import records, selected, write_run

OURS = {0: 0.70, 1: 0.80, 2: 0.75, 3: 0.90}
BASE = {0: 0.60, 1: 0.75, 2: 0.55, 3: 0.85}


def _two_configurations(
    storage: Path, ours: Mapping[int, float], base: Mapping[int, float], **about_seed_0: object
) -> tuple[Configuration, Configuration]:
    """Return feddst and fedavg with these final accuracies; `about_seed_0` goes into run.json of feddst with seed 0."""
    for method, finals in (("feddst", ours), ("fedavg", base)):
        for seed, final in finals.items():
            about = about_seed_0 if (method, seed) == ("feddst", 0) else {}
            folder = storage / f"{method}-{seed}"
            write_run(folder, method=method, seed=seed, rounds=records(0.1, final), about=about)
    fedavg, feddst = group_runs(selected(storage))[0]
    return feddst, fedavg


def _difference(pair: tuple[Configuration, Configuration]) -> tuple[PairedDifference, list[str]]:
    return paired_difference(*pair, lambda run: final_value(run.records, "eval/accuracy"))


def test_difference_equals_a_paired_t_test(tmp_path: Path) -> None:
    found, notes = _difference(_two_configurations(tmp_path, OURS, BASE))
    interval = stats.ttest_rel(list(OURS.values()), list(BASE.values())).confidence_interval(0.95)
    mean, half = found.difference.mean, found.difference.half_width
    assert mean == pytest.approx(0.1)
    assert mean is not None
    assert half is not None
    assert (mean - half, mean + half) == pytest.approx((interval.low, interval.high))
    assert (found.seeds, notes) == ((0, 1, 2, 3), [])


def test_only_common_seeds_are_paired(tmp_path: Path) -> None:
    found, notes = _difference(_two_configurations(tmp_path, OURS, {2: 0.55, 3: 0.85, 9: 0.1}))
    assert (found.seeds, notes) == ((2, 3), [])
    assert found.difference.values == pytest.approx((0.2, 0.05))


def test_no_common_seed_gives_no_difference(tmp_path: Path) -> None:
    found, notes = _difference(_two_configurations(tmp_path, {0: 0.7}, {1: 0.6}))
    assert (found.seeds, found.difference.mean) == ((), None)
    (note,) = notes
    assert "feddst" in note
    assert "no seed" in note


@pytest.mark.parametrize(
    ("fingerprint", "name"),
    [
        ({"data": "digits", "partition": "another"}, "partition"),
        ({"data": "more digits", "partition": "split of seed 0"}, "data"),
        ({"data": "digits"}, "partition"),
    ],
)
def test_runs_with_different_partitions_are_not_paired(
    tmp_path: Path, fingerprint: dict[str, str], name: str
) -> None:
    found, notes = _difference(_two_configurations(tmp_path, OURS, BASE, fingerprint=fingerprint))
    assert found.seeds == (1, 2, 3)
    (note,) = notes
    assert note.startswith("feddst-0 is not paired with fedavg-0")
    assert f" their {name}" in note


def test_pair_without_a_value_gives_no_mean(tmp_path: Path) -> None:
    found, _ = _difference(_two_configurations(tmp_path, {0: 0.7, 1: float("nan")}, {0: 0.5, 1: 0.5}))
    assert found.seeds == (0, 1)
    assert (found.difference.mean, found.difference.num_reached) == (None, 1)

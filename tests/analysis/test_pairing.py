"""Differences by seed, on the same split only, against scipy's paired t test."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from scipy import stats

from orchestrator.analysis.configurations import Configuration, group_runs
from orchestrator.analysis.measures import final_value
from orchestrator.analysis.pairing import PairedDifference, paired_difference
from tests.support.run_folders import picked, records, write_run

OURS = {0: 0.70, 1: 0.80, 2: 0.75, 3: 0.90}
BASE = {0: 0.60, 1: 0.75, 2: 0.55, 3: 0.85}


def two(
    storage: Path, ours: Mapping[int, float], base: Mapping[int, float], **of_seed_0: object
) -> tuple[Configuration, Configuration]:
    """Runs of feddst and of fedavg that end at these accuracies; the rest is run.json's of feddst, seed 0."""
    for method, finals in (("feddst", ours), ("fedavg", base)):
        for seed, final in finals.items():
            about = of_seed_0 if (method, seed) == ("feddst", 0) else {}
            folder = storage / f"{method}-{seed}"
            write_run(folder, method=method, seed=seed, rounds=records(0.1, final), about=about)
    fedavg, feddst = group_runs(picked(storage))[0]
    return feddst, fedavg


def difference(pair: tuple[Configuration, Configuration]) -> tuple[PairedDifference, list[str]]:
    return paired_difference(*pair, lambda run: final_value(run.records, "eval/accuracy"))


def test_mean_and_interval_are_those_of_a_paired_t_test(tmp_path: Path) -> None:
    found, notes = difference(two(tmp_path, OURS, BASE))
    interval = stats.ttest_rel(list(OURS.values()), list(BASE.values())).confidence_interval(0.95)
    mean, half = found.difference.mean, found.difference.half_width
    assert mean == pytest.approx(0.1)
    assert mean is not None
    assert half is not None
    assert (mean - half, mean + half) == pytest.approx((interval.low, interval.high))
    assert (found.seeds, notes) == ((0, 1, 2, 3), [])


def test_only_seeds_that_both_have_are_paired(tmp_path: Path) -> None:
    found, notes = difference(two(tmp_path, OURS, {2: 0.55, 3: 0.85, 9: 0.1}))
    assert (found.seeds, notes) == ((2, 3), [])
    assert found.difference.values == pytest.approx((0.2, 0.05))


def test_without_a_common_seed_there_is_no_difference(tmp_path: Path) -> None:
    found, notes = difference(two(tmp_path, {0: 0.7}, {1: 0.6}))
    assert (found.seeds, found.difference.mean) == ((), None)
    assert notes == ["feddst shares no seed with the baseline fedavg: no difference"]


@pytest.mark.parametrize(
    ("fingerprint", "problem"),
    [
        ({"data": "digits", "partition": "another"}, "their partition differs"),
        ({"data": "more digits", "partition": "split of seed 0"}, "their data differs"),
        ({"data": "digits"}, "run.json does not say which partition they had"),
    ],
)
def test_another_split_is_no_pair(tmp_path: Path, fingerprint: dict[str, str], problem: str) -> None:
    found, notes = difference(two(tmp_path, OURS, BASE, fingerprint=fingerprint))
    assert found.seeds == (1, 2, 3)
    assert notes == [f"feddst-0 is not paired with fedavg-0, though both have seed 0: {problem}"]


def test_a_pair_without_a_value_leaves_no_mean(tmp_path: Path) -> None:
    found, _ = difference(two(tmp_path, {0: 0.7, 1: float("nan")}, {0: 0.5, 1: 0.5}))
    assert found.seeds == (0, 1)
    assert (found.difference.mean, found.difference.num_reached) == (None, 1)

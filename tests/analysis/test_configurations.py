"""Runs that repeat each other, and what configurations are called."""

from pathlib import Path

from orchestrator.analysis.configurations import group_runs
from orchestrator.analysis.labels import Described, labels_of, shortened
from tests.support.run_folders import picked, records, write_run


def texts(*configurations: Described) -> list[str]:
    return [label.text for label in labels_of(configurations)]


def test_seed_runtime_and_tracking_make_no_configuration(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "runtime.pool_size=3", seed=2)
    write_run(tmp_path / "b", "tracking.experiment=other", seed=1)
    write_run(tmp_path / "c", "training.lr=0.5", seed=1)
    first, second = group_runs(picked(tmp_path))[0]
    assert (first.label, [run.run_id for run in first.runs.values()]) == ("fedavg lr=0.05", ["b", "a"])
    assert list(first.runs) == [1, 2]
    assert (second.label, second.key_values) == ("fedavg lr=0.5", {"training.lr": 0.5})


def test_of_two_runs_with_one_seed_the_newer_counts(tmp_path: Path) -> None:
    for run_id, began_ms in (("a", 3000), ("b", 9000), ("c", 1000)):
        write_run(tmp_path / run_id, rounds=records(0.5, timestamp_ms=began_ms))
    write_run(tmp_path / "d", seed=1, rounds=records(0.5, timestamp_ms=10))
    (only,), notes = group_runs(picked(tmp_path))
    assert {seed: run.run_id for seed, run in only.runs.items()} == {0: "b", 1: "d"}
    reason = "b has the same configuration and seed 0 and is newer"
    assert notes == [f"a is left out: {reason}", f"c is left out: {reason}"]


def test_one_configuration_is_called_by_its_method(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "training.lr=0.7", method="feddst")
    (only,), notes = group_runs(picked(tmp_path))
    assert (only.label, only.method, only.key_values, notes) == ("feddst", "feddst", {}, [])


def test_keys_that_differ_are_named_as_short_as_is_clear() -> None:
    assert texts(
        ("feddst", {"sparsity.level": 0.8, "training.lr": 0.05, "training.rounds": 9}),
        ("feddst", {"sparsity.level": 0.9, "training.lr": 0.1, "training.rounds": 9}),
    ) == ["feddst level=0.8 lr=0.05", "feddst level=0.9 lr=0.1"]
    assert texts(
        ("feddst", {"sparsity.schedule.end_round": 1, "algorithm.end_round": 2}),
        ("feddst", {"sparsity.schedule.end_round": 3, "algorithm.end_round": 4}),
    ) == [
        "feddst schedule.end_round=1 algorithm.end_round=2",
        "feddst schedule.end_round=3 algorithm.end_round=4",
    ]


def test_a_key_is_shortened_only_as_far_as_no_other_ends_so() -> None:
    among = ["a.b.c", "x.b.c", "x.c", "c", "d.e"]
    expected = ["a.b.c", "x.b.c", "x.c", "c", "e"]
    assert [shortened(key, among) for key in among] == expected


def test_a_methods_options_are_named_where_its_own_configurations_differ() -> None:
    """`mu` of fedprox differs from feddst's, but there is one fedprox only."""
    alpha = [
        ("feddst", {"algorithm.name": "feddst", "algorithm.alpha": a, "algorithm.mu": 0.0})
        for a in (0.1, 0.2)
    ]
    prox = ("fedprox", {"algorithm.name": "fedprox", "algorithm.mu": 0.5})
    labels = labels_of([*alpha, prox])
    assert [label.text for label in labels] == ["feddst alpha=0.1", "feddst alpha=0.2", "fedprox"]
    assert [label.key_values for label in labels] == [{"algorithm.alpha": 0.1}, {"algorithm.alpha": 0.2}, {}]


def test_what_is_null_or_missing_is_not_named_but_known() -> None:
    labels = labels_of(
        [("fedavg", {"sparsity.level": None}), ("feddst", {"sparsity.level": 0.8}), ("topk", {})]
    )
    assert [label.text for label in labels] == ["fedavg", "feddst level=0.8", "topk"]
    assert [label.key_values for label in labels] == [{"sparsity.level": None}, {"sparsity.level": 0.8}, {}]


def test_fractions_are_short_unless_that_makes_labels_equal() -> None:
    assert texts(("m", {"a.lr": 0.1 + 0.2}), ("m", {"a.lr": 0.4})) == ["m lr=0.3", "m lr=0.4"]
    assert texts(("m", {"a.lr": 0.1 + 0.2}), ("m", {"a.lr": 0.3})) == ["m lr=0.30000000000000004", "m lr=0.3"]


def test_labels_are_unique_whatever_the_values_look_like() -> None:
    assert texts(("m", {"a.x": 1}), ("m", {"a.x": "1"}), ("m", {"a.x": 2})) == ["m x=1", "m x=1 #2", "m x=2"]
    assert texts(("m", {"a.x": None}), ("m", {})) == ["m x=null", "m"]
    values = texts(("m", {"a.x": True}), ("m", {"a.x": [1, 2]}), ("m", {"a.x": {}}))
    assert values == ["m x=true", "m x=[1, 2]", "m x={}"]

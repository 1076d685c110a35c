"""Labels of configurations: their keys, their values and their uniqueness."""

from orchestrator.analysis.labels import Described, labels_of, shortened


def _texts(*configurations: Described) -> list[str]:
    return [label.text for label in labels_of(configurations)]


def test_labels_have_the_differing_keys_in_short_form() -> None:
    assert _texts(
        ("feddst", {"sparsity.level": 0.8, "training.lr": 0.05, "training.rounds": 9}),
        ("feddst", {"sparsity.level": 0.9, "training.lr": 0.1, "training.rounds": 9}),
    ) == ["feddst level=0.8 lr=0.05", "feddst level=0.9 lr=0.1"]
    assert _texts(
        ("feddst", {"sparsity.schedule.end_round": 1, "algorithm.end_round": 2}),
        ("feddst", {"sparsity.schedule.end_round": 3, "algorithm.end_round": 4}),
    ) == [
        f"feddst schedule.end_round={schedule} algorithm.end_round={method}"
        for schedule, method in ((1, 2), (3, 4))
    ]


def test_key_is_shortened_while_it_is_unique() -> None:
    among = ["a.b.c", "x.b.c", "x.c", "c", "d.e"]
    expected = ["a.b.c", "x.b.c", "x.c", "c", "e"]
    assert [shortened(key, among) for key in among] == expected


def test_labels_have_options_that_differ_within_the_method() -> None:
    """`mu` differs between fedprox and feddst, but there is only one fedprox."""
    alpha = [
        ("feddst", {"algorithm.name": "feddst", "algorithm.alpha": a, "algorithm.mu": 0.0})
        for a in (0.1, 0.2)
    ]
    prox = ("fedprox", {"algorithm.name": "fedprox", "algorithm.mu": 0.5})
    labels = labels_of([*alpha, prox])
    assert [label.text for label in labels] == ["feddst alpha=0.1", "feddst alpha=0.2", "fedprox"]
    assert [label.key_values for label in labels] == [{"algorithm.alpha": 0.1}, {"algorithm.alpha": 0.2}, {}]


def test_labels_omit_null_and_missing_values() -> None:
    labels = labels_of(
        [("fedavg", {"sparsity.level": None}), ("feddst", {"sparsity.level": 0.8}), ("topk", {})]
    )
    assert [label.text for label in labels] == ["fedavg", "feddst level=0.8", "topk"]
    assert [label.key_values for label in labels] == [{"sparsity.level": None}, {"sparsity.level": 0.8}, {}]


def test_fractions_have_four_digits_unless_labels_become_equal() -> None:
    assert _texts(("m", {"a.lr": 0.1 + 0.2}), ("m", {"a.lr": 0.4})) == ["m lr=0.3", "m lr=0.4"]
    assert _texts(("m", {"a.lr": 0.1 + 0.2}), ("m", {"a.lr": 0.3})) == [
        "m lr=0.30000000000000004",
        "m lr=0.3",
    ]


def test_labels_are_unique() -> None:
    assert _texts(("m", {"a.x": 1}), ("m", {"a.x": "1"}), ("m", {"a.x": 2})) == ["m x=1", "m x=1 #2", "m x=2"]
    assert _texts(("m", {"a.x": None}), ("m", {})) == ["m x=null", "m"]
    values = _texts(("m", {"a.x": True}), ("m", {"a.x": [1, 2]}), ("m", {"a.x": {}}))
    assert values == ["m x=true", "m x=[1, 2]", "m x={}"]

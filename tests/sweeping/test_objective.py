"""Objectives: every form, every rejected form, and the values computed from records."""

from math import inf, nan

import pytest

from orchestrator.config.sections import DataConfig
from orchestrator.errors import ConfigError, RequestError
from orchestrator.sweeping.objective import Objective, ObjectiveMetric, with_data
from orchestrator.tracking.record import RoundRecord
from tests.support.sweeps import evaluated

#: the accuracy falls at the end; the third round is not evaluated
HISTORY = [
    evaluated(0, 0.2, upload=10.0, time_s=1.0),
    evaluated(1, 0.5, upload=20.0, time_s=2.5),
    evaluated(2, None, upload=30.0, time_s=4.0),
    evaluated(3, 0.4, upload=40.0, time_s=5.5),
]


#: validation and test metrics with different values
_BOTH = [
    evaluated(r, accuracy, upload=10.0 * (r + 1), time_s=r + 1.0, **more)
    for r, (accuracy, more) in enumerate(
        [
            (0.2, {"eval/accuracy": 0.6, "personal/accuracy_mean": 0.1}),
            (0.5, {"eval/accuracy": 0.7, "validation/personal_accuracy_mean": 0.3}),
            (0.4, {"eval/accuracy": 0.9, "personal/accuracy_mean": 0.8}),
        ]
    )
]


def _measure(text: str, records: list[RoundRecord] | None = None) -> dict[str, float]:
    return Objective.parse(text).measure(HISTORY if records is None else records)


class TestParsing:
    """`Objective.parse`."""

    @pytest.mark.parametrize(
        ("text", "kind", "limit", "metrics"),
        [
            ("accuracy", "accuracy", None, [("accuracy", "max")]),
            ("personal_accuracy", "personal_accuracy", None, [("personal_accuracy", "max")]),
            ("accuracy_at_upload=5MB", "accuracy_at_upload", 5e6, [("accuracy_at_upload", "max")]),
            ("accuracy_at_upload=1.5 kB", "accuracy_at_upload", 1500.0, [("accuracy_at_upload", "max")]),
            ("accuracy_at_upload=2e3", "accuracy_at_upload", 2000.0, [("accuracy_at_upload", "max")]),
            ("time_to_accuracy=0.9", "time_to_accuracy", 0.9, [("time_to_accuracy_s", "min")]),
            ("time_to_accuracy=1", "time_to_accuracy", 1.0, [("time_to_accuracy_s", "min")]),
            ("pareto", "pareto", None, [("accuracy", "max"), ("upload_bytes", "min")]),
        ],
    )
    @pytest.mark.parametrize(
        ("prefix", "data"), [("", "validation"), ("validation_", "validation"), ("test_", "test")]
    )
    def test_form_has_data_kind_limit_and_goals(
        self,
        prefix: str,
        data: str,
        text: str,
        kind: str,
        limit: float | None,
        metrics: list[tuple[str, str]],
    ) -> None:
        """Only the prefix `test_` selects test data; the metrics name their data, except the upload."""
        found = Objective.parse(prefix + text)
        assert (found.data, found.text, found.kind, found.limit) == (data, f"{data}_{text}", kind, limit)
        named = [(name if name == "upload_bytes" else f"{data}_{name}", mode) for name, mode in metrics]
        assert [(metric.name, metric.mode) for metric in found.metrics] == named

    @pytest.mark.parametrize("text", ["accuracy", "personal_accuracy", "pareto", "time_to_accuracy=0.9"])
    def test_only_test_data_give_a_note(self, text: str) -> None:
        assert Objective.parse(text).note is None
        assert f"--objective {text} " in (Objective.parse(f"test_{text}").note or "")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "loss",
            "Accuracy",
            "test",
            "test_",
            "test_best",
            "validation_test_accuracy",
            "test_accuracy=0.9",
            "accuracy=0.9",
            "accuracy=",
            "pareto=1",
            "accuracy_at_upload",
            "time_to_accuracy",
            "accuracy_at_upload=",
            "accuracy_at_upload=many",
            "accuracy_at_upload=5 XB",
            "time_to_accuracy=90%",
            "time_to_accuracy=5M",
            "accuracy_at_upload=0",
            "accuracy_at_upload=-5MB",
            "accuracy_at_upload=inf",
            "accuracy_at_upload=nan",
            "time_to_accuracy=0",
            "time_to_accuracy=nan",
            "time_to_accuracy=90",
        ],
    )
    def test_other_forms_are_rejected_in_one_line(self, text: str) -> None:
        with pytest.raises(RequestError) as caught:
            Objective.parse(text)
        assert (caught.value.field, caught.value.value) == ("--objective", text)
        assert "\n" not in str(caught.value)

    def test_accuracy_in_percent_is_rejected_with_the_fraction(self) -> None:
        with pytest.raises(RequestError) as caught:
            Objective.parse("time_to_accuracy=90")
        assert "0.9" in caught.value.remedy

    def test_remedy_lists_every_form(self) -> None:
        with pytest.raises(RequestError) as caught:
            Objective.parse("x")
        forms = ("accuracy", "personal_accuracy", "accuracy_at_upload=", "time_to_accuracy=", "pareto")
        assert all(form in caught.value.remedy for form in forms)

    @pytest.mark.parametrize(
        ("text", "known"),
        [
            ("accuracy", True),
            ("personal_accuracy", True),
            ("accuracy_at_upload=1", True),
            ("time_to_accuracy=0.5", False),
            ("pareto", False),
        ],
    )
    def test_only_accuracies_are_known_early(self, text: str, known: bool) -> None:
        assert Objective.parse(text).is_known_early is known


class TestMeasuring:
    """`Objective.measure`, with values computed by hand."""

    def test_accuracy_is_of_the_last_evaluated_round(self) -> None:
        assert _measure("accuracy") == {"validation_accuracy": 0.4}
        assert _measure("accuracy", HISTORY[:3]) == {"validation_accuracy": 0.5}

    def test_personal_accuracy_is_of_the_last_round_that_has_one(self) -> None:
        records = [evaluated(0, 0.2, **{"validation/personal_accuracy_mean": 0.7}), evaluated(1, 0.9)]
        assert _measure("personal_accuracy", records) == {"validation_personal_accuracy": 0.7}
        assert _measure("personal_accuracy") == {"validation_personal_accuracy": 0.0}

    @pytest.mark.parametrize(
        ("limit", "expected"),
        [("9", 0.0), ("10", 0.2), ("19.9", 0.2), ("20", 0.5), ("39", 0.5), ("40", 0.4), ("1kB", 0.4)],
    )
    def test_accuracy_at_upload_is_of_the_last_round_within_the_limit(
        self, limit: str, expected: float
    ) -> None:
        assert _measure(f"accuracy_at_upload={limit}") == {"validation_accuracy_at_upload": expected}

    @pytest.mark.parametrize(
        ("target", "expected"),
        [("0.1", 1.0), ("0.36", 1.0), ("0.37", 2.5), ("0.5", 2.5), ("0.51", inf), ("0.7", inf)],
    )
    def test_time_to_accuracy_is_of_the_first_evaluation_that_stays(
        self, target: str, expected: float
    ) -> None:
        """HISTORY, then accuracy .6: the means are (.2 + .5 + .4) / 3 = .3667 and (.5 + .4 + .6) / 3 = .5."""
        records = [*HISTORY, evaluated(4, 0.6, upload=50.0, time_s=7.0)]
        assert _measure(f"time_to_accuracy={target}", records) == {"validation_time_to_accuracy_s": expected}

    def test_time_to_accuracy_ignores_a_single_high_value(self) -> None:
        values = (0.9, 0.1, 0.2, 0.8, 0.8, 0.8)
        records = [evaluated(r, value, time_s=r + 1.0) for r, value in enumerate(values)]
        assert _measure("time_to_accuracy=0.6", records) == {"validation_time_to_accuracy_s": 3.0}
        assert _measure("time_to_accuracy=0.8", records) == {"validation_time_to_accuracy_s": 4.0}
        assert _measure("time_to_accuracy=0.8", records[:5]) == {"validation_time_to_accuracy_s": inf}

    def test_pareto_has_the_last_accuracy_and_the_total_upload(self) -> None:
        assert _measure("pareto") == {"validation_accuracy": 0.4, "upload_bytes": 40.0}
        assert _measure("pareto", HISTORY[:3]) == {"validation_accuracy": 0.5, "upload_bytes": 30.0}

    @pytest.mark.parametrize("records", [[], [evaluated(0, None)], [evaluated(0, nan)], [evaluated(0, inf)]])
    def test_missing_accuracy_counts_as_0(self, records: list[RoundRecord]) -> None:
        assert _measure("accuracy", records) == {"validation_accuracy": 0.0}
        assert _measure("personal_accuracy", records) == {"validation_personal_accuracy": 0.0}
        assert _measure("accuracy_at_upload=1MB", records) == {"validation_accuracy_at_upload": 0.0}
        assert _measure("pareto", records) == {"validation_accuracy": 0.0, "upload_bytes": 0.0}

    @pytest.mark.parametrize("records", [[], [evaluated(0, None)], [evaluated(0, nan)]])
    def test_missing_accuracy_has_infinite_time(self, records: list[RoundRecord]) -> None:
        assert _measure("time_to_accuracy=0.1", records) == {"validation_time_to_accuracy_s": inf}

    def test_run_that_diverges_at_the_end_counts_as_0(self) -> None:
        records = [evaluated(0, 0.9, upload=1.0), evaluated(1, nan, upload=2.0)]
        assert _measure("accuracy", records) == {"validation_accuracy": 0.0}
        assert _measure("accuracy_at_upload=1", records) == {"validation_accuracy_at_upload": 0.9}
        assert _measure("accuracy_at_upload=2", records) == {"validation_accuracy_at_upload": 0.0}

    @pytest.mark.parametrize("text", ["accuracy", "accuracy_at_upload=1", "time_to_accuracy=0.5", "pareto"])
    def test_measure_returns_the_goals(self, text: str) -> None:
        assert list(_measure(text)) == [metric.name for metric in Objective.parse(text).metrics]


class TestTestData:
    """Objectives on test data use the test metrics only, and all others the validation metrics only."""

    @pytest.mark.parametrize(
        ("text", "validation", "test"),
        [
            ("accuracy", 0.4, 0.9),
            ("personal_accuracy", 0.3, 0.8),
            ("accuracy_at_upload=20", 0.5, 0.7),
            ("time_to_accuracy=0.6", inf, 1.0),
        ],
    )
    def test_values_come_from_the_named_data(self, text: str, validation: float, test: float) -> None:
        assert list(_measure(text, _BOTH).values()) == [validation]
        assert list(_measure(f"test_{text}", _BOTH).values()) == [test]

    def test_pareto_of_test_data(self) -> None:
        expected = {"test_accuracy": 0.9, "upload_bytes": 30.0}
        assert _measure("test_pareto", _BOTH) == expected


class TestRequiringData:
    """`Objective.require_data`."""

    @pytest.mark.parametrize("text", ["accuracy", "personal_accuracy", "time_to_accuracy=0.5", "pareto"])
    @pytest.mark.parametrize(("fraction", "num_samples"), [(0.0, None), (0.0, 0), (0.1, 0)])
    def test_objective_without_validation_samples_is_rejected(
        self, text: str, fraction: float, num_samples: int | None
    ) -> None:
        config = DataConfig(validation_fraction=fraction)
        with pytest.raises(ConfigError) as caught:
            Objective.parse(text).require_data(config, num_samples)
        assert (caught.value.field, caught.value.value) == ("data.validation_fraction", fraction)
        assert f"--objective test_{text}" in caught.value.remedy
        assert "\n" not in str(caught.value)
        Objective.parse(f"test_{text}").require_data(config, num_samples)

    @pytest.mark.parametrize("num_samples", [None, 1])
    def test_objective_with_validation_samples_is_accepted(self, num_samples: int | None) -> None:
        Objective.parse("accuracy").require_data(DataConfig(validation_fraction=0.1), num_samples)


@pytest.mark.parametrize(
    ("stored", "named"),
    [
        ("accuracy", "test_accuracy"),
        ("time_to_accuracy=0.9", "test_time_to_accuracy=0.9"),
        ("time_to_accuracy_s", "test_time_to_accuracy_s"),
        ("pareto", "test_pareto"),
        ("upload_bytes", "upload_bytes"),
        ("validation_accuracy", "validation_accuracy"),
        ("test_accuracy", "test_accuracy"),
    ],
)
def test_stored_name_without_data_means_test_data(stored: str, named: str) -> None:
    assert with_data(stored) == named


def test_best_value_has_the_smallest_key() -> None:
    most, least = ObjectiveMetric(name="a", mode="max"), ObjectiveMetric(name="t", mode="min")
    assert sorted([0.2, 0.9, 0.5], key=most.key) == [0.9, 0.5, 0.2]
    assert sorted([inf, 3.0, 1.0], key=least.key) == [1.0, 3.0, inf]

"""Numbers of a report as text."""

import pytest

from orchestrator.analysis.statistics import spread
from orchestrator.studies.report.text import evidence_text, rule_text, spread_text, values_text
from orchestrator.studies.results import StudyResults
from orchestrator.studies.rules import NonInferiorityRule, SlopeRule, UntestedRule
from orchestrator.studies.verdicts import Evidence


@pytest.mark.parametrize(
    ("values", "metric", "text"),
    [
        ([0.5, 0.5], "accuracy", "50.00±0.00"),
        ([2e6, 2e6], "upload_bytes", "2 MB ± 0 B"),
        ([3e9], "train_flops", "3 GFLOP"),
        ([1.0, None], "emulated_s", "1 of 2"),
        ([None, None], "emulated_s", "–"),
        ([0.12345], "train_loss", "0.1235"),
    ],
)
def test_numbers_have_their_unit(values: list[float | None], metric: str, text: str) -> None:
    assert spread_text(spread(values), metric) == text  # type: ignore[arg-type]


def test_evidence_has_its_interval_in_the_unit_of_the_rule(results: StudyResults) -> None:
    rules = {name: claim.rule for name, claim in results.plan.study.claims.items()}

    def text(name: str, estimate: float | None) -> str:
        evidence = Evidence(
            title="", finding="shown", estimate=estimate, low=estimate, high=estimate, num_seeds=3
        )
        return evidence_text(evidence, rules[name], results.plan.study)

    assert text("better", 0.123) == "+12.30 [+12.30, +12.30], n=3"
    assert text("cheaper", 0.25) == "0.25x [0.25x, 0.25x], n=3"
    assert text("better", None) == "no result (3 seeds)"
    rules["not worse"] = NonInferiorityRule(
        kind="non_inferiority", contrasts=rules["better"].contrasts, margin=0.03
    )
    assert text("not worse", -0.01) == "-1.00 [-1.00, -1.00], n=3"


def test_rules_are_sentences(results: StudyResults) -> None:
    rules = {name: claim.rule for name, claim in results.plan.study.claims.items()}
    assert "at least 10 points" in rule_text(rules["better"])
    assert "at or below 0.5 in all comparisons" in rule_text(rules["cheaper"])
    inferior = NonInferiorityRule(kind="non_inferiority", contrasts=("at-cap",), margin=0.03)
    assert "at or above -3 points in all comparisons" in rule_text(inferior)
    slope = SlopeRule(kind="slope", arms=("a",), settings=("s",), measure="loss", high=-0.5)
    assert "none and -0.5" in rule_text(slope)
    assert rule_text(UntestedRule(kind="untested", reason="r")) == "no run of this study tests the claim"


def test_tuned_values_have_short_keys() -> None:
    assert values_text({"training.lr": 0.05, "algorithm.alpha": 0.2}) == "lr=0.05 alpha=0.2"

"""Every rule, with made-up outcomes on both sides of it.

With two seeds and differences d and e, the interval is their mean ± 12.706 |d - e| / 2.
"""

import math

import pytest

from orchestrator.studies.rules import (
    CostRatioRule,
    DifferenceRule,
    ErrorReductionRule,
    NonInferiorityRule,
    SlopeRule,
)
from orchestrator.studies.verdicts import (
    cost_ratio_evidence,
    difference_evidence,
    error_reduction_evidence,
    non_inferiority_evidence,
    slope_evidence,
    verdict_of,
)
from tests.support.studies import contrast

#: 97.5 % quantile of Student's t with one degree of freedom
T1 = 12.706204736


def _rule(margin: float = 0.0, smallest: float = 0.01) -> DifferenceRule:
    return DifferenceRule(kind="difference", contrasts=("c",), margin=margin, smallest=smallest)


class TestNonInferiority:
    """`non_inferiority_evidence` with a margin of 3 points."""

    @pytest.mark.parametrize(
        ("values_a", "values_b", "finding"),
        [
            ([0.90, 0.91, 0.90], [0.91, 0.91, 0.91], "shown"),
            ([0.95, 0.96, 0.95], [0.91, 0.91, 0.91], "shown"),
            ([0.80, 0.81, 0.80], [0.91, 0.91, 0.91], "not shown"),
            ([0.895, 0.910, 0.870], [0.91, 0.91, 0.91], "undecided"),
            ([0.885, 0.890, 0.860], [0.91, 0.91, 0.91], "undecided"),
            ([0.90], [0.91], "undecided"),
        ],
    )
    def test_finding_follows_the_interval_and_the_margin(
        self, values_a: list[float], values_b: list[float], finding: str
    ) -> None:
        rule = NonInferiorityRule(kind="non_inferiority", contrasts=("c",), margin=0.03)
        assert non_inferiority_evidence(rule, contrast(values_a, values_b)).finding == finding

    def test_bound_is_the_lower_end_of_the_interval(self) -> None:
        """Differences of -0.01 and -0.02: -0.015 with a half width of 12.706 x 0.01 / 2."""
        result = contrast([0.40, 0.39], [0.41, 0.41])
        low = -0.015 - T1 * 0.01 / 2
        for margin, finding in ((-low + 1e-6, "shown"), (-low - 1e-6, "undecided")):
            rule = NonInferiorityRule(kind="non_inferiority", contrasts=("c",), margin=margin)
            evidence = non_inferiority_evidence(rule, result)
            assert evidence.finding == finding
            assert evidence.low == pytest.approx(low)


class TestDifference:
    """`difference_evidence`."""

    @pytest.mark.parametrize(
        ("values_a", "values_b", "margin", "finding"),
        [
            ([0.60, 0.61, 0.60], [0.40, 0.40, 0.40], 0.1, "shown"),
            ([0.45, 0.46, 0.45], [0.40, 0.40, 0.40], 0.1, "smaller"),
            ([0.40, 0.41, 0.40], [0.40, 0.40, 0.40], 0.1, "not shown"),
            ([0.30, 0.31, 0.30], [0.40, 0.40, 0.40], 0.1, "not shown"),
            ([0.10, 0.90, 0.60], [0.40, 0.40, 0.40], 0.1, "undecided"),
            ([0.45, 0.46, 0.45], [0.40, 0.40, 0.40], 0.0, "shown"),
            ([0.401, 0.400, 0.399], [0.40, 0.40, 0.40], 0.0, "not shown"),
            ([0.35, 0.45, 0.41], [0.40, 0.40, 0.40], 0.0, "undecided"),
        ],
    )
    def test_finding_follows_the_interval_and_the_margin(
        self, values_a: list[float], values_b: list[float], margin: float, finding: str
    ) -> None:
        assert difference_evidence(_rule(margin), contrast(values_a, values_b)).finding == finding

    def test_interval_is_the_t_interval_of_the_differences(self) -> None:
        evidence = difference_evidence(_rule(), contrast([0.5, 0.6], [0.4, 0.4]))
        assert evidence.estimate == pytest.approx(0.15)
        assert evidence.low == pytest.approx(0.15 - T1 * 0.05, rel=1e-6)
        assert evidence.high == pytest.approx(0.15 + T1 * 0.05, rel=1e-6)

    def test_a_lower_loss_is_in_favour_of_the_first_arm(self) -> None:
        result = contrast([1.0, 1.0, 1.0], [2.0, 2.01, 2.0], higher_is_better=False)
        evidence = difference_evidence(_rule(0.5), result)
        assert (evidence.finding, evidence.estimate) == ("shown", pytest.approx(1.0033, abs=1e-4))

    def test_difference_that_is_not_significant_after_correction_is_undecided(self) -> None:
        result = contrast([0.60, 0.61, 0.60], [0.40, 0.40, 0.40], corrected=0.051)
        assert difference_evidence(_rule(0.1), result).finding == "undecided"

    @pytest.mark.parametrize(("values_a", "values_b"), [([0.9], [0.1]), ([0.9, None], [0.1, 0.1]), ([], [])])
    def test_one_seed_or_a_missing_outcome_decides_nothing(
        self, values_a: list[float | None], values_b: list[float | None]
    ) -> None:
        evidence = difference_evidence(_rule(), contrast(values_a, values_b))
        assert (evidence.finding, evidence.low, evidence.high) == ("undecided", None, None)


class TestCostRatio:
    """`cost_ratio_evidence`."""

    @pytest.mark.parametrize(
        ("costs", "finding"),
        [
            ([50.0, 50.5, 50.0], "shown"),
            ([70.0, 70.5, 70.0], "smaller"),
            ([120.0, 121.0, 120.0], "not shown"),
            ([20.0, 200.0, 60.0], "undecided"),
        ],
    )
    def test_finding_follows_the_interval_of_the_ratio(self, costs: list[float], finding: str) -> None:
        rule = CostRatioRule(kind="cost_ratio", contrasts=("c",), at_most=0.55)
        result = contrast(costs, [100.0, 100.0, 100.0], metric="upload_bytes", higher_is_better=False)
        assert cost_ratio_evidence(rule, result).finding == finding

    def test_estimate_is_the_geometric_mean_of_the_ratios(self) -> None:
        rule = CostRatioRule(kind="cost_ratio", contrasts=("c",), at_most=0.5)
        evidence = cost_ratio_evidence(rule, contrast([1.0, 4.0], [8.0, 8.0]))
        assert evidence.estimate == pytest.approx(0.25)
        assert evidence.high == pytest.approx(0.25 * math.exp(T1 * math.log(2.0)), rel=1e-5)

    def test_equal_costs_of_all_seeds_have_an_interval_without_width(self) -> None:
        rule = CostRatioRule(kind="cost_ratio", contrasts=("c",), at_most=0.5)
        evidence = cost_ratio_evidence(rule, contrast([50.0, 50.0], [100.0, 100.0]))
        assert (evidence.finding, evidence.low, evidence.high) == ("shown", 0.5, 0.5)

    def test_target_that_an_arm_does_not_reach_decides_nothing(self) -> None:
        rule = CostRatioRule(kind="cost_ratio", contrasts=("c",), at_most=0.5)
        assert cost_ratio_evidence(rule, contrast([None, 1.0], [2.0, 2.0])).finding == "undecided"


class TestErrorReduction:
    """`error_reduction_evidence`."""

    @pytest.mark.parametrize(
        ("accuracies", "finding"),
        [
            ([0.70, 0.701, 0.70], "shown"),
            ([0.55, 0.551, 0.55], "smaller"),
            ([0.45, 0.451, 0.45], "not shown"),
            ([0.30, 0.90, 0.55], "undecided"),
        ],
    )
    def test_finding_follows_the_reduced_error(self, accuracies: list[float], finding: str) -> None:
        rule = ErrorReductionRule(kind="error_reduction", contrasts=("c",), at_least=0.2)
        assert error_reduction_evidence(rule, contrast(accuracies, [0.5, 0.5, 0.5])).finding == finding

    def test_estimate_is_the_removed_share_of_the_error(self) -> None:
        rule = ErrorReductionRule(kind="error_reduction", contrasts=("c",), at_least=0.2)
        evidence = error_reduction_evidence(rule, contrast([0.75, 0.75], [0.5, 0.5]))
        assert (evidence.estimate, evidence.low, evidence.high) == pytest.approx((0.5, 0.5, 0.5))


class TestSlope:
    """`slope_evidence`."""

    @pytest.mark.parametrize(
        ("slopes", "finding"),
        [
            ([-0.60, -0.61, -0.60], "shown"),
            ([-0.40, -0.70, -0.60], "smaller"),
            ([-0.30, -0.31, -0.30], "not shown"),
            ([-0.30, -0.60, -0.45], "undecided"),
            ([-0.60], "undecided"),
            ([-0.60, None], "undecided"),
        ],
    )
    def test_finding_follows_the_interval_and_the_bound(
        self, slopes: list[float | None], finding: str
    ) -> None:
        rule = SlopeRule(kind="slope", arms=("a",), settings=("s",), measure="loss", high=-0.5)
        assert slope_evidence(rule, "slope", slopes).finding == finding

    def test_lower_bound_excludes_steeper_slopes(self) -> None:
        rule = SlopeRule(kind="slope", arms=("a",), settings=("s",), measure="loss", low=-0.55, high=-0.45)
        assert slope_evidence(rule, "slope", [-0.9, -0.91, -0.9]).finding == "not shown"


@pytest.mark.parametrize(
    ("findings", "need", "verdict"),
    [
        (["shown", "shown"], "all", "holds"),
        (["shown", "not shown"], "some", "holds"),
        (["shown", "not shown"], "all", "holds in part"),
        (["shown", "undecided"], "all", "holds in part"),
        (["smaller", "not shown"], "all", "holds in part"),
        (["smaller", "smaller"], "some", "holds in part"),
        (["not shown", "undecided"], "all", "does not hold"),
        (["not shown"], "some", "does not hold"),
        (["undecided", "undecided"], "all", "cannot be tested at this scale"),
        ([], "all", "cannot be tested at this scale"),
    ],
)
def test_verdict_combines_the_findings(findings: list[str], need: str, verdict: str) -> None:
    assert verdict_of(findings, need) == verdict  # type: ignore[arg-type]

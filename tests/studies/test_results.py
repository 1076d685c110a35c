"""Results of a study: verdicts by the study's own rules, and notes about missing runs."""

from pathlib import Path

import pytest

from tests.support.studies import SMALL, small_results


@pytest.mark.parametrize(
    ("masked", "verdict"),
    [(0.9, "holds"), (0.65, "holds in part"), (0.3, "does not hold")],
)
def test_verdict_follows_the_outcomes(tmp_path: Path, masked: float, verdict: str) -> None:
    """The claim wants 10 points more than both others, which have 0.6."""
    results = small_results(tmp_path, {"masked": masked, "dense": 0.6, "frozen": 0.6})
    claims = {claim.name: claim for claim in results.claims}
    assert claims["better"].verdict == verdict
    assert len(claims["better"].evidence) == 2
    assert claims["cheaper"].verdict == "holds"


def test_claim_of_another_scale_is_not_tested(tmp_path: Path) -> None:
    results = small_results(tmp_path, {"masked": 0.9, "dense": 0.6, "frozen": 0.6})
    large = next(claim for claim in results.claims if claim.name == "large")
    assert (large.verdict, large.evidence) == ("cannot be tested at this scale", ())
    assert "--scale paper" in large.reason


def test_untested_rule_gives_its_reason(tmp_path: Path) -> None:
    text = SMALL.replace(
        "{kind: cost_ratio, contrasts: [upload], at_most: 0.5}", "{kind: untested, reason: never}"
    )
    results = small_results(tmp_path, {"masked": 0.9, "dense": 0.6, "frozen": 0.6}, text)
    cheaper = next(claim for claim in results.claims if claim.name == "cheaper")
    assert (cheaper.verdict, cheaper.reason) == ("cannot be tested at this scale", "never")


def test_slope_rule_uses_the_curves_of_its_arms(tmp_path: Path) -> None:
    rule = "{kind: slope, arms: [masked, dense], settings: [digits], measure: accuracy, low: -0.1, high: 0.1}"
    text = SMALL.replace("{kind: cost_ratio, contrasts: [upload], at_most: 0.5}", rule)
    results = small_results(tmp_path, {"masked": 0.9, "dense": 0.6, "frozen": 0.6}, text)
    cheaper = next(claim for claim in results.claims if claim.name == "cheaper")
    assert [each.finding for each in cheaper.evidence] == ["shown", "shown"]


def test_arms_have_their_chosen_values_and_outcomes(tmp_path: Path) -> None:
    results = small_results(tmp_path, {"masked": 0.9, "dense": 0.6, "frozen": 0.5})
    arms = {arm.cell.arm: arm for arm in results.arms}
    assert arms["masked"].values == {"training.lr": 0.05, "algorithm.alpha": 0.2}
    assert arms["frozen"].values == {"training.lr": 0.05}, "RandomMask has no alpha"
    assert arms["dense"].at_end["accuracy"].mean == pytest.approx(0.601)
    assert arms["dense"].at_end["upload"].mean == 5_000_000.0
    assert arms["dense"].at_cap["upload"].mean == 500_000.0


def test_missing_runs_are_named(tmp_path: Path) -> None:
    results = small_results(tmp_path, {"masked": 0.9, "dense": 0.6, "frozen": 0.5}, seeds=2)
    assert "dense (digits) has 2 of 3 runs" in results.notes

"""The tables of a report."""

from dataclasses import replace
from pathlib import Path

from orchestrator.studies.report.tables import contrast_table, evidence_table, outcome_table, verdict_table
from orchestrator.studies.results import StudyResults
from tests.support.studies import TWO_SETTINGS, small_plan


def test_verdict_table_has_every_claim_with_its_published_figure(results: StudyResults) -> None:
    rows = {row[0]: row for row in verdict_table(results).rows}
    better = rows["The mask is better at equal upload."]
    assert better[1] == "+10 points (nowhere)"
    assert "masked - dense, accuracy at the upload cap (digits): +30.00 [+30.00, +30.00], n=3" in better[2]
    assert better[3] == "holds"
    assert rows["The mask is better on large models."][2] == "this claim is tested at --scale paper"


def test_verdicts_of_a_part_of_the_study_name_its_settings(results: StudyResults, tmp_path: Path) -> None:
    part = replace(results, plan=small_plan(tmp_path, text=TWO_SETTINGS, settings=("digits",)))
    assert all(row[2].endswith(" (only digits)") for row in verdict_table(part).rows)
    assert not any("only" in row[2] for row in verdict_table(results).rows)


def test_evidence_table_has_every_comparison_and_its_finding(results: StudyResults) -> None:
    rows = evidence_table(results).rows
    assert [(row[0], row[4]) for row in rows] == [
        ("better", "shown"),
        ("better", "shown"),
        ("cheaper", "shown"),
    ]


def test_outcome_table_has_the_arms_with_their_tuned_values(results: StudyResults) -> None:
    table = outcome_table(results, "digits")
    assert table.headings == ("arm", "n", "tuned", "accuracy", "upload", "accuracy at cap", "upload at cap")
    assert table.rows[1][:4] == ("masked: FedDST", "3", "lr=0.05 alpha=0.2", "90.10±0.25")
    assert table.rows[0][-1] == "500 kB ± 0 B", "one round of 500 kB is within the cap of 900 kB"


def test_null_results_stay_in_the_contrasts(results: StudyResults) -> None:
    rows = contrast_table(results).rows
    assert len(rows) == len(results.contrasts) == 3
    assert rows[2][5].startswith("-4 MB")

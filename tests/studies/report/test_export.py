"""The results as CSV."""

import csv
import io

import pytest

from orchestrator.studies.report.export import (
    OUTCOME_COLUMNS,
    VERDICT_COLUMNS,
    contrasts_csv,
    outcomes_csv,
    verdicts_csv,
)
from orchestrator.studies.results import StudyResults
from tests.support.studies import study_state


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_outcomes_have_numbers_costs_and_the_command(results: StudyResults) -> None:
    rows = _rows(outcomes_csv(results, study_state()))
    assert tuple(rows[0]) == OUTCOME_COLUMNS
    assert len(rows) == 3 * 2 * 2, "arms, measures, and end or cap"
    dense = {(row["measure"], row["at"]): row for row in rows if row["arm"] == "dense"}
    at_end, at_cap = dense["accuracy", "end"], dense["accuracy", "cap"]
    assert float(at_end["mean"]) == pytest.approx(0.601)
    assert (at_end["upload_bytes"], at_cap["upload_bytes"]) == ("5000000.0", "500000.0")
    assert (at_end["data"], at_end["sparsity"], at_end["tuned"]) == ("digits", "0.8", "lr=0.1")
    assert {row["command"] for row in rows} == {"sparsefleet reproduce small.yaml"}


def test_verdicts_have_the_measured_text(results: StudyResults) -> None:
    rows = _rows(verdicts_csv(results, study_state()))
    assert tuple(rows[0]) == VERDICT_COLUMNS
    verdicts = ["holds", "holds", "cannot be tested at this scale"]
    assert [row["verdict"] for row in rows] == verdicts


def test_contrasts_have_the_outcomes_of_each_seed(results: StudyResults) -> None:
    rows = _rows(contrasts_csv(results))
    assert (rows[0]["seeds"], rows[0]["values_b"].split()[0]) == ("0 1 2", "0.6")
    assert float(rows[0]["mean"]) == pytest.approx(0.3)
    assert float(rows[0]["corrected_p_value"]) >= float(rows[0]["p_value"])

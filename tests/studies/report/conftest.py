"""Results of the small study in which the mask holds two of its claims."""

from pathlib import Path

import pytest

from orchestrator.studies.results import StudyResults
from tests.support.studies import small_results


@pytest.fixture
def results(tmp_path: Path) -> StudyResults:
    """The masked arm has 90 %, the others 60 %."""
    return small_results(tmp_path, {"masked": 0.9, "dense": 0.6, "frozen": 0.6})

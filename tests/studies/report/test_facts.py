"""The facts with which a report can be checked."""

from orchestrator.studies.report.facts import origin_lines, protocol_lines, run_lines
from orchestrator.studies.results import StudyResults
from tests.support.studies import study_state


def test_protocol_names_the_seeds_and_the_learning_rates(results: StudyResults) -> None:
    text = " ".join(protocol_lines(results))
    for part in ("0 to 2", "100 to 102", "0.05, 0.1", "last 5 evaluations"):
        assert part in text


def test_origin_has_command_versions_and_runs(results: StudyResults) -> None:
    state = study_state(sweeps={"tuning": "t-1", "report": "r-1"})
    text = " ".join(origin_lines(state))
    for part in ("sparsefleet reproduce small.yaml", "sparsefleet 0.1.0", "commit abc", "t-1", "r-1"):
        assert part in text
    assert next(iter(run_lines(results))) == "digits, dense: dense-0, dense-1, dense-2"

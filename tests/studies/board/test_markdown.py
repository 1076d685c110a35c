"""docs/results.md."""

from orchestrator.studies.board.markdown import results_page
from orchestrator.studies.board.stored import StoredResults


def test_claims_without_results_are_not_run() -> None:
    page = results_page(StoredResults((), ()))
    claims = [line for line in page.splitlines() if line.startswith("| FedDST is")]
    assert claims
    assert all(line.endswith("| – | not run |") for line in claims)


def test_verdicts_of_a_built_in_study_replace_not_run() -> None:
    stored = StoredResults((), ({"study": "ssfl-sparsity", "claim": "bytes", "scale": "quick"},))
    row = {**stored.verdicts[0], "verdict": "holds", "measured": "0.5x", "num_seeds": "3"}
    line = next(
        line for line in results_page(StoredResults((), (row,))).splitlines() if "SSFL uploads half" in line
    )
    assert line.endswith("| 0.5x | holds (quick, 3 seeds) |")

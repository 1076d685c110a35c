"""The two pages of the board."""

from pathlib import Path

from orchestrator.studies.board.write import write_board
from tests.support.studies import finished_study

DOCS = Path(__file__).parents[3] / "docs"


def test_pages_of_the_documentation_are_up_to_date(tmp_path: Path) -> None:
    stored = tmp_path / "results"
    stored.mkdir()
    for file in DOCS.glob("results/*.csv"):
        (stored / file.name).write_bytes(file.read_bytes())
    written = write_board(tmp_path)
    for path in written:
        assert path.read_text() == (DOCS / path.relative_to(tmp_path)).read_text(), (
            "run the command of results.md"
        )


def test_added_study_stands_on_both_pages(tmp_path: Path) -> None:
    markdown, html = (path.read_text() for path in write_board(tmp_path / "docs", [finished_study(tmp_path)]))
    row = "| digits (quick) | FedDST | fedavg | 0.8 | accuracy | 3 | 90.10 ± 0.25 | 1 MB | – | – |"
    assert row in markdown
    assert "sparsefleet reproduce frontier --data data" in markdown
    assert html.count("<tr>") == 1 + 3 * 2, "a heading, and three arms at the end and at the cap"

"""Writes the pages of the board into the folder of the documentation."""

from collections.abc import Iterable
from pathlib import Path

from orchestrator.atomic_write import explained_write
from orchestrator.studies.board.frontier_picture import write_frontier_picture
from orchestrator.studies.board.markdown import results_page
from orchestrator.studies.board.page import board_page
from orchestrator.studies.board.stored import add_study, read_stored


def write_board(docs: Path, studies: Iterable[Path] = ()) -> list[Path]:
    """Add the results of finished studies to `docs/results`, and write `docs/results.md` and `docs/board/index.html`.

    Also draws `docs/images/frontier.png` if the study of all methods has results. Returns the paths of the two pages.
    Raises RequestError for a study without a report.
    """
    for study in studies:
        add_study(study, docs / "results")
    stored = read_stored(docs / "results")
    pages = {docs / "results.md": results_page(stored), docs / "board" / "index.html": board_page(stored)}
    with explained_write(docs):
        for path, text in pages.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        write_frontier_picture(stored.outcomes, docs / "images" / "frontier.png")
    return list(pages)

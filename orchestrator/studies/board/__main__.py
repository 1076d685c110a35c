"""Writes the board: `python -m orchestrator.studies.board [--docs DIR] [STUDY_FOLDER]...`.

Each STUDY_FOLDER is a finished study whose results are added to `DIR/results` first.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.errors import SparsefleetError
from orchestrator.studies.board.write import write_board


def main(
    studies: Annotated[
        list[Path] | None, typer.Argument(metavar="[STUDY_FOLDER]...", help="Add these studies.")
    ] = None,
    docs: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the documentation.")] = Path("docs"),
) -> None:
    """Add the studies to the stored results, and write results.md and board/index.html."""
    try:
        for path in write_board(docs, studies or ()):
            print(path)
    except SparsefleetError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from error


if __name__ == "__main__":
    typer.run(main)

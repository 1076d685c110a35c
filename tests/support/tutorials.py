"""Executes notebooks of docs/tutorials in a real kernel: `python -m tests.support.tutorials` stores outputs."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"
TUTORIALS = sorted(FOLDER.glob("*.ipynb"))
#: seconds that a cell may take on a busy machine
TIMEOUT_S = 300


def executed(notebook: Path, folder: Path) -> Any:
    """Execute a notebook in `folder` and return it with its outputs. Raises CellExecutionError for a failed cell."""
    book = nbformat.read(notebook, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    # this variable of pytest would switch off that cells show what the process writes to its descriptors
    environment = {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"}
    client = NotebookClient(book, timeout=TIMEOUT_S, resources=resources, record_timing=False)
    client.execute(env={**environment, "IPYTHONDIR": str(folder / ".ipython")})
    return book


def texts(book: Any) -> Iterator[str]:
    """Return the texts of all outputs."""
    for cell in book.cells:
        for output in cell.get("outputs", ()):
            yield output.get("text", "")
            yield from (value for key, value in output.get("data", {}).items() if key.startswith("text/"))


def _without_folder(book: Any, folder: str) -> Any:
    """Show the files of the notebook as in the reader's current folder."""
    return nbformat.reads(nbformat.writes(book).replace(folder, "."), as_version=4)


def main() -> None:
    """Execute the notebooks, or those of the given names, and store them with their outputs."""
    for notebook in TUTORIALS:
        if sys.argv[1:] and notebook.stem not in sys.argv[1:]:
            continue
        with TemporaryDirectory() as folder:
            book = _without_folder(executed(notebook, Path(folder)), folder)
        nbformat.write(book, notebook)
        print(notebook.name)


if __name__ == "__main__":
    main()

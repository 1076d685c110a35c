"""The notebooks of docs/tutorials run in a real kernel, and their stored outputs show no messages of libraries."""

from pathlib import Path

import nbformat
import pytest

from tests.support.tutorials import TUTORIALS, executed, texts

#: what Ray, tqdm and Python print in notebooks
NOISE = ("WARNING", "INFO", "ipywidgets", "IProgress", "pid=", "Warning:")


def test_there_are_three_small_notebooks() -> None:
    assert [path.stem for path in TUTORIALS] == ["first-run", "your-fleet", "your-method"]
    assert all(path.stat().st_size < 150_000 for path in TUTORIALS)


@pytest.mark.parametrize("notebook", TUTORIALS, ids=lambda path: path.stem)
def test_stored_notebook_was_executed_in_order(notebook: Path) -> None:
    book = nbformat.read(notebook, as_version=4)
    nbformat.validate(book)
    counts = [cell.execution_count for cell in book.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not [word for word in NOISE for text in texts(book) if word in text]


@pytest.mark.ray
@pytest.mark.parametrize("notebook", TUTORIALS, ids=lambda path: path.stem)
def test_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    book = executed(notebook, tmp_path)
    stored = nbformat.read(notebook, as_version=4)
    kinds = [[output.output_type for output in cell.get("outputs", ())] for cell in book.cells]
    expected = [[output.output_type for output in cell.get("outputs", ())] for cell in stored.cells]
    # the kernel may divide a stream into several outputs
    assert [set(each) for each in kinds] == [set(each) for each in expected]
    assert not [word for word in NOISE for text in texts(book) if word in text]
    assert len(list((tmp_path / "runs").iterdir())) >= 2

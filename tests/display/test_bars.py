"""Progress bars on a terminal, and in a real notebook kernel."""

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from orchestrator.display.bars import print_line, progress_console, start_bar
from tests.support.kernel import Kernel, running_kernel


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with running_kernel(tmp_path_factory.mktemp("kernel")) as started:
        yield started


def test_bar_of_a_terminal_shows_steps_state_and_lines_above() -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    bar = start_bar(screen, "run-1", 4, 1, "starting", shows_time_left=True)
    assert bar is not None
    print_line(screen, "a [note]")
    bar.update(3, "accuracy 50%")
    bar.stop()
    assert isinstance(screen.file, io.StringIO)
    text = screen.file.getvalue()
    assert "a [note]" in text
    for part in ("run-1", "1/4 starting", "3/4 accuracy 50%"):
        assert part in text


def test_no_bar_starts_in_a_file_and_outside_of_notebooks() -> None:
    screen = Console(file=io.StringIO())
    assert start_bar(screen, "run-1", 4, 0, "", shows_time_left=True) is None
    assert not progress_console().is_jupyter
    assert progress_console().stderr


BAR = """
from orchestrator.display.bars import NotebookBar
now_s = [0.0]
bar = NotebookBar("run-1", 10, 2, "", shows_time_left={time_left}, clock=lambda: now_s[0])
for seconds, completed in ((6.0, 4), (6.05, 5), (8.0, 6), (16.0, 10)):
    now_s[0] = seconds
    bar.update(completed, f"accuracy <{{completed}}>")
bar.stop()
"""


def test_notebook_updates_one_output_with_the_time_left(kernel: Kernel) -> None:
    """After 2 of 8 steps in 6 s, the other 6 steps take 18 s. The update 0.05 s later is left out."""
    shown = kernel.execute(BAR.format(time_left=True)).bar
    assert [state["text/plain"] for state in shown] == [
        "run-1: 2/10",
        "run-1: 4/10  accuracy <4>  18 s left",
        "run-1: 6/10  accuracy <6>  8 s left",
        "run-1: 10/10  accuracy <10>  16 s",
        "run-1: 10/10  accuracy <10>  16 s",
    ]
    assert '<progress value="4" max="10"' in shown[1]["text/html"]
    assert "accuracy &lt;4&gt;" in shown[1]["text/html"], "the state is text, not HTML"


def test_notebook_shows_the_elapsed_time(kernel: Kernel) -> None:
    shown = kernel.execute(BAR.format(time_left=False)).bar
    assert [state["text/plain"].split("  ")[-1] for state in shown] == [
        "run-1: 2/10",
        "6 s",
        "8 s",
        "16 s",
        "16 s",
    ]


def test_lines_of_a_notebook_are_text_of_one_stream(kernel: Kernel) -> None:
    code = """
from orchestrator.display.bars import print_line, progress_console
console = progress_console()
print_line(console, "a [note]")
print_line(console, "another note")
"""
    output = kernel.execute(code)
    assert output.text == "a [note]\nanother note\n"
    assert not output.states

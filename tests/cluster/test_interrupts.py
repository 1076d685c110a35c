"""What a signal to `submit` does: what the option says, what the user answers, and what a closed terminal means."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cluster.interrupts import Choice, ask_choice, interrupt_choice

#: follows a job that never ends, until a signal arrives; writes whether it stopped the job
FOLLOWER = """
import sys
from pathlib import Path

from orchestrator.cluster.follow import JobLogFollower
from orchestrator.cluster.interrupts import interrupt_choice
from orchestrator.cluster.jobs import Job
from orchestrator.processes.signals import exit_process, handling_signals
from tests.support.cluster_fakes import SILENCE, FakeJobs

jobs = FakeJobs([["follows", *[SILENCE] * 10**6]], Job(job_id="run-1", state="STOPPED"))
with handling_signals() as signals:
    choose = interrupt_choice(None, forget=signals.forget)
    follower = JobLogFollower(
        jobs, "run-1", write=print, note=print, choose=choose, silence_s=0.02
    )
    follower.follow()
    Path(sys.argv[1]).write_text(f"stopped {jobs.stopped}")
    exit_process(signals.exit_code)
"""


@pytest.mark.parametrize(("way", "choice"), [("stop", "stop"), ("detach", "detach"), (None, "stop")])
def test_option_decides_without_a_question(
    way: str | None, choice: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No option: standard input is no terminal here, and a script leaves no job running."""
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert interrupt_choice(way, forget=_fail, read=_fail)() == choice


@pytest.mark.parametrize(("answer", "choice", "forgotten"), [("s", "stop", 0), ("c", "continue", 1)])
def test_option_ask_asks_and_continuing_forgets_the_signal(
    answer: str, choice: Choice, forgotten: int
) -> None:
    calls: list[bool] = []
    choose = interrupt_choice("ask", forget=lambda: calls.append(True), read=lambda _: answer)
    assert (choose(), len(calls)) == (choice, forgotten)


def _fail(*arguments: object) -> str:
    raise AssertionError(arguments)


def test_closed_terminal_leaves_the_job_running(tmp_path: Path) -> None:
    controller, terminal = os.openpty()
    note = tmp_path / "note"
    command = ["setsid", "--ctty", sys.executable, "-c", FOLLOWER, str(note)]
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], **streams) as process:
        os.close(terminal)
        printed = b""
        while b"follows" not in printed:
            printed += os.read(controller, 4096)
        os.close(controller)
        assert process.wait(60) == 129
    assert note.read_text() == "stopped []"


@pytest.mark.parametrize(
    ("answer", "choice"),
    [
        ("s", "stop"),
        (" Stop\n", "stop"),
        ("d", "detach"),
        ("c", "continue"),
        ("", "continue"),
        ("what?", "continue"),
    ],
)
def test_answer_at_the_terminal_is_a_choice(answer: str, choice: Choice) -> None:
    assert ask_choice(lambda _: answer) == choice


@pytest.mark.parametrize("raised", [KeyboardInterrupt, EOFError])
def test_no_answer_at_the_terminal_detaches(raised: type[BaseException]) -> None:
    def read(prompt: str) -> str:
        raise raised

    assert ask_choice(read) == "detach"

"""Following a job: what is printed, what Ctrl-C does, and with which code it ends."""

from collections.abc import Sequence

import pytest

from orchestrator.cluster.follow import RETRIES_S, Choice, JobLogFollower, ask, exit_code
from orchestrator.cluster.jobs import Job
from orchestrator.errors import ClusterError, SparsefleetError
from tests.support.cluster_fakes import (
    BREAK,
    END,
    INTERRUPT,
    SILENCE,
    FakeJobs,
)

DONE = Job(job_id="run-1", state="SUCCEEDED", exit_code=0)
STOPPED = Job(job_id="run-1", state="STOPPED")


class Screen:
    """What was printed, noted and waited for."""

    def __init__(self) -> None:
        self.text, self.notes, self.pauses = "", list[str](), list[float]()

    def write(self, text: str) -> None:
        self.text += text

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


def _follow(jobs: FakeJobs, screen: Screen, choices: Sequence[Choice] = ()) -> int:
    left = list(choices)
    return JobLogFollower(
        jobs,
        "run-1",
        write=screen.write,
        note=screen.notes.append,
        choose=lambda: left.pop(0),
        pause=screen.pause,
        silence_s=0.01,
    ).follow()


def test_the_log_is_printed_as_it_is_and_the_code_is_the_jobs() -> None:
    screen = Screen()
    failed = Job(job_id="run-1", state="FAILED", exit_code=2, message="Job entrypoint command failed")
    assert _follow(FakeJobs([["one\n", "t", "wo\n"]], failed), screen) == 2
    assert (screen.text, screen.notes) == ("one\ntwo\n", [])


def test_the_last_words_of_a_job_come_after_its_end() -> None:
    """Ray sends them seconds later, when the job has been seen to have ended more than once."""
    screen = Screen()
    assert _follow(FakeJobs([["one\n", END, SILENCE, "the result\n"]], DONE), screen) == 0
    assert screen.text == "one\nthe result\n"


def test_a_log_that_never_ends_is_given_up_after_the_jobs_end() -> None:
    screen = Screen()
    assert _follow(FakeJobs([["one\n", END, *[SILENCE] * 10, "late\n"]], DONE), screen) == 0
    assert screen.text == "one\n"


def test_a_job_that_waits_says_for_what() -> None:
    screen = Screen()
    waiting = Job(job_id="run-1", state="PENDING", message="no  node\nhas room")
    jobs = FakeJobs([[SILENCE, "one\n"]], DONE, before=waiting)
    assert _follow(jobs, screen) == 0
    assert screen.notes == ["run-1 waits: no node has room"]


def test_a_connection_that_breaks_is_made_again_and_nothing_printed_twice() -> None:
    screen = Screen()
    plays = [["one\n", "tw", BREAK], [BREAK], ["one\ntw", "o\n", BREAK], ["one\n", "two\nth", "ree\n"]]
    assert _follow(FakeJobs(plays, DONE), screen) == 0
    assert screen.text == "one\ntwo\nthree\n"
    assert screen.pauses == [1.0, 2.0, 1.0], "patience begins anew with each new text"


def test_a_cluster_that_is_gone_ends_with_one_line_that_says_what_to_do() -> None:
    screen = Screen()
    with pytest.raises(ClusterError) as caught:
        _follow(FakeJobs([["one\n", BREAK], [BREAK]], DONE), screen)
    assert screen.pauses == [*RETRIES_S]
    told = str(caught.value)
    assert "sparsefleet submit --address http://head:8265 --follow run-1" in told
    assert "`sparsefleet submit resume RUN`" in told
    assert caught.value.exit_code == 1


def test_ctrl_c_can_stop_the_job_whose_end_is_still_shown() -> None:
    screen = Screen()
    jobs = FakeJobs([["one\n", INTERRUPT], ["one\n", "stopped after 1 round\n"]], DONE, on_stop=STOPPED)
    assert _follow(jobs, screen, ["stop"]) == 130
    assert jobs.stopped == ["run-1"]
    assert screen.text == "one\nstopped after 1 round\n"
    assert screen.notes == ["stopping after the round in progress; press Ctrl-C again not to wait for it"]


def test_ctrl_c_can_leave_the_job_alone() -> None:
    screen = Screen()
    jobs = FakeJobs([["one\n", INTERRUPT]], DONE)
    assert _follow(jobs, screen, ["detach"]) == 130
    assert jobs.stopped == []
    (note,) = screen.notes
    assert note.startswith("the job goes on; ")
    assert note.endswith("sparsefleet submit --address http://head:8265 --follow run-1")


def test_ctrl_c_can_be_taken_back() -> None:
    screen = Screen()
    assert _follow(FakeJobs([["one\n", INTERRUPT], ["one\n", "two\n"]], DONE), screen, ["go on"]) == 0
    assert (screen.text, screen.notes) == ("one\ntwo\n", [])


def test_a_second_ctrl_c_does_not_wait_for_the_round() -> None:
    screen = Screen()
    jobs = FakeJobs([["one\n", INTERRUPT], ["one\n", INTERRUPT]], DONE, on_stop=STOPPED)
    assert _follow(jobs, screen, ["stop"]) == 130
    assert jobs.stopped == ["run-1"]
    assert screen.notes[-1].startswith("the job is stopping; ")


@pytest.mark.parametrize(
    ("answer", "choice"),
    [("s", "stop"), (" Stop\n", "stop"), ("d", "detach"), ("c", "go on"), ("", "go on"), ("what?", "go on")],
)
def test_a_person_is_asked(answer: str, choice: Choice) -> None:
    assert ask(lambda _: answer) == choice


@pytest.mark.parametrize("raised", [KeyboardInterrupt, EOFError])
def test_no_answer_leaves_the_job_alone(raised: type[BaseException]) -> None:
    def read(prompt: str) -> str:
        raise raised

    assert ask(read) == "detach"


def test_a_stopped_job_was_interrupted() -> None:
    assert exit_code(STOPPED) == 130


@pytest.mark.parametrize(
    ("job", "told"),
    [
        (Job(job_id="j", state="FAILED", exit_code=-9), "job j failed: it was killed by signal 9; "),
        (
            Job(job_id="j", state="FAILED", message="Traceback ...\nOSError: no  such file\n"),
            "job j failed: it did not run to its end (OSError: no such file); ",
        ),
        (Job(job_id="j", state="FAILED"), "it did not run to its end (the cluster gives no reason)"),
    ],
)
def test_a_job_that_was_killed_or_never_started_says_why(job: Job, told: str) -> None:
    with pytest.raises(SparsefleetError) as caught:
        exit_code(job)
    assert told in str(caught.value)
    assert "sparsefleet submit resume RUN" in str(caught.value)
    assert caught.value.exit_code == 1

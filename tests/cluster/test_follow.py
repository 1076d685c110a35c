"""Following a job: what is printed, what Ctrl-C does, and which exit code is returned."""

from collections.abc import Sequence

import pytest

from orchestrator.cluster.follow import RETRIES_S, JobLogFollower, exit_code
from orchestrator.cluster.interrupts import Choice
from orchestrator.cluster.jobs import Job
from orchestrator.errors import ClusterError, SparsefleetError
from orchestrator.processes.signals import handling_signals
from tests.support.cluster_fakes import (
    BREAK,
    END,
    HANG_UP,
    INTERRUPT,
    SILENCE,
    TERMINATE,
    FakeJobs,
)

#: the command that a message about a failed job names
RESUME = "sparsefleet submit --address http://head:8265 resume RUN"
DONE = Job(job_id="run-1", state="SUCCEEDED", exit_code=0)
STOPPED = Job(job_id="run-1", state="STOPPED")
#: the command that follows the job again; the user can copy it
FOLLOW = " ".join(["sparsefleet submit", "--address http://head:8265", "--follow run-1"])


class Screen:
    """Records what the follower prints and notes, and how long it pauses."""

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


def test_log_is_printed_unchanged_and_exit_code_is_the_jobs() -> None:
    screen = Screen()
    failed = Job(job_id="run-1", state="FAILED", exit_code=2, message="Job entrypoint command failed")
    assert _follow(FakeJobs([["one\n", "t", "wo\n"]], failed), screen) == 2
    assert (screen.text, screen.notes) == ("one\ntwo\n", [])


def test_output_that_arrives_after_the_jobs_end_is_printed() -> None:
    """Ray sends the last output seconds late, when the follower has already seen that the job has ended."""
    screen = Screen()
    assert _follow(FakeJobs([["one\n", END, SILENCE, "the result\n"]], DONE), screen) == 0
    assert screen.text == "one\nthe result\n"


def test_follower_stops_waiting_for_a_log_that_stays_open_after_the_jobs_end() -> None:
    screen = Screen()
    assert _follow(FakeJobs([["one\n", END, *[SILENCE] * 10, "late\n"]], DONE), screen) == 0
    assert screen.text == "one\n"


def test_pending_job_shows_its_reason_once() -> None:
    screen = Screen()
    pending = Job(job_id="run-1", state="PENDING", message="no  node\nhas room")
    jobs = FakeJobs([[SILENCE, "one\n"]], DONE, before=pending)
    assert _follow(jobs, screen) == 0
    assert screen.notes == ["run-1 waits: no node has room"]


def test_follower_reconnects_and_prints_nothing_twice() -> None:
    screen = Screen()
    plays = [["one\n", "tw", BREAK], [BREAK], ["one\ntw", "o\n", BREAK], ["one\n", "two\nth", "ree\n"]]
    assert _follow(FakeJobs(plays, DONE), screen) == 0
    assert screen.text == "one\ntwo\nthree\n"
    assert screen.pauses == [1.0, 2.0, 1.0], "new output resets the delay"


def test_lost_cluster_raises_an_error_with_both_remedies() -> None:
    screen = Screen()
    with pytest.raises(ClusterError) as caught:
        _follow(FakeJobs([["one\n", BREAK], [BREAK]], DONE), screen)
    assert screen.pauses == [*RETRIES_S]
    assert FOLLOW in str(caught.value)
    assert RESUME in str(caught.value)
    assert caught.value.exit_code == 1


def test_ctrl_c_stops_the_job_and_follows_it_to_its_end() -> None:
    screen = Screen()
    jobs = FakeJobs([["one\n", INTERRUPT], ["one\n", "stopped after 1 round\n"]], DONE, on_stop=STOPPED)
    assert _follow(jobs, screen, ["stop"]) == 130
    assert jobs.stopped == ["run-1"]
    assert screen.text == "one\nstopped after 1 round\n"
    (note,) = screen.notes
    assert note.startswith("stopping after ")


def test_ctrl_c_detaches_from_the_job() -> None:
    screen = Screen()
    jobs = FakeJobs([["one\n", INTERRUPT]], DONE)
    assert _follow(jobs, screen, ["detach"]) == 130
    assert jobs.stopped == []
    (note,) = screen.notes
    assert note.startswith("the job keeps running; ")
    assert note.endswith(FOLLOW)


def test_ctrl_c_continues_to_follow_the_job() -> None:
    screen = Screen()
    jobs = FakeJobs([["one\n", INTERRUPT], ["one\n", "two\n"]], DONE)
    assert _follow(jobs, screen, ["continue"]) == 0
    assert (screen.text, screen.notes) == ("one\ntwo\n", [])


def test_second_ctrl_c_does_not_wait_for_the_round() -> None:
    screen = Screen()
    jobs = FakeJobs([["one\n", INTERRUPT], ["one\n", INTERRUPT]], DONE, on_stop=STOPPED)
    assert _follow(jobs, screen, ["stop"]) == 130
    assert jobs.stopped == ["run-1"]
    assert screen.notes[-1].startswith("the job is stopping; ")


@pytest.mark.parametrize(("entry", "code"), [(INTERRUPT, 130), (TERMINATE, 143), (HANG_UP, 129)])
@pytest.mark.parametrize(("choice", "stopped"), [("stop", ["run-1"]), ("detach", [])])
def test_each_signal_to_submit_stops_or_detaches(
    entry: str, code: int, choice: Choice, stopped: list[str]
) -> None:
    """The command line replaces the follower's exit code 130 by the signal's."""
    screen = Screen()
    jobs = FakeJobs([["one\n", entry], ["one\n", "stopped\n"]], DONE, on_stop=STOPPED)
    with handling_signals() as signals:
        assert (_follow(jobs, screen, [choice]), signals.exit_code) == (130, code)
    assert jobs.stopped == stopped


def test_stopped_job_has_the_exit_code_of_an_interrupt() -> None:
    assert exit_code(STOPPED, RESUME) == 130


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (Job(job_id="j", state="FAILED", exit_code=-9), "signal 9"),
        (
            Job(job_id="j", state="FAILED", message="Traceback ...\nOSError: no  such file\n"),
            "(OSError: no such file)",
        ),
        (Job(job_id="j", state="FAILED"), "(the cluster gives no reason)"),
    ],
)
def test_killed_or_unstarted_job_raises_its_reason(job: Job, reason: str) -> None:
    with pytest.raises(SparsefleetError) as caught:
        exit_code(job, RESUME)
    assert str(caught.value).startswith("job j failed: ")
    assert reason in str(caught.value)
    assert RESUME in str(caught.value)
    assert caught.value.exit_code == 1

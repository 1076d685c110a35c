"""Ending runs, sweeps and jobs: here by signals to the process that holds them, elsewhere through the cluster."""

import json
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator.cluster.jobs import Job
from orchestrator.cluster.stopping import RunStopper
from orchestrator.errors import RequestError, SparsefleetError
from tests.support.cluster_fakes import FakeCluster, actor, nowhere
from tests.support.holding import holding


class Stopping:
    """Stops things with a fake cluster (None: there is none), and on a clock that goes on with each pause."""

    def __init__(self, storage: Path, cluster: FakeCluster | None = None) -> None:
        self.storage, self.notes, self.now_s = storage, list[str](), 0.0
        self._connect = nowhere() if cluster is None else lambda: cluster

    def _pause(self, seconds: float) -> None:
        self.now_s += seconds

    def __call__(
        self, name: str, *, at_once: bool = False, timeout_s: float = 30.0, real: bool = False
    ) -> None:
        """`real` waits by the clock on the wall."""
        RunStopper(
            self.storage,
            self._connect,
            self.notes.append,
            timeout_s=timeout_s,
            at_once=at_once,
            clock=time.monotonic if real else lambda: self.now_s,
            pause=time.sleep if real else self._pause,
        ).stop(name)


def _run(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    return folder


def test_a_run_here_is_interrupted_and_waited_for(tmp_path: Path) -> None:
    stopping = Stopping(tmp_path)
    with holding(_run(tmp_path / "r")) as process:
        stopping("r", real=True)
        assert process.wait(10) == 0, "it ended by itself"
    assert [note.partition(" (")[0] for note in stopping.notes] == ["r", "r has ended"]
    assert stopping.notes[0].endswith("ends after the round in progress")


def test_one_that_takes_too_long_is_said_to_and_left_alone(tmp_path: Path) -> None:
    stopping = Stopping(tmp_path)
    with holding(_run(tmp_path / "r"), interrupts=0) as process:
        with pytest.raises(SparsefleetError, match=r"^r has not ended after 3 s; .*--now") as caught:
            stopping("r", timeout_s=3.0)
        assert process.poll() is None
    assert caught.value.exit_code == 1


def test_at_once_means_a_second_interrupt(tmp_path: Path) -> None:
    stopping = Stopping(tmp_path)
    with holding(_run(tmp_path / "r"), interrupts=2) as process:
        stopping("r", at_once=True, real=True)
        assert process.wait(10) == 0


def test_what_does_not_listen_is_killed_when_it_is_to_end_at_once(tmp_path: Path) -> None:
    stopping = Stopping(tmp_path)
    with holding(_run(tmp_path / "r"), interrupts=0) as process:
        with suppress(SparsefleetError):  # the clock runs ahead: the process may not be gone in no time
            stopping("r", at_once=True, timeout_s=0.0)
        assert process.wait(10) == -signal.SIGKILL


def test_what_is_not_at_work_needs_no_stop(tmp_path: Path) -> None:
    stopping = Stopping(tmp_path)
    _run(tmp_path / "r")
    stopping("r")
    assert stopping.notes == ["r is not at work"]


def test_a_trial_is_not_stopped_alone(tmp_path: Path) -> None:
    sweep = tmp_path / "s"
    _run(sweep / "s-000")
    (sweep / "sweep.json").write_text("{}")
    with holding(sweep / "s-000") as process:
        with pytest.raises(RequestError, match=rf"it is a trial of a sweep; .* stop {sweep}"):
            Stopping(tmp_path)("s-000")
        assert process.poll() is None


RUNNING = Job(job_id="run-1", state="RUNNING", driver="02000000")


def test_a_run_on_another_machine_is_stopped_by_its_job(tmp_path: Path) -> None:
    cluster = FakeCluster([actor("r/driver"), actor("q/driver", "05000000")], [RUNNING], looks=3)
    stopping = Stopping(tmp_path, cluster)
    with holding(_run(tmp_path / "r")) as process:
        (tmp_path / "r" / "lock").write_text(json.dumps({"host": "elsewhere", "pid": process.pid}))
        stopping("r")
        assert process.poll() is None, "a process of another machine has the same number"
    assert cluster.told == ["stop job run-1"]
    assert stopping.notes == ["r ends after the round in progress (job run-1)", "r has ended"]


def test_a_run_that_is_only_on_the_cluster_is_found_there(tmp_path: Path) -> None:
    cluster = FakeCluster([actor("r/driver", "09000000")], [RUNNING], looks=2)
    Stopping(tmp_path, cluster)("r")
    assert cluster.told == ["stop run r"]


def test_a_sweep_is_found_by_the_actors_of_its_trials(tmp_path: Path) -> None:
    cluster = FakeCluster([actor("sweep-9-001/pool-phone-0")], [RUNNING])
    Stopping(tmp_path, cluster)("sweep-9")
    assert cluster.told == ["stop job run-1"]


def test_a_job_is_stopped_by_its_id_or_killed_at_once(tmp_path: Path) -> None:
    for at_once, told in ((False, "stop job run-1"), (True, "kill job run-1")):
        cluster = FakeCluster(jobs=[RUNNING])
        stopping = Stopping(tmp_path, cluster)
        stopping("run-1", at_once=at_once)
        assert cluster.told == [told]
        assert stopping.notes[-1] == "run-1 has ended"


def test_a_job_that_has_ended_is_left_as_it_is(tmp_path: Path) -> None:
    cluster = FakeCluster(jobs=[Job(job_id="run-1", state="FAILED", exit_code=2)])
    stopping = Stopping(tmp_path, cluster)
    stopping("run-1")
    assert (cluster.told, stopping.notes) == ([], ["run-1 is not at work"])


def test_a_job_that_does_not_end_in_time(tmp_path: Path) -> None:
    with pytest.raises(SparsefleetError, match=r"^run-1 has not ended after 5 s; "):
        Stopping(tmp_path, FakeCluster(jobs=[RUNNING], looks=10**6))("run-1", timeout_s=5.0)


def test_what_nobody_knows(tmp_path: Path) -> None:
    told = rf"^RUN=x: nothing in {tmp_path} has this name, and it is not at work on the cluster at http://head:8265; "
    with pytest.raises(RequestError, match=told):
        Stopping(tmp_path, FakeCluster([actor("xy/driver")], [RUNNING]))("x")
    told = rf"^RUN=x: nothing in {tmp_path} has this name, and of --address http://head:8265: no cluster listens there"
    with pytest.raises(RequestError, match=told):
        Stopping(tmp_path)("x")

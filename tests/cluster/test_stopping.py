"""Stopping runs, sweeps and jobs: local processes by signals, all others through the cluster."""

import json
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator.cluster.jobs import Job
from orchestrator.cluster.stopping import RunStopper
from orchestrator.errors import RequestError, SparsefleetError
from tests.support.cluster_fakes import FakeCluster, actor, no_cluster
from tests.support.locking import locking


class Stopping:
    """Stops by name with a fake cluster (None: no cluster), on a fake clock that each pause advances."""

    def __init__(self, storage: Path, cluster: FakeCluster | None = None) -> None:
        self.storage, self.notes, self.now_s = storage, list[str](), 0.0
        self._connect = no_cluster() if cluster is None else lambda: cluster

    def _pause(self, seconds: float) -> None:
        self.now_s += seconds

    def __call__(
        self, name: str, *, at_once: bool = False, timeout_s: float = 30.0, real: bool = False
    ) -> None:
        """`real` uses the real clock."""
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


def test_local_run_is_interrupted_and_awaited(tmp_path: Path) -> None:
    stopping = Stopping(tmp_path)
    with locking(_run(tmp_path / "r")) as process:
        stopping("r", real=True)
        assert process.wait(10) == 0, "the interrupt ended the process"
    first, last = stopping.notes
    assert first.startswith(f"r ({socket.gethostname()} pid {process.pid}) ")
    assert last == "r has ended"


def test_run_that_does_not_end_in_time_is_reported_and_left_running(tmp_path: Path) -> None:
    stopping = Stopping(tmp_path)
    with locking(_run(tmp_path / "r"), interrupts=0) as process:
        with pytest.raises(SparsefleetError, match=r"^r .*\b3 s\b.*--now") as caught:
            stopping("r", timeout_s=3.0)
        assert process.poll() is None
    assert caught.value.exit_code == 1


def test_stop_at_once_sends_a_second_interrupt(tmp_path: Path) -> None:
    stopping = Stopping(tmp_path)
    with locking(_run(tmp_path / "r"), interrupts=2) as process:
        stopping("r", at_once=True, real=True)
        assert process.wait(10) == 0


def test_stop_at_once_kills_a_process_that_ignores_interrupts(tmp_path: Path) -> None:
    stopping = Stopping(tmp_path)
    with locking(_run(tmp_path / "r"), interrupts=0) as process:
        with suppress(SparsefleetError):  # on the fake clock the timeout may pass before the process is gone
            stopping("r", at_once=True, timeout_s=0.0)
        assert process.wait(10) == -signal.SIGKILL


def test_run_that_is_not_running_needs_no_stop(tmp_path: Path) -> None:
    stopping = Stopping(tmp_path)
    _run(tmp_path / "r")
    stopping("r")
    assert stopping.notes == ["r is not running"]


def test_trial_cannot_be_stopped_without_its_sweep(tmp_path: Path) -> None:
    sweep = tmp_path / "s"
    _run(sweep / "s-000")
    (sweep / "sweep.json").write_text("{}")
    with locking(sweep / "s-000") as process:
        with pytest.raises(RequestError) as caught:
            Stopping(tmp_path)("s-000")
        assert process.poll() is None
    assert (caught.value.field, caught.value.value) == ("RUN", "s-000")
    assert caught.value.remedy.endswith(f"sparsefleet stop {sweep}")


RUNNING = Job(job_id="run-1", state="RUNNING", driver="02000000")


def test_run_on_another_machine_is_stopped_by_its_job(tmp_path: Path) -> None:
    cluster = FakeCluster([actor("r/driver"), actor("q/driver", "05000000")], [RUNNING], polls=3)
    stopping = Stopping(tmp_path, cluster)
    with locking(_run(tmp_path / "r")) as process:
        (tmp_path / "r" / "lock").write_text(json.dumps({"host": "elsewhere", "pid": process.pid}))
        stopping("r")
        assert process.poll() is None, "the process of another machine has the same number"
    assert cluster.calls == ["stop job run-1"]
    first, last = stopping.notes
    assert first.endswith(" (job run-1)")
    assert last == "r has ended"


def test_run_without_a_local_folder_is_found_on_the_cluster(tmp_path: Path) -> None:
    cluster = FakeCluster([actor("r/driver", "09000000")], [RUNNING], polls=2)
    Stopping(tmp_path, cluster)("r")
    assert cluster.calls == ["stop run r"]


def test_sweep_is_found_by_the_actors_of_its_trials(tmp_path: Path) -> None:
    cluster = FakeCluster([actor("sweep-9-001/pool-phone-0")], [RUNNING])
    Stopping(tmp_path, cluster)("sweep-9")
    assert cluster.calls == ["stop job run-1"]


@pytest.mark.parametrize(("at_once", "call"), [(False, "stop job run-1"), (True, "kill job run-1")])
def test_job_is_stopped_by_its_id_or_killed_at_once(tmp_path: Path, at_once: bool, call: str) -> None:
    cluster = FakeCluster(jobs=[RUNNING])
    stopping = Stopping(tmp_path, cluster)
    stopping("run-1", at_once=at_once)
    assert cluster.calls == [call]
    assert stopping.notes[-1] == "run-1 has ended"


def test_ended_job_is_not_stopped(tmp_path: Path) -> None:
    cluster = FakeCluster(jobs=[Job(job_id="run-1", state="FAILED", exit_code=2)])
    stopping = Stopping(tmp_path, cluster)
    stopping("run-1")
    assert (cluster.calls, stopping.notes) == ([], ["run-1 is not running"])


def test_job_that_does_not_end_in_time_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SparsefleetError, match=r"^run-1 .*\b5 s\b"):
        Stopping(tmp_path, FakeCluster(jobs=[RUNNING], polls=10**6))("run-1", timeout_s=5.0)


def test_run_with_two_jobs_is_rejected(tmp_path: Path) -> None:
    jobs = [RUNNING, Job(job_id="run-2", state="RUNNING", driver="03000000")]
    cluster = FakeCluster([actor("r/driver"), actor("r/tracker", "03000000")], jobs)
    with pytest.raises(RequestError) as caught:
        Stopping(tmp_path, cluster)("r")
    assert (caught.value.field, caught.value.value, cluster.calls) == ("RUN", "r", [])
    assert "run-1, run-2" in caught.value.problem


def test_unknown_name_is_rejected_with_the_places_searched(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        Stopping(tmp_path, FakeCluster([actor("xy/driver")], [RUNNING]))("x")
    assert (caught.value.field, caught.value.value) == ("RUN", "x")
    assert str(tmp_path) in caught.value.problem
    assert "http://head:8265" in caught.value.problem


def test_unknown_name_without_a_cluster_is_rejected_with_the_address(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        Stopping(tmp_path)("x")
    assert (caught.value.field, caught.value.value) == ("RUN", "x")
    assert str(tmp_path) in caught.value.problem
    assert "--address http://head:8265" in caught.value.problem

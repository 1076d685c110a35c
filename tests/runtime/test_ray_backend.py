"""Client and driver actors that die or hang: RayBackend records them, and the result does not change."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private.state import actors

from orchestrator.display.run_progress import Progress
from orchestrator.errors import ActorsLostError, RoundError
from orchestrator.execution.placement import Placement
from orchestrator.execution.ray_actors import end_actors, start_actors, wait_for_actors
from orchestrator.execution.ray_executor import RayExecutor
from orchestrator.execution.ray_sharing import share
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.prepare import prepare
from orchestrator.federation.plan import RoundPlan
from orchestrator.federation.update import ClientUpdate
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.runtime import session
from orchestrator.runtime.ray_backend import RayBackend
from orchestrator.tracking.record import RoundRecord, read_records
from tests.support.ray_runs import MakeConfig
from tests.support.runs import initial_state

QUIET = Progress(quiet=True)
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

#: a driver is some rounds ahead of the records that a test has seen; in a longer run it still needs a killed actor
LONGER = "training.rounds=12"


def digest_without_faults(make_config: MakeConfig, *overrides: str) -> str | None:
    """Digest of the parameters of a run without faults."""
    return session.run(make_config("runtime.executor=inprocess", *overrides), QUIET).params_sha256


@pytest.fixture
def reference(make_config: MakeConfig) -> str | None:
    """Digest of the parameters of the run without faults."""
    return digest_without_faults(make_config)


@pytest.fixture
def longer_reference(make_config: MakeConfig) -> str | None:
    """Digest of the parameters of the `LONGER` run without faults."""
    return digest_without_faults(make_config, LONGER)


def failures(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "failures.jsonl").read_text().splitlines()]


class BackendRun:
    """A run on a RayBackend. A test iterates over its records; `notes` contains the backend's messages."""

    def __init__(self, config: ExperimentConfig, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.notes = folder, list[str]()
        self.backend = RayBackend(prepare(config), folder, self.notes.append)

    def records(self) -> Iterator[RoundRecord]:
        self.backend.ready()
        yield from self.backend.records()

    def pids(self, name: str) -> list[int]:
        """Process ids of the run's living actors whose names start with `name`."""
        prefix = f"{self.folder.name}/{name}"
        known = actors().values()
        return [a["Pid"] for a in known if a["Name"].startswith(prefix) and a["State"] == "ALIVE"]

    def kill(self, name: str) -> int:
        """Send SIGKILL to the processes of these actors, and return their number."""
        pids = self.pids(name)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return len(pids)


@pytest.fixture
def start_run(make_config: MakeConfig, tmp_path: Path) -> Iterator[Callable[..., BackendRun]]:
    """A function that starts runs; their actors are ended after the test."""
    started: list[BackendRun] = []

    def start(*overrides: str) -> BackendRun:
        started.append(BackendRun(make_config(*overrides), tmp_path / f"run-{len(started)}"))
        return started[-1]

    yield start
    for run in started:
        run.backend.close()


@pytest.mark.parametrize(
    ("placement", "name"),
    [
        (["runtime.actors=pooled", "runtime.pool_size=2"], "pool"),
        (["runtime.actors=dedicated"], "client-"),
    ],
)
def test_killed_client_actors_do_not_change_the_result(
    start_run: Callable[..., BackendRun], longer_reference: str, placement: list[str], name: str
) -> None:
    run = start_run(*placement, LONGER, "training.eval_every=1")
    for record in run.records():
        if record.round_idx in (1, 6):
            assert run.kill(name) >= 1
    assert run.backend.params_sha256() == longer_reference
    found = failures(run.folder)
    assert found
    assert all(f["stage"] == "actor" and " died: Actor" in f["cause"] for f in found)
    assert [r.round_idx for r in read_records(run.folder / "metrics.jsonl")] == list(range(12))


def test_killed_driver_restarts_and_reports_each_round_once(
    start_run: Callable[..., BackendRun], reference: str
) -> None:
    run = start_run("runtime.actors=pooled", "runtime.pool_size=1")
    seen = []
    for record in run.records():
        seen.append(record.round_idx)
        if record.round_idx in (0, 3):
            assert run.kill("driver") == 1
    assert seen == list(range(6))
    assert run.backend.params_sha256() == reference
    assert len([note for note in run.notes if "the driver actor is lost" in note]) == 2


def test_driver_that_always_dies_ends_the_run(
    start_run: Callable[..., BackendRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After four losses without a new checkpoint the error names the command to resume."""
    run = start_run("runtime.actors=pooled", "runtime.pool_size=1")
    start = RayBackend._start

    def start_and_kill(backend: RayBackend) -> None:
        start(backend)
        run.kill("driver")

    run.backend.ready()
    monkeypatch.setattr(RayBackend, "_start", start_and_kill)
    run.kill("driver")
    with pytest.raises(ActorsLostError, match=r"\b4 times\b.*sparsefleet resume"):
        list(run.records())


def test_hanging_client_is_killed_and_its_task_retried(
    start_run: Callable[..., BackendRun], reference: str
) -> None:
    run = start_run(
        "runtime.actors=pooled",
        "runtime.pool_size=2",
        "runtime.task_timeout_s=6",
        "runtime.max_retries=5",
        "chaos.client_hangs=0.15",
    )
    assert [record.round_idx for record in run.records()] == list(range(6))
    assert run.backend.params_sha256() == reference
    found = failures(run.folder)
    assert found
    for failure in found:
        assert failure["stage"] == "timeout"
        assert "runtime.task_timeout_s=6" in failure["cause"]


def test_injected_deaths_of_clients_and_driver_do_not_change_the_result(
    make_config: MakeConfig, reference: str, tmp_path: Path
) -> None:
    summary = session.run(
        make_config(
            "runtime.pool_size=2", "runtime.actors=pooled", "chaos.client_dies=0.3", "chaos.driver_dies=0.4"
        ),
        QUIET,
    )
    assert summary.params_sha256 == reference
    folder = tmp_path / summary.run_id
    assert {f["stage"] for f in failures(folder)} == {"actor"}
    assert list((folder / "chaos").glob("driver-*"))


def test_client_that_always_dies_ends_the_run_with_its_name(make_config: MakeConfig) -> None:
    config = make_config(
        "runtime.pool_size=1",
        "runtime.actors=pooled",
        "chaos.client_dies=1",
        "chaos.tries=2",
        "runtime.max_retries=1",
    )
    with pytest.raises(RoundError, match="pool-default-0 died") as caught:
        session.run(config, QUIET)
    assert (caught.value.round_idx, caught.value.stage) == (0, "actor")


def test_driver_restarts_when_actors_do_not_come_back(
    start_run: Callable[..., BackendRun], longer_reference: str
) -> None:
    """Actors are killed for good, as on a lost node: the run resumes from its last checkpoint with new actors."""
    run = start_run("runtime.actors=pooled", "runtime.pool_size=1", "runtime.restart_timeout_s=5", LONGER)
    for record in run.records():
        if record.round_idx == 2:
            ray.kill(ray.get_actor(f"{run.folder.name}/pool-default-0"), no_restart=True)
    assert run.backend.params_sha256() == longer_reference
    assert run.notes


def test_driver_restarts_when_idle_actors_do_not_come_back(
    start_run: Callable[..., BackendRun], reference: str
) -> None:
    """An idle actor of a dedicated client dies for good; no task fails at that moment."""
    run = start_run("runtime.actors=dedicated", "runtime.restart_timeout_s=5", "training.eval_every=1")
    for record in run.records():
        if record.round_idx == 0:
            for client in range(6):
                ray.kill(ray.get_actor(f"{run.folder.name}/client-{client}"), no_restart=True)
    assert run.backend.params_sha256() == reference
    assert run.notes


def test_results_that_arrived_in_time_but_were_read_late_count(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    """All clients answer in time, but the driver reads the results after the timeout."""
    experiment = prepare(make_config("runtime.actors=pooled", "runtime.task_timeout_s=30"))
    placement = Placement("pooled", "for the test", (("pool-default-0", 0), ("pool-default-1", 0)))
    actors = start_actors(experiment.setting.profiles, placement, "late")
    clock = ManualClock()
    try:
        wait_for_actors(actors)
        executor = RayExecutor(experiment, share(experiment), placement, actors, num_cores=2, clock=clock)
        state = initial_state(experiment)
        broadcast = Broadcast.of(experiment, state)
        plan = RoundPlan.of(0, (0, 1, 2, 3))
        tickets = executor.submit(broadcast.message, [broadcast.request(task, None) for task in plan.tasks])
        ray.get([actor.__ray_ready__.remote() for actor in actors])  # returns after the tasks before it
        clock.now_s += 100.0
        outcomes = [executor.result(ticket) for ticket in tickets]
        assert all(isinstance(outcome, ClientUpdate) for outcome in outcomes), outcomes
        executor.close()
    finally:
        end_actors(actors)


class ManualClock:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

"""Actors that die, hang or lie, on Ray: named, and gone from the result."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray._private.state import actors

from orchestrator.display.run_progress import Progress
from orchestrator.errors import ActorsLostError, RoundError
from orchestrator.execution.placement import Placement
from orchestrator.execution.ray_actors import end_actors, start_actors, wait_for_actors
from orchestrator.execution.ray_executor import RayExecutor
from orchestrator.execution.ray_sharing import share
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.federation.plan import RoundPlan
from orchestrator.federation.update import ClientUpdate
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.runtime import session
from orchestrator.runtime.ray_backend import RayBackend
from orchestrator.tracking.record import RoundRecord, read_records

MakeConfig = Callable[..., ExperimentConfig]
QUIET = Progress(quiet=True)
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


#: a driver is a few rounds ahead of what a test has seen: so that what was killed is still needed
LONGER = "training.rounds=12"


def undisturbed(make_config: MakeConfig, *overrides: str) -> str | None:
    """Digest of the parameters that a run ends with when nothing happens to it."""
    return session.run(make_config("runtime.executor=inprocess", *overrides), QUIET).params_sha256


@pytest.fixture
def reference(make_config: MakeConfig) -> str | None:
    """Digest of the parameters that the undisturbed run ends with."""
    return undisturbed(make_config)


@pytest.fixture
def longer_reference(make_config: MakeConfig) -> str | None:
    """The same for a `LONGER` run."""
    return undisturbed(make_config, LONGER)


def failures(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "failures.jsonl").read_text().splitlines()]


class Followed:
    """A run whose records a test sees one by one, with what the command would note."""

    def __init__(self, config: ExperimentConfig, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.notes = folder, list[str]()
        self.backend = RayBackend(session.prepare(config), folder, self.notes.append)

    def records(self) -> Iterator[RoundRecord]:
        self.backend.ready()
        yield from self.backend.records()

    def pids(self, name: str) -> list[int]:
        """Processes of the run's living actors whose names begin so."""
        prefix = f"{self.folder.name}/{name}"
        known = actors().values()
        return [a["Pid"] for a in known if a["Name"].startswith(prefix) and a["State"] == "ALIVE"]

    def kill(self, name: str) -> int:
        """SIGKILL those processes; their number."""
        pids = self.pids(name)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return len(pids)


@pytest.fixture
def follow(make_config: MakeConfig, tmp_path: Path) -> Iterator[Callable[..., Followed]]:
    """Starts runs, and ends their actors."""
    started: list[Followed] = []

    def start(*overrides: str) -> Followed:
        started.append(Followed(make_config(*overrides), tmp_path / f"run-{len(started)}"))
        return started[-1]

    yield start
    for run in started:
        run.backend.close()


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (["runtime.actors=pooled", "runtime.pool_size=2"], "pool"),
        (["runtime.actors=dedicated"], "client-"),
    ],
)
def test_all_client_actors_killed(
    follow: Callable[..., Followed], longer_reference: str, where: list[str], name: str
) -> None:
    run = follow(*where, LONGER, "training.eval_every=1")
    for record in run.records():
        if record.round_idx in (1, 6):
            assert run.kill(name) >= 1
    assert run.backend.params_sha256() == longer_reference
    found = failures(run.folder)
    assert found
    assert all(f["stage"] == "actor" and " died: Actor" in f["cause"] for f in found)
    assert [r.round_idx for r in read_records(run.folder / "metrics.jsonl")] == list(range(12))


def test_the_driver_killed(follow: Callable[..., Followed], reference: str) -> None:
    """It is started again, and reports each round once."""
    run = follow("runtime.actors=pooled", "runtime.pool_size=1")
    seen = []
    for record in run.records():
        seen.append(record.round_idx)
        if record.round_idx in (0, 3):
            assert run.kill("driver") == 1
    assert seen == list(range(6))
    assert run.backend.params_sha256() == reference
    assert len([note for note in run.notes if "the driver actor is lost" in note]) == 2


def test_a_driver_that_always_dies_is_given_up(
    follow: Callable[..., Followed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times without a commit in between: the run ends, and says how to go on."""
    run = follow("runtime.actors=pooled", "runtime.pool_size=1")
    start = RayBackend._start

    def start_and_kill(backend: RayBackend) -> None:
        start(backend)
        run.kill("driver")

    run.backend.ready()
    monkeypatch.setattr(RayBackend, "_start", start_and_kill)
    run.kill("driver")
    with pytest.raises(ActorsLostError, match=r"4 times without a commit; `sparsefleet resume .*` goes on"):
        list(run.records())


def test_a_hanging_client_is_ended_and_retried(follow: Callable[..., Followed], reference: str) -> None:
    run = follow(
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
        assert "no answer within runtime.task_timeout_s=6" in failure["cause"]


def test_chaos_kills_clients_and_driver(make_config: MakeConfig, reference: str, tmp_path: Path) -> None:
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


def test_a_client_that_always_dies_ends_the_run_by_name(make_config: MakeConfig) -> None:
    config = make_config(
        "runtime.pool_size=1",
        "runtime.actors=pooled",
        "chaos.client_dies=1",
        "chaos.tries=2",
        "runtime.max_retries=1",
    )
    with pytest.raises(
        RoundError, match=r"client \d, round 0, actor: pool-default-0 died: .*\(tried 2 times\)"
    ):
        session.run(config, QUIET)


def test_actors_that_do_not_come_back_are_placed_anew(
    follow: Callable[..., Followed], longer_reference: str
) -> None:
    """Ended for good, as when their node is gone: the run goes on from its last commit with new ones."""
    run = follow("runtime.actors=pooled", "runtime.pool_size=1", "runtime.restart_timeout_s=5", LONGER)
    for record in run.records():
        if record.round_idx == 2:
            ray.kill(ray.get_actor(f"{run.folder.name}/pool-default-0"), no_restart=True)
    assert run.backend.params_sha256() == longer_reference
    assert any("has not restarted them" in note for note in run.notes)


def test_an_actor_that_died_idle_is_noticed(follow: Callable[..., Followed], reference: str) -> None:
    """Nothing fails when nobody is at work: a dedicated client's actor that goes between its rounds, and stays away."""
    run = follow("runtime.actors=dedicated", "runtime.restart_timeout_s=5", "training.eval_every=1")
    for record in run.records():
        if record.round_idx == 0:
            for client in range(6):
                ray.kill(ray.get_actor(f"{run.folder.name}/client-{client}"), no_restart=True)
    assert run.backend.params_sha256() == reference
    assert any("has not restarted them" in note for note in run.notes)


def test_results_that_nobody_looked_at_are_not_late(make_config: MakeConfig, tmp_path: Path) -> None:
    """The driver is away for longer than a task may take, while all clients have answered long ago."""
    experiment = session.prepare(make_config("runtime.actors=pooled", "runtime.task_timeout_s=30"))
    placement = Placement("pooled", "for the test", (("pool-default-0", 0), ("pool-default-1", 0)))
    actors = start_actors(experiment.setting.profiles, placement, "late")
    clock = Clock()
    try:
        wait_for_actors(actors)
        executor = RayExecutor(experiment, share(experiment), placement, actors, num_cores=2, clock=clock)
        state = experiment.algorithm.init(torch.from_numpy(experiment.initial.copy()))
        broadcast = Broadcast.of(experiment, state)
        plan = RoundPlan.of(0, (0, 1, 2, 3))
        tickets = executor.submit(broadcast.message, [broadcast.request(task, None) for task in plan.tasks])
        ray.get([actor.__ray_ready__.remote() for actor in actors])  # behind what each was given
        clock.now_s += 100.0
        outcomes = [executor.result(ticket) for ticket in tickets]
        assert all(isinstance(outcome, ClientUpdate) for outcome in outcomes), outcomes
        executor.close()
    finally:
        end_actors(actors)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

"""Ray's scheduler enforces the footprints of profiles: real actors on logical devices."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import torch
from ray.util.state import list_actors

from orchestrator.config.runtime import RuntimeConfig
from orchestrator.errors import ResourceError
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.prepare import prepare
from orchestrator.runtime.ray_backend import RayBackend
from orchestrator.runtime.ray_session import NAMESPACE, ray_session
from tests.support.fakes import DEVICE
from tests.support.fleets import with_profiles
from tests.support.ray_runs import MakeConfig
from tests.support.runs import drive

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("logical_ray")]

DEVICES = {"CPU": 4.0, "GPU": 4.0, "npu": 2.0, "accelerator_type:H100": 1.0}
BOARD = replace(DEVICE, name="board", num_cpus=0.5)
PHONE = replace(
    DEVICE,
    name="phone",
    num_cpus=0.25,
    num_gpus=0.5,
    accelerator_type="H100",
    ray_memory_bytes=64 * 2**20,
)
JETSON = replace(DEVICE, name="jetson", num_cpus=0.04, resources={"npu": 1.0})
ON_CPU = "; no CUDA on this machine: its clients of profile phone train on the CPU"


@pytest.fixture(scope="module")
def logical_ray(request: pytest.FixtureRequest) -> Iterator[None]:
    """A Ray with logical devices that this machine does not have; afterwards a shared Ray is started again."""
    shared = ray.is_initialized()
    ray.shutdown()
    custom = {name: amount for name, amount in DEVICES.items() if name not in ("CPU", "GPU")}
    # the state API is part of the dashboard
    ray.init(
        address="local",
        namespace=NAMESPACE,
        num_cpus=int(DEVICES["CPU"]),
        num_gpus=int(DEVICES["GPU"]),
        resources=custom,
        include_dashboard=True,
        log_to_driver=False,
    )
    yield
    ray.shutdown()
    if shared:
        stack = ExitStack()
        stack.enter_context(ray_session(RuntimeConfig()))
        request.config.add_cleanup(stack.close)


@contextmanager
def _backend(experiment: Experiment, folder: Path) -> Iterator[RayBackend]:
    folder.mkdir()
    backend = RayBackend(experiment, folder)
    try:
        backend.ready()
        yield backend
    finally:
        backend.close()


def _reserved_by_clients(run_id: str) -> dict[str, dict[str, float]]:
    """Return the resources that each living client actor of a run reserves, by the actor's name."""
    alive = list_actors(
        # other Rays may run on this machine
        address=ray.get_runtime_context().gcs_address,
        filters=[("state", "=", "ALIVE"), ("class_name", "=", "ClientActor")],
        detail=True,
    )
    named = {(actor.name or "").rpartition("/"): actor.required_resources or {} for actor in alive}
    return {name: dict(reserved) for (run, _, name), reserved in named.items() if run == run_id}


def _wait_until_reserved(expected: Mapping[str, float]) -> None:
    """Wait until Ray reports the expected reservations; its nodes report changes with a delay."""
    deadline = time.monotonic() + 60
    while True:
        free = ray.available_resources()  # type: ignore[no-untyped-call]
        reserved = {name: round(total - free.get(name, 0.0), 4) for name, total in DEVICES.items()}
        if {name: amount for name, amount in reserved.items() if amount} == expected:
            return
        assert time.monotonic() < deadline, f"{reserved} is reserved, not {expected}"


def _tasks_by_profile(experiment: Experiment, folder: Path) -> dict[tuple[int, str], int]:
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    profile = {k: experiment.setting.profile_of(k, 0).name for k in range(experiment.setting.num_clients)}
    return dict(Counter((event["round_idx"], profile[event["client_id"]]) for event in events))


def test_dedicated_clients_are_named_actors_that_reserve_their_footprints(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    """All clients of a mixed fleet train and give the bits of one process, although Ray's GPUs are only logical."""
    config = make_config("fleet.num_clients=4", "training.rounds=2", "training.clients_per_round=4")
    experiment = with_profiles(prepare(config), [BOARD, PHONE, JETSON], [0, 1, 2, 1])
    alone = drive(experiment, tmp_path / "alone").params_sha256()
    with _backend(experiment, tmp_path / "mixed") as backend:
        assert backend.description.startswith("Ray, 4 dedicated actors (")
        assert backend.description.endswith(ON_CPU) != torch.cuda.is_available()
        reserved = _reserved_by_clients("mixed")
        assert reserved == {f"client-{k}": experiment.setting.profile_of(k, 0).footprint() for k in range(4)}
        assert reserved["client-1"] == {
            "CPU": 0.25,
            "GPU": 0.5,
            "memory": 64.0 * 2**20,
            "accelerator_type:H100": 0.001,
        }
        _wait_until_reserved({"CPU": 1.04, "GPU": 1.0, "npu": 1.0, "accelerator_type:H100": 0.002})
        assert [record.round_idx for record in backend.records()] == [0, 1]
        assert _tasks_by_profile(experiment, tmp_path / "mixed") == {
            (round_idx, name): count
            for round_idx in range(2)
            for name, count in (("board", 1), ("phone", 2), ("jetson", 1))
        }
        if not torch.cuda.is_available():
            assert backend.params_sha256() == alone
    _wait_until_reserved({})


def test_pool_has_no_more_actors_of_a_profile_than_fit(make_config: MakeConfig, tmp_path: Path) -> None:
    """Two thirds of the clients share the only actor that fits, and all of them train."""
    config = make_config("fleet.num_clients=9", "training.rounds=2", "training.clients_per_round=9")
    greedy = replace(JETSON, resources={"npu": 1.5})
    experiment = with_profiles(prepare(config), [BOARD, PHONE, greedy], [0, 1, 2, 0, 2, 2, 2, 2, 2])
    with _backend(experiment, tmp_path / "pooled") as backend:
        assert re.search(r"\b4 pooled\b.*\b9 npu\b", backend.description)
        for _ in backend.records():
            reserved = _reserved_by_clients("pooled")
            assert reserved["pool-jetson-0"] == greedy.footprint() == {"CPU": 0.04, "npu": 1.5}
            assert Counter(name.split("-")[1] for name in reserved) == {"board": 2, "phone": 1, "jetson": 1}
            for name, total in DEVICES.items():
                assert sum(footprint.get(name, 0.0) for footprint in reserved.values()) <= total
        assert _tasks_by_profile(experiment, tmp_path / "pooled") == {
            (round_idx, name): count
            for round_idx in range(2)
            for name, count in (("board", 2), ("phone", 1), ("jetson", 6))
        }


def test_profile_that_fits_no_node_is_rejected_before_any_actor_starts(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    experiment = with_profiles(prepare(make_config()), [BOARD, replace(JETSON, resources={"npu": 3.0})])
    (tmp_path / "rejected").mkdir()
    with pytest.raises(ResourceError) as caught:
        RayBackend(experiment, tmp_path / "rejected")
    assert "jetson" in caught.value.problem
    assert "3 npu" in caught.value.problem
    assert _reserved_by_clients("rejected") == {}

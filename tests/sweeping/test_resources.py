"""The resources that trials reserve, with values computed by hand."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.overrides import apply_overrides
from orchestrator.errors import ResourceError
from orchestrator.execution.placement import ACTOR_BYTES, Capacity
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.sweeping.resources import (
    DRIVER_CPUS,
    ClusterDivision,
    TrialResources,
    divide_cluster,
    trial_footprint,
)

GIB = 2**30
HOME = "node:10.0.0.1"
DRIVER = {"CPU": 0.1, HOME: 0.001}


def _node(cpus: float, memory_gib: float = 64.0, *, home: bool = False) -> dict[str, float]:
    node = {"CPU": cpus, "memory": memory_gib * GIB}
    return node | {HOME: 1.0} if home else node


def _fleet(folder: Path, num_cpus: float) -> str:
    file = folder / "large.yaml"
    file.write_text(
        "profiles:\n"
        f"  - {{name: large, share: 1, num_cpus: {num_cpus}, flops_per_s: 1e9, "
        "uplink_bytes_per_s: 1e6, downlink_bytes_per_s: 1e6}\n"
    )
    return f"fleet.name={file}"


def _footprint(*overrides: str, nodes: tuple[dict[str, float], ...], actors: int = 1) -> TrialResources:
    config = ExperimentConfig.parse(apply_overrides({}, overrides))
    return trial_footprint(config, Capacity(nodes), ClusterDivision(2, actors), HOME)


class TestSharing:
    """`divide_cluster`."""

    @pytest.mark.parametrize(
        ("cores", "trials", "max_concurrent", "expected"),
        [
            (4, 10, None, ClusterDivision(4, 1)),
            (4, 4, None, ClusterDivision(4, 1)),
            (4, 3, None, ClusterDivision(3, 1)),
            (4, 2, None, ClusterDivision(2, 2)),
            (5, 2, None, ClusterDivision(2, 2)),
            (4, 1, None, ClusterDivision(1, 4)),
            (4, 10, 1, ClusterDivision(1, 4)),
            (4, 10, 3, ClusterDivision(3, 1)),
            (4, 10, 8, ClusterDivision(8, 1)),
            (1, 10, None, ClusterDivision(1, 1)),
            (0.5, 10, None, ClusterDivision(1, 1)),
        ],
    )
    def test_trials_get_cores_first_and_pools_get_the_rest(
        self, cores: float, trials: int, max_concurrent: int | None, expected: ClusterDivision
    ) -> None:
        assert divide_cluster(Capacity((_node(cores),)), trials, max_concurrent) == expected

    def test_cores_of_all_nodes_are_divided(self) -> None:
        assert divide_cluster(Capacity((_node(2), _node(4))), 10, None) == ClusterDivision(6, 1)

    @pytest.mark.parametrize(
        ("num_actors", "concurrent"), [(1, 1), (2, 1), (3.9, 1), (4, 2), (6, 3), (99, 8)]
    )
    def test_trial_needs_the_memory_of_two_actors(self, num_actors: float, concurrent: int) -> None:
        capacity = Capacity(({"CPU": 8.0, "memory": num_actors * ACTOR_BYTES},))
        assert divide_cluster(capacity, 10, None) == ClusterDivision(concurrent, 8 // concurrent)


class TestFootprints:
    """`trial_footprint`."""

    def test_in_process_trial_reserves_one_core_of_the_command_s_node(self) -> None:
        found = _footprint("runtime.executor=inprocess", nodes=(_node(2, home=True),))
        assert found == TrialResources(bundles=({"CPU": 1.0, HOME: 0.001},), placement=None)

    def test_pool_of_one_profile_has_the_size_of_the_share(self) -> None:
        found = _footprint(nodes=(_node(4, home=True),), actors=3)
        assert found.bundles == (DRIVER, {"CPU": 0.1}, {"CPU": 0.1}, {"CPU": 0.1})
        assert found.placement is not None
        assert found.placement.mode == "pooled"
        assert found.placement.actors == tuple((f"pool-default-{n}", 0) for n in range(3))

    def test_every_profile_has_an_actor(self) -> None:
        found = _footprint("fleet.name=five-tier", nodes=(_node(4, home=True),))
        assert found.bundles == (DRIVER, *[{"CPU": 0.1}] * 5)
        assert found.placement is not None
        assert [index for _, index in found.placement.actors] == [0, 1, 2, 3, 4]

    def test_pool_is_not_larger_than_the_cohort(self) -> None:
        found = _footprint("training.clients_per_round=2", nodes=(_node(9, home=True),), actors=9)
        assert len(found.bundles) == 1 + 2

    def test_pool_size_option_applies_to_every_trial(self) -> None:
        found = _footprint("runtime.pool_size=2", nodes=(_node(9, home=True),), actors=4)
        assert len(found.bundles) == 1 + 2

    @pytest.mark.parametrize(("cpus", "num_actors"), [(1.1, 1), (2.0, 1), (2.1, 2), (3.5, 3), (9.0, 3)])
    def test_pool_shrinks_to_the_cores_that_the_driver_leaves(
        self, tmp_path: Path, cpus: float, num_actors: int
    ) -> None:
        found = _footprint(_fleet(tmp_path, 1.0), nodes=(_node(cpus, home=True),), actors=3)
        assert found.bundles == (DRIVER, *[{"CPU": 1.0}] * num_actors)

    def test_client_with_a_whole_core_does_not_fit_on_the_driver_s_core(self, tmp_path: Path) -> None:
        with pytest.raises(ResourceError, match=r"0\.9"):
            _footprint(_fleet(tmp_path, 1.0), nodes=(_node(1, home=True),))

    def test_client_with_a_whole_core_fits_on_another_node(self, tmp_path: Path) -> None:
        found = _footprint(_fleet(tmp_path, 1.0), nodes=(_node(1, home=True), _node(1)), actors=2)
        assert found.bundles == (DRIVER, {"CPU": 1.0})

    def test_bundles_with_the_largest_gpu_shares_come_first(self) -> None:
        gpus = {**_node(64, home=True), "GPU": 4.0}
        found = _footprint("fleet.name=phones-and-edge", "fleet.num_clients=40", nodes=(gpus,), actors=5)
        cpus = [bundle["CPU"] for bundle in found.bundles[1:]]
        shares = [bundle.get("GPU", 0.0) for bundle in found.bundles[1:]]
        assert shares == sorted(shares, reverse=True)
        assert len(cpus) == len(found.placement.actors if found.placement else ())
        assert found.bundles[0] == DRIVER

    def test_dedicated_actors_are_one_per_client(self) -> None:
        overrides = ("runtime.actors=dedicated", "fleet.num_clients=6", "training.clients_per_round=3")
        found = _footprint(*overrides, nodes=(_node(4, home=True),))
        assert found.bundles == (DRIVER, *[{"CPU": 0.1}] * 6)
        assert found.placement is not None
        assert found.placement.mode == "dedicated"

    def test_dedicated_actors_that_do_not_fit_are_rejected(self) -> None:
        overrides = ("runtime.actors=dedicated", "fleet.num_clients=10", "training.clients_per_round=3")
        with pytest.raises(ResourceError, match=r"0\.9") as caught:
            _footprint(*overrides, nodes=(_node(1, home=True),))
        assert caught.value.field == "runtime.actors"

    @pytest.mark.parametrize(("home_cpus", "overrides"), [(0.0, ()), (0.05, ()), (0.5, ("inprocess",))])
    def test_node_with_too_few_cpus_for_the_driver_is_rejected(
        self, home_cpus: float, overrides: tuple[Any, ...]
    ) -> None:
        """Without the check, Ray would wait forever."""
        options = [f"runtime.executor={executor}" for executor in overrides]
        with pytest.raises(ResourceError) as caught:
            _footprint(*options, nodes=(_node(home_cpus, home=True), _node(8)))
        assert caught.value.field == "runtime.executor"

    def test_driver_reserves_a_tenth_of_a_core(self) -> None:
        assert DRIVER["CPU"] == DRIVER_CPUS

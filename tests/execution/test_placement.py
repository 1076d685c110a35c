"""Placements for a table of clusters and fleets, and the errors for clusters that are too small."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.config.runtime import RuntimeConfig
from orchestrator.errors import ResourceError
from orchestrator.execution.placement import (
    ACTOR_BYTES,
    Capacity,
    Placement,
    place_clients,
)
from orchestrator.fleet.profiles import DeviceProfile
from tests.support.fakes import population_of

GIB = 2**30


def _profile(name: str = "default", **footprint: Any) -> DeviceProfile:
    speeds = {"flops_per_s": 1e9, "uplink_bytes_per_s": 1e6, "downlink_bytes_per_s": 1e6}
    return DeviceProfile(name=name, **(speeds | footprint))


def _node(cpus: float, memory_gib: float = 64.0, **other: float) -> dict[str, float]:
    return {"CPU": cpus, "memory": memory_gib * GIB, **other}


def _place(
    assignment: Sequence[int],
    nodes: Sequence[dict[str, float]],
    profiles: Sequence[DeviceProfile] | None = None,
    *,
    cohort: int = 5,
    **runtime: Any,
) -> Placement:
    return place_clients(
        RuntimeConfig.model_validate(runtime),
        Capacity(tuple(nodes)),
        population_of(profiles or [_profile()], assignment),
        cohort,
    )


def _by_profile(placement: Placement) -> dict[int, int]:
    return dict(Counter(index for _, index in placement.actors))


class TestDedicated:
    """One actor per client."""

    def test_few_clients_on_a_laptop(self) -> None:
        placement = _place([0, 1, 0], [_node(2)], [_profile("a"), _profile("b")])
        assert placement.mode == "dedicated"
        assert placement.actors == (("client-0", 0), ("client-1", 1), ("client-2", 0))
        assert str(placement).startswith("3 dedicated actors (")

    @pytest.mark.parametrize(
        ("num_clients", "nodes", "mode"),
        [
            (8, [_node(2)], "dedicated"),
            (9, [_node(2)], "pooled"),
            (16, [_node(2), _node(2)], "dedicated"),
            (17, [_node(2), _node(2)], "pooled"),
            (40, [_node(16)], "dedicated"),
            (1, [_node(1)], "dedicated"),
        ],
    )
    def test_auto_takes_up_to_four_per_core(
        self, num_clients: int, nodes: list[dict[str, float]], mode: str
    ) -> None:
        placement = _place([0] * num_clients, nodes)
        assert placement.mode == mode
        if mode == "pooled":
            assert placement.reason.startswith(f"{num_clients} clients ")

    def test_400_clients_do_not_fit_24_gib(self) -> None:
        placement = _place([0] * 400, [_node(200, 24)])
        assert placement.mode == "pooled"
        assert round(400 * ACTOR_BYTES / GIB, 2) == 167.97
        assert "168.0 GiB" in placement.reason
        assert "24.0" in placement.reason

    def test_memory_that_just_fits(self) -> None:
        exactly = {"CPU": 4.0, "memory": 10.0 * ACTOR_BYTES}
        assert _place([0] * 10, [exactly]).mode == "dedicated"
        assert _place([0] * 11, [exactly]).mode == "pooled"

    def test_reserved_cpus_count_for_the_whole_population(self) -> None:
        placement = _place([0] * 10, [_node(4)], [_profile(num_cpus=1.0)])
        assert placement.mode == "pooled"
        assert placement.reason == "10 clients would reserve 10 CPU, there are 4"

    def test_ten_tenths_of_a_core_are_one_core(self) -> None:
        assert _place([0] * 10, [_node(1)], actors="dedicated").mode == "dedicated"
        assert _place([0] * 3, [_node(1)], [_profile(num_cpus=1 / 3)]).mode == "dedicated"

    def test_reserved_memory_and_gpus_count_too(self) -> None:
        heavy = _place([0] * 8, [_node(8, 7)], [_profile(ray_memory_bytes=GIB)])
        assert heavy.mode == "pooled"
        assert heavy.reason.startswith("8 clients would reserve ")
        assert "memory" in heavy.reason
        on_gpu = [_profile(num_gpus=0.5)]
        assert _place([0] * 2, [_node(8, GPU=1.0)], on_gpu).mode == "dedicated"
        assert _place([0] * 3, [_node(8, GPU=1.0)], on_gpu, pool_size=1).reason == (
            "3 clients would reserve 1.5 GPU, there are 1"
        )

    def test_custom_resources_and_accelerator_types_count_too(self) -> None:
        board = [_profile(resources={"npu": 0.5})]
        assert _place([0] * 4, [_node(8, npu=2.0)], board).mode == "dedicated"
        assert (
            _place([0] * 5, [_node(8, npu=2.0)], board).reason
            == "5 clients would reserve 2.5 npu, there are 2"
        )
        picky = [_profile(num_gpus=0.5, accelerator_type="H100")]
        nodes = [_node(8, GPU=4.0), _node(8, GPU=1.0, **{"accelerator_type:H100": 1.0})]
        assert _place([0] * 2, nodes, picky).mode == "dedicated"
        assert _place([0] * 3, nodes, picky).mode == "pooled"

    def test_configured_dedicated_actors_can_exceed_four_per_core(self) -> None:
        placement = _place([0] * 20, [_node(2)], actors="dedicated")
        assert (placement.mode, placement.reason, len(placement.actors)) == ("dedicated", "as configured", 20)

    @pytest.mark.parametrize(
        ("num_clients", "node", "profile", "problem"),
        [
            (10, _node(4), _profile(num_cpus=1.0), "10 clients would reserve 10 CPU, there are 4"),
            (400, _node(200, 24), _profile(), "400 actors would need about 168.0 GiB of memory"),
        ],
    )
    def test_configured_dedicated_actors_must_fit(
        self, num_clients: int, node: dict[str, float], profile: DeviceProfile, problem: str
    ) -> None:
        with pytest.raises(ResourceError) as caught:
            _place([0] * num_clients, [node], [profile], actors="dedicated")
        assert (caught.value.field, caught.value.value) == ("runtime.actors", "dedicated")
        assert problem in caught.value.problem
        assert "pooled" in caught.value.remedy

    def test_actors_that_fit_only_in_sum_are_rejected(self) -> None:
        """Two nodes of one core have space for two actors of 0.6 cores, not for three, although 1.8 < 2."""
        placement = _place([0] * 3, [_node(1), _node(1)], [_profile(num_cpus=0.6)])
        assert placement.mode == "pooled"
        assert len(placement.actors) <= 2


class TestRedrawn:
    """Clients whose devices change from round to round."""

    @pytest.mark.parametrize(
        ("second", "mode"),
        [
            ({"resources": {"npu": 1.0, "dsp": 0.5}}, "dedicated"),
            ({"resources": {"dsp": 0.5, "npu": 1.0}}, "dedicated"),
            ({"resources": {"npu": 1.0, "dsp": 0.25}}, "pooled"),
            ({"resources": {"npu": 1.0}}, "pooled"),
        ],
    )
    def test_dedicated_actors_need_one_footprint_for_all_profiles(
        self, second: dict[str, Any], mode: str
    ) -> None:
        profiles = [_profile("first", resources={"npu": 1.0, "dsp": 0.5}), _profile("second", **second)]
        population = replace(population_of(profiles, [0, 1, 0]), redraw=True)
        node = _node(8, npu=8.0, dsp=8.0)
        placement = place_clients(RuntimeConfig(), Capacity((node,)), population, 3)
        assert placement.mode == mode
        assert mode == "dedicated" or "reserve different footprints" in placement.reason


class TestPooled:
    """A pool of actors per profile."""

    @pytest.mark.parametrize(
        ("num_clients", "cpus", "cohort", "pool_size", "expected"),
        [
            (100, 2, 10, None, 2),
            (100, 16, 10, None, 10),
            (100, 16, 40, None, 16),
            (100, 2, 1, None, 1),
            (100, 2, 10, 5, 5),
            (3, 2, 2, 1, 1),
        ],
    )
    def test_size(
        self, num_clients: int, cpus: int, cohort: int, pool_size: int | None, expected: int
    ) -> None:
        placement = _place(
            [0] * num_clients, [_node(cpus)], cohort=cohort, actors="pooled", pool_size=pool_size
        )
        assert (placement.mode, placement.reason) == ("pooled", "as configured")
        assert placement.actors == tuple((f"pool-default-{i}", 0) for i in range(expected))

    @pytest.mark.parametrize(
        ("counts", "pool_size", "expected"),
        [
            ((50, 50), 4, {0: 2, 1: 2}),
            ((75, 25), 4, {0: 3, 1: 1}),
            ((20, 20, 20, 20, 20), 2, {0: 1, 1: 1, 2: 1, 3: 1, 4: 1}),
            ((60, 0, 40), 5, {0: 3, 2: 2}),
        ],
    )
    def test_profiles_share_the_pool_by_their_clients(
        self, counts: tuple[int, ...], pool_size: int, expected: dict[int, int]
    ) -> None:
        profiles = [_profile(f"p{index}") for index in range(len(counts))]
        assignment = [index for index, n in enumerate(counts) for _ in range(n)]
        placement = _place(assignment, [_node(16)], profiles, actors="pooled", pool_size=pool_size)
        assert _by_profile(placement) == expected
        assert all(name.startswith(f"pool-p{index}-") for name, index in placement.actors)
        assert len({name for name, _ in placement.actors}) == len(placement.actors)

    @pytest.mark.parametrize(
        ("counts", "pool_size"),
        [((10, 10), 5), ((10, 10, 10), 10), ((10, 10, 10), 5), ((7, 5, 3, 1), 9), ((99, 1), 4)],
    )
    def test_pool_has_the_configured_size(self, counts: tuple[int, ...], pool_size: int) -> None:
        profiles = [_profile(f"p{index}") for index in range(len(counts))]
        assignment = [index for index, n in enumerate(counts) for _ in range(n)]
        placement = _place(assignment, [_node(16)], profiles, actors="pooled", pool_size=pool_size)
        assert len(placement.actors) == pool_size

    def test_pool_that_does_not_fit_raises_with_the_missing_resource(self) -> None:
        with pytest.raises(ResourceError) as caught:
            _place([0] * 9, [_node(2)], [_profile(num_cpus=1.0)], actors="pooled", pool_size=3)
        assert (caught.value.field, caught.value.value) == ("runtime.pool_size", 3)
        assert "reserve 3 CPU, there are 2" in caught.value.problem

    def test_pool_without_a_configured_size_uses_the_free_resources(self) -> None:
        placement = _place([0] * 100, [_node(16, GPU=2.0)], [_profile(num_gpus=1.0)], cohort=10)
        assert (placement.mode, len(placement.actors)) == ("pooled", 2)

    def test_scarce_profile_does_not_shrink_other_profiles(self) -> None:
        """Two of the eight actors use the NPUs; the profile without an NPU gets the other six."""
        profiles = [_profile("board"), _profile("jetson", resources={"npu": 1.0})]
        placement = _place([0, 1] * 50, [_node(8, npu=2.0)], profiles, cohort=20)
        assert (placement.mode, _by_profile(placement)) == ("pooled", {0: 6, 1: 2})

    def test_profile_has_at_most_one_actor_per_client(self) -> None:
        profiles = [_profile("board"), _profile("jetson", resources={"npu": 1.0})]
        placement = _place([0] * 3 + [1] * 50, [_node(16, npu=4.0)], profiles, cohort=40)
        assert _by_profile(placement) == {0: 3, 1: 4}

    def test_profiles_that_do_not_fit_together_raise(self) -> None:
        profiles = [_profile("a", num_gpus=1.0), _profile("b", num_gpus=1.0)]
        with pytest.raises(ResourceError) as caught:
            _place([0, 1], [_node(8, GPU=1.0)], profiles)
        assert "reserve 2 GPU, there are 1" in caught.value.problem

    def test_shares_of_a_gpu_are_packed_gpu_by_gpu(self) -> None:
        """Two GPUs have space for two actors of 0.6, not for three, although 1.8 < 2."""
        placement = _place([0] * 3, [_node(8, GPU=2.0)], [_profile(num_gpus=0.6)], cohort=3)
        assert (placement.mode, len(placement.actors)) == ("pooled", 2)
        assert "no node or GPU has enough free resources" in placement.reason

    def test_placement_of_a_million_clients(self) -> None:
        placement = _place([0, 1] * 500_000, [_node(2)], [_profile("a"), _profile("b")])
        assert _by_profile(placement) == {0: 1, 1: 1}


class TestInfeasible:
    """A footprint that fits on no node raises in every mode, with the resource's name."""

    @pytest.mark.parametrize("actors", ["auto", "dedicated", "pooled"])
    @pytest.mark.parametrize(
        ("footprint", "nodes", "problem"),
        [
            ({"num_gpus": 1.0}, [_node(8)], "needs 1 GPU, the largest node has 0"),
            ({"num_gpus": 0.5}, [_node(8, GPU=0.25)], "needs 0.5 GPU, the largest node has 0.25"),
            ({"num_cpus": 4.0}, [_node(2), _node(3)], "needs 4 CPU, the largest node has 3"),
            ({"ray_memory_bytes": 8 * GIB}, [_node(8, 4)], "memory, the largest node has "),
            ({"num_cpus": 2.0, "num_gpus": 1.0}, [_node(4), _node(1, GPU=1.0)], "no single node has all"),
            ({"num_cpus": 0.1}, [], "needs 0.1 CPU, the largest node has 0"),
            (
                {"resources": {"npu": 2.0}},
                [_node(8), _node(8, npu=1.0)],
                "needs 2 npu, the largest node has 1",
            ),
            (
                {"num_gpus": 0.5, "accelerator_type": "H100"},
                [_node(8, GPU=4.0, **{"accelerator_type:T4": 1.0})],
                "needs a node with accelerator_type H100, there is none",
            ),
        ],
    )
    def test_error_names_the_missing_resource(
        self, actors: str, footprint: dict[str, Any], nodes: list[dict[str, float]], problem: str
    ) -> None:
        with pytest.raises(ResourceError) as caught:
            _place([0], nodes, [_profile("thirsty", **footprint)], actors=actors)
        assert (caught.value.field, caught.value.value) == ("fleet.name", "thirsty")
        assert problem in caught.value.problem
        assert "smaller footprint" in caught.value.remedy

    def test_profile_without_clients_is_ignored(self) -> None:
        profiles = [_profile("small"), _profile("thirsty", num_gpus=8.0)]
        assert _place([0, 0], [_node(2)], profiles).mode == "dedicated"


def test_capacity_sums_over_the_nodes() -> None:
    capacity = Capacity((_node(2, 4), _node(3, 4, GPU=1.0)))
    assert (capacity.total("CPU"), capacity.total("GPU"), capacity.total("spam")) == (5.0, 1.0, 0.0)
    assert capacity.num_cores == 5
    assert Capacity(({"CPU": 0.5},)).num_cores == 1

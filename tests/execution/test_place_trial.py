"""Placement of a trial's clients: pools shrink to the free resources."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.config.runtime import RuntimeConfig
from orchestrator.errors import ResourceError
from orchestrator.execution.placement import Capacity, Placement, place_trial
from orchestrator.fleet.profiles import DeviceProfile
from tests.support.fakes import population_of


def _profile(name: str, num_cpus: float = 0.1) -> DeviceProfile:
    return DeviceProfile(
        name=name,
        num_cpus=num_cpus,
        flops_per_s=1e9,
        uplink_bytes_per_s=1e6,
        downlink_bytes_per_s=1e6,
    )


def _place(
    assignment: Sequence[int],
    *cpus: float,
    profiles: Sequence[DeviceProfile] = (_profile("a"),),
    cohort: int = 5,
    share: int = 2,
    **runtime: Any,
) -> Placement:
    nodes = tuple({"CPU": each, "memory": 64.0 * 2**30} for each in cpus)
    population = population_of(profiles, assignment)
    return place_trial(
        RuntimeConfig.model_validate(runtime), Capacity(nodes), population, cohort, share=share
    )


def _by_profile(placement: Placement) -> dict[int, int]:
    return dict(Counter(index for _, index in placement.actors))


@pytest.mark.parametrize(
    ("share", "cohort", "num_clients", "expected"),
    [(1, 5, 9, 1), (3, 5, 9, 3), (9, 5, 9, 5), (9, 9, 3, 3)],
)
def test_pool_has_the_share_or_the_size_of_the_cohort(
    share: int, cohort: int, num_clients: int, expected: int
) -> None:
    placement = _place([0] * num_clients, 8.0, share=share, cohort=cohort)
    assert (placement.mode, len(placement.actors)) == ("pooled", expected)
    assert placement.reason == "a trial's share"


@pytest.mark.parametrize("actors", ["auto", "pooled"])
def test_trial_is_pooled_even_if_dedicated_actors_fit(actors: str) -> None:
    assert _place([0, 0], 8.0, actors=actors).mode == "pooled"


def test_pool_size_overrides_the_share() -> None:
    placement = _place([0] * 9, 8.0, share=1, pool_size=4)
    assert len(placement.actors) == 4
    assert placement.reason == "what fits of runtime.pool_size=4"
    assert len(_place([0] * 9, 8.0, share=1, pool_size=4, cohort=2).actors) == 2


def test_each_profile_has_one_and_the_largest_grows() -> None:
    profiles = [_profile("a"), _profile("b")]
    assignment = [0] * 6 + [1] * 2
    assert _by_profile(_place(assignment, 8.0, profiles=profiles, share=1)) == {0: 1, 1: 1}
    assert _by_profile(_place(assignment, 8.0, profiles=profiles, share=4)) == {0: 3, 1: 1}


def test_pool_shrinks_to_the_resources() -> None:
    large = (_profile("large", 1.0),)
    for cpus, expected in ((1.0, 1), (1.9, 1), (2.0, 2), (3.0, 3), (9.0, 3)):
        assert len(_place([0] * 5, cpus, profiles=large, share=3).actors) == expected
    assert len(_place([0] * 5, 2.0, profiles=large, pool_size=3).actors) == 2
    assert len(_place([0] * 5, 1.5, 1.5, profiles=large, share=3).actors) == 2


def test_profile_without_space_leaves_it_to_other_profiles() -> None:
    profiles = [_profile("large", 1.0), _profile("small", 0.1)]
    placement = _place([0] * 9 + [1] * 3, 1.3, profiles=profiles, share=5)
    assert _by_profile(placement) == {0: 1, 1: 3}


def test_no_profile_has_more_actors_than_clients() -> None:
    profiles = [_profile("a"), _profile("b")]
    assert _by_profile(_place([0, 1], 8.0, profiles=profiles, share=5)) == {0: 1, 1: 1}


def test_footprint_that_fits_on_no_node_raises() -> None:
    with pytest.raises(ResourceError) as caught:
        _place([0], 1.0, 1.0, profiles=(_profile("large", 2.0),))
    assert (caught.value.field, caught.value.value) == ("fleet.name", "large")


def test_profiles_that_do_not_fit_together_raise() -> None:
    profiles = [_profile("a", 1.0), _profile("b", 1.0)]
    with pytest.raises(ResourceError) as caught:
        _place([0, 1], 1.5, profiles=profiles)
    assert caught.value.field == "runtime.pool_size"


def test_dedicated_actors_fit_or_raise() -> None:
    placement = _place([0, 0, 0], 0.3, actors="dedicated")
    assert placement.actors == (("client-0", 0), ("client-1", 0), ("client-2", 0))
    with pytest.raises(ResourceError) as caught:
        _place([0] * 4, 0.3, actors="dedicated")
    assert (caught.value.field, caught.value.value) == ("runtime.actors", "dedicated")

"""Which actors fit on which nodes, GPU by GPU, calculated by hand."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.execution.packing import (
    first_shortage,
    first_unplaced,
    fits,
    hardest_first,
    ray_units,
)
from orchestrator.fleet.profiles import DeviceProfile
from tests.support.fakes import DEVICE


def _profile(name: str, **footprint: Any) -> DeviceProfile:
    return replace(DEVICE, name=name, **({"num_cpus": 0.0} | footprint))


@pytest.mark.parametrize(
    ("num_gpus", "devices", "num_actors"),
    [
        (0.6, 1, 1),
        (0.6, 2, 2),  # 1.8 of 2 GPUs would be enough for a third by the sum
        (0.5, 2, 4),
        (0.3, 1, 3),
        (0.04, 1, 25),
        (1.0, 4, 4),
        (2.0, 4, 2),
        (2.0, 3, 1),
        (1 / 3, 2, 6),
        (0.5, 0, 0),
    ],
)
def test_gpu_share_uses_one_gpu_and_whole_gpus_are_exclusive(
    num_gpus: float, devices: int, num_actors: int
) -> None:
    profile, nodes = _profile("phone", num_gpus=num_gpus), [{"CPU": 64.0, "GPU": float(devices)}]
    assert first_unplaced([profile], {0: num_actors}, nodes) is None
    assert first_unplaced([profile], {0: num_actors + 1}, nodes) is profile


@pytest.mark.parametrize(
    ("counts", "unplaced"),
    [
        ({0: 2, 1: 2}, None),  # 0.7 + 0.3 on each
        ({0: 1, 1: 4}, None),  # 0.7 + 0.3, 3 x 0.3
        ({0: 2, 1: 3}, "small"),
        ({0: 1, 2: 1}, None),  # 0.7, 1
        ({0: 1, 1: 1, 2: 1}, None),
        ({0: 1, 1: 2, 2: 1}, "small"),
        ({0: 2, 2: 1}, "large"),
        ({1: 3, 2: 1}, None),
        ({3: 2, 1: 3}, None),  # as Ray does it: both halves on one GPU, 3 x 0.3 on the other
        ({3: 1, 1: 4}, None),  # 0.5 + 0.3, 3 x 0.3
        ({3: 1, 1: 5}, "small"),
    ],
)
def test_large_shares_go_first_and_small_ones_fill_up(counts: dict[int, int], unplaced: str | None) -> None:
    profiles = [
        _profile("large", num_gpus=0.7),
        _profile("small", num_gpus=0.3),
        _profile("whole", num_gpus=1.0),
        _profile("half", num_gpus=0.5),
    ]
    found = first_unplaced(profiles, counts, [{"GPU": 2.0}])
    assert (found and found.name) == unplaced


def test_every_resource_of_a_footprint_must_be_on_the_same_node() -> None:
    board = _profile("board", num_cpus=1.0, resources={"npu": 1.0})
    apart, together = [{"CPU": 4.0}, {"npu": 4.0}], [{"CPU": 2.0, "npu": 3.0}, {"CPU": 3.0, "npu": 1.0}]
    assert not fits(board.footprint(), apart)
    assert first_unplaced([board], {0: 3}, together) is None
    assert first_unplaced([board], {0: 4}, together) is board


def test_accelerator_type_fits_only_on_a_node_of_this_type() -> None:
    picky = _profile("picky", num_gpus=0.5, accelerator_type="H100")
    nodes = [{"GPU": 8.0, "accelerator_type:T4": 1.0}, {"GPU": 1.0, "accelerator_type:H100": 1.0}]
    assert first_unplaced([picky], {0: 2}, nodes) is None
    assert first_unplaced([picky], {0: 3}, nodes) is picky
    assert first_shortage(picky.footprint(), nodes[:1]) == ("accelerator_type:H100", 0.0)


def test_first_shortage_is_a_resource_too_small_on_every_node() -> None:
    nodes = [{"CPU": 2.0, "npu": 1.0}, {"CPU": 4.0}]
    assert first_shortage({"CPU": 4.0, "npu": 1.0}, nodes) is None
    assert first_shortage({"CPU": 4.0, "npu": 2.0}, nodes) == ("npu", 1.0)
    assert first_shortage({"CPU": 4.5}, nodes) == ("CPU", 4.0)
    assert first_shortage({"CPU": 0.1}, []) == ("CPU", 0.0)
    assert first_shortage({}, []) is None


def test_amounts_are_rounded_down_to_ten_thousandths() -> None:
    assert [ray_units(amount) for amount in (1.0, 0.04, 2 / 3, 0.33339)] == [10_000, 400, 6_666, 3_333]
    assert first_unplaced([_profile("third", num_cpus=2 / 3)], {0: 3}, [{"CPU": 2.0}]) is None
    assert first_unplaced([_profile("tenth", num_cpus=0.1)], {0: 10}, [{"CPU": 1.0}]) is None


def test_empty_footprint_always_fits() -> None:
    assert first_unplaced([_profile("free")], {0: 10**9}, [{"CPU": 1.0}]) is None


def test_actors_with_scarce_resources_come_first() -> None:
    profiles = [
        _profile("light", num_cpus=0.1),
        _profile("heavy", num_cpus=4.0),
        _profile("npu", resources={"npu": 1.0}),
        _profile("half", num_gpus=0.5),
        _profile("whole", num_gpus=1.0),
        _profile("large", num_cpus=0.1, ray_memory_bytes=2**30),
    ]
    order = [profile.name for profile in sorted(profiles, key=hardest_first)]
    assert order == ["whole", "half", "npu", "heavy", "large", "light"]

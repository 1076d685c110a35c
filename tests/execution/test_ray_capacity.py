"""The capacity of the connected cluster is the sum of its living nodes."""

import os

import pytest
import ray

from orchestrator.execution.ray_capacity import cluster_capacity


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_capacity_of_a_local_ray_is_that_of_this_machine() -> None:
    capacity = cluster_capacity()
    total = ray.cluster_resources()
    (node,) = capacity.nodes
    assert node["CPU"] == capacity.total("CPU") == total["CPU"]
    assert 1 <= capacity.num_cores <= (os.cpu_count() or 1)
    assert capacity.total("memory") == total["memory"] > 0
    assert capacity.total("npu") == 0.0

"""`run` in threads, inside Ray tasks, and several times in one process, always with the same bits."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray

from orchestrator import ExperimentConfig, run
from orchestrator.config.overrides import put_values
from orchestrator.display.run_progress import Progress
from tests.support.sweeps import BASE

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


def _digest(tree: dict[str, Any], executor: str) -> str | None:
    config = ExperimentConfig.parse(put_values(tree, {"runtime.executor": executor}))
    return run(config, Progress(quiet=True)).params_sha256


def test_run_gives_the_same_bits_everywhere(tmp_path: Path, local_ray: None) -> None:
    values = {"runtime.storage": str(tmp_path), "runtime.actors": "pooled", "runtime.pool_size": 1}
    tree = put_values(BASE, {**values, "training.rounds": 2})
    expected = _digest(tree, "inprocess")
    in_task = ray.remote(num_cpus=0)(_digest)
    inside = [in_task.remote(tree, executor) for executor in ("inprocess", "ray")]
    with ThreadPoolExecutor(2) as threads:
        in_threads = [threads.submit(_digest, tree, "inprocess") for _ in range(2)]
        again = _digest(tree, "ray")
    found = [again, *(future.result() for future in in_threads), *ray.get(inside)]
    assert found == [expected] * 5
    assert len(list(tmp_path.iterdir())) == 6
    assert ray.is_initialized(), "a run does not disconnect the user's Ray"

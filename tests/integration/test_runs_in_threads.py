"""Several runs at once in threads of one process, which switches between them as often as it can."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator import ExperimentConfig, run
from orchestrator.config.overrides import put_values
from orchestrator.display.run_progress import Progress
from tests.support.sweeps import BASE


@pytest.fixture
def _frequent_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_frequent_switches")
@pytest.mark.parametrize("method", ["feddst", "fedlps"])
def test_runs_in_threads_have_the_bits_of_a_run_alone(tmp_path: Path, method: str) -> None:
    values = {"runtime.storage": str(tmp_path), "training.rounds": 1, "algorithm.name": method}
    config = ExperimentConfig.parse(put_values(BASE, values))
    alone = run(config, Progress(quiet=True)).params_sha256
    with ThreadPoolExecutor(4) as threads:
        together = [threads.submit(run, config, Progress(quiet=True)) for _ in range(12)]
    assert [result.result().params_sha256 for result in together] == [alone] * 12

"""A forecast equals the costs of the run, unless these depend on what happens during the run."""

import json
from pathlib import Path

import pytest

from orchestrator.display.run_progress import Progress
from orchestrator.errors import SparsefleetError
from orchestrator.execution.placement import Capacity
from orchestrator.forecast.forecast import Forecast, forecast
from orchestrator.runtime import session
from orchestrator.storage.summary import RunSummary
from tests.support.runs import fresh, prepared

MACHINE = Capacity(({"CPU": 4.0, "GPU": 0.0, "memory": 16.0 * 2**30},))


def _both(tmp_path: Path, *overrides: str) -> tuple[Forecast, RunSummary]:
    """The forecast of a run, and the summary of the run itself."""
    experiment = fresh(f"runtime.storage={tmp_path}", *overrides)
    return forecast(experiment, MACHINE), session.run(experiment.config, Progress(quiet=True))


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("training.batch_size=7", "training.drop_last=true", "training.local_epochs=2"),
        ("fleet.name=five-tier", "selection.kind=samples", "seed=3"),
        ("fleet.over_selection=1.5", "fleet.deadline_s=0.2", "runtime.min_clients=1"),
        ("training.with_replacement=true", "algorithm.name=fedavgm"),
        ("wire.value_dtype=float16",),
    ],
    ids=["defaults", "drop_last", "unequal", "over_selection", "replacement", "float16"],
)
def test_dense_forecast_equals_the_run(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    found, run = _both(tmp_path, *overrides)
    certain = found.certainties
    assert (certain.bytes, certain.flops, certain.emulated_s, certain.reasons) == (*["exact"] * 3, ())
    assert found.upload_bytes == run.upload_bytes_total
    assert found.download_bytes == run.download_bytes_total
    assert found.train_flops == run.train_flops_total
    assert found.emulated_s == run.emulated_s_total


def test_absent_devices_send_at_most_the_forecast(tmp_path: Path) -> None:
    overrides = ("fleet.name=phones-and-edge", "runtime.min_clients=1", "training.rounds=6")
    found, run = _both(tmp_path, *overrides)
    assert found.certainties.bytes == "at most"
    assert found.certainties.reasons
    assert 0 < run.upload_bytes_total <= found.upload_bytes
    assert run.download_bytes_total <= found.download_bytes


@pytest.mark.parametrize("method", ["feddst", "scaffold", "heterofl", "ssfl"])
def test_other_methods_are_estimated(method: str) -> None:
    found = forecast(prepared(f"algorithm.name={method}"), MACHINE)
    assert found.certainties.bytes == "estimate"
    assert method in " ".join(found.certainties.reasons)
    assert min(found.upload_bytes, found.download_bytes, found.train_flops, found.wall_s) > 0


def test_asynchronous_rounds_have_a_buffer_of_updates() -> None:
    options = ("asynchrony.kind=fedbuff", "asynchrony.buffer_size=2")
    found = forecast(prepared(*options), MACHINE)
    assert (found.num_tasks, found.certainties.bytes) == (4 * 2, "estimate")


def test_client_actors_are_those_of_the_run() -> None:
    experiment = fresh("runtime.executor=ray", "runtime.actors=pooled", "runtime.pool_size=2")
    found = forecast(experiment, MACHINE)
    assert found.placement is not None
    assert (found.placement.mode, len(found.placement.actors)) == ("pooled", 2)
    alone = forecast(prepared(), MACHINE)
    assert alone.placement is None
    assert found.actor_bytes == 2 * alone.actor_bytes


def test_failing_task_is_reported() -> None:
    """The forecast trains the smallest client of round 0, so that the other clients do not fail."""
    failed = []
    for client_id in range(6):
        name = "algorithm.name=tests.support.methods:Misbehaving"
        try:
            forecast(prepared(name, f"algorithm.client_id={client_id}"), MACHINE)
        except SparsefleetError as error:
            failed.append(str(error))
    assert len(failed) == 1
    assert "in grad_hook" in failed[0]


def test_json_has_all_numbers() -> None:
    found = forecast(prepared(), MACHINE)
    read = json.loads(found.to_json())
    assert read["upload_bytes"] == found.upload_bytes
    assert read["certainties"]["bytes"] == "exact"

"""Runs whose updates are added by shards have the bits of runs whose updates are added by the driver."""

import json
from pathlib import Path

import pytest
import torch

from orchestrator.aggregation.sums import LocalSums, Term
from orchestrator.config.rounds import AsynchronyConfig
from orchestrator.execution.executor import InProcessExecutor
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.aggregate import WeightedMean
from orchestrator.rounds.driver import Driver
from orchestrator.tracking.record import read_records
from tests.support.runs import comparable, drive, prepared
from tests.support.shards import LocalShards, StoringExecutor
from tests.support.timing import with_durations
from tests.support.updates import received_update

ASYNC = ("fleet.name=five-tier", "training.rounds=6", "asynchrony.kind=fedbuff", "asynchrony.buffer_size=2")
#: name -> options of a run
KINDS: dict[str, tuple[str, ...]] = {
    "masks": ("algorithm.name=feddst", "algorithm.readjust_every=1", "wire.value_dtype=bfloat16"),
    "masks, int8": ("algorithm.name=feddst", "algorithm.readjust_every=1", "wire.value_dtype=int8"),
    "masks, wire version 1": ("algorithm.name=fedspa", "wire.version=1"),
    "probes": ("algorithm.name=ssfl",),
    "losses": ("selection.kind=power_of_choice",),
    "submodels": ("algorithm.name=heterofl", "fleet.name=five-tier"),
    "over-selection": ("fleet.over_selection=1.9", "fleet.name=five-tier"),
    "fedbuff": ASYNC,
    "fedbuff with masks": (*ASYNC, "algorithm.name=feddst", "algorithm.readjust_every=2"),
    "fedasync": (*ASYNC[:2], "asynchrony.kind=fedasync"),
}

#: name -> metrics which show that the run had such updates
SHOWN = {
    "over-selection": ("fleet/surplus",),
    "fedbuff": ("fleet/staleness_max",),
    "fedasync": ("fleet/staleness_max",),
}


def _drive(made: Experiment, folder: Path, count: int) -> Driver:
    shards = LocalShards(made, count)
    return drive(made, folder, executor=StoringExecutor(InProcessExecutor(made), shards), aggregators=shards)


@pytest.mark.parametrize("kind", KINDS)
def test_kind_of_rounds_has_the_same_bits_and_costs_with_shards(kind: str, tmp_path: Path) -> None:
    made = prepared(*KINDS[kind])
    driver, expected = _drive(made, tmp_path / "shards", 3), drive(made, tmp_path / "driver")
    assert driver.params_sha256() == expected.params_sha256()
    logs = [tmp_path / place / "metrics.jsonl" for place in ("shards", "driver")]
    found, wanted = (comparable(read_records(log)) for log in logs)
    assert found == wanted
    for metric in SHOWN.get(kind, ()):
        assert any(metrics[metric] > 0 for _, metrics in found), metric


def test_late_updates_have_the_same_bits_with_shards(tmp_path: Path) -> None:
    """The third client needs 3.5 s; its update of round 0 arrives before round 2 ends at 4 s."""
    made = with_durations((1.0, 1.0, 3.5), "fleet.deadline_s=2", "fleet.late=keep")
    driver, expected = _drive(made, tmp_path / "shards", 2), drive(made, tmp_path / "driver")
    assert driver.params_sha256() == expected.params_sha256()
    records = read_records(tmp_path / "shards" / "metrics.jsonl")
    assert max(record.metrics["fleet/staleness_max"] for record in records) == 2


def test_hostile_updates_are_failures_of_their_clients_with_shards(tmp_path: Path) -> None:
    faults = ("not_finite", "wrong_shape", "wrong_mask", "garbage", "stale")
    chaos = [f"chaos.update_{fault}=0.2" for fault in faults]
    made, honest = prepared("algorithm.name=feddst", *chaos), prepared("algorithm.name=feddst")
    driver = _drive(made, tmp_path / "shards", 2)
    assert driver.params_sha256() == drive(honest, tmp_path / "honest").params_sha256()
    drive(made, tmp_path / "driver")
    found, expected = (
        [json.loads(line) for line in (tmp_path / place / "failures.jsonl").read_text().splitlines()]
        for place in ("shards", "driver")
    )
    assert len(found) == 12
    assert found == expected


def test_local_sums_discount_a_stale_update() -> None:
    """Staleness 3 gives s = (1 + 3)^-0.5 = 1/2; the client moved by 4 from 0, so that 10 becomes 10 + 4 / 2 = 12."""
    sums = LocalSums(WeightedMean(), AsynchronyConfig(kind="fedbuff"))
    present = torch.tensor([10.0])
    sums.add(received_update((4.0,)).content, Term(client_id=0, weight=1.0, staleness=3), present)
    assert sums.finish(present).values.tolist() == [12.0]

"""Stragglers and damaged updates."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
import torch

from orchestrator.errors import RoundError
from orchestrator.execution.executor import (
    InProcessExecutor,
    Message,
    TaskHandle,
    TaskRequest,
)
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.update import ClientUpdate, Outcome
from orchestrator.storage.run_store import RunStore
from orchestrator.tracking.record import read_records
from tests.support.runs import drive, prepared


@final
class Garbling:
    """An executor that flips a byte in the first results of client 0."""

    description = "garbling"
    num_workers = 1

    def __init__(self, experiment: Experiment, num_garbled: int) -> None:
        self._inner, self._left = InProcessExecutor(experiment), num_garbled

    def submit(self, message: Message, jobs: Sequence[TaskRequest]) -> tuple[TaskHandle, ...]:
        return self._inner.submit(message, jobs)

    def result(self, handle: TaskHandle) -> Outcome[Any]:
        outcome = self._inner.result(handle)
        if self._left and isinstance(outcome, ClientUpdate) and outcome.client_id == 0:
            self._left -= 1
            garbled = np.array(outcome.buffer)
            garbled[-1] ^= 1
            return replace(outcome, buffer=garbled)
        return outcome

    def close(self) -> None:
        self._inner.close()


def params(folder: Path) -> torch.Tensor:
    """Return the parameters after the last round of the folder."""
    from safetensors.torch import load_file

    return load_file(
        folder / "commits" / f"server-{len(read_records(folder / 'metrics.jsonl')) - 1:06d}.safetensors"
    )["params"]


def test_rejected_update_is_retried_and_logged(tmp_path: Path) -> None:
    experiment = prepared("fleet.num_clients=3")
    drive(experiment, tmp_path / "a")
    drive(experiment, tmp_path / "b", executor=Garbling(experiment, 2))
    assert torch.equal(params(tmp_path / "a"), params(tmp_path / "b"))
    failures = [json.loads(line) for line in (tmp_path / "b" / "failures.jsonl").read_text().splitlines()]
    assert [(f["client_id"], f["round_idx"], f["stage"]) for f in failures] == [(0, 0, "admission")] * 2
    assert "checksum" in failures[0]["cause"]


def test_update_that_is_rejected_at_every_try_ends_the_run(tmp_path: Path) -> None:
    experiment = prepared("fleet.num_clients=3")
    with pytest.raises(RoundError, match="WireError") as caught:
        drive(experiment, tmp_path, executor=Garbling(experiment, 99))
    assert (caught.value.client_id, caught.value.round_idx, caught.value.stage) == (0, 0, "admission")


def test_stragglers_are_left_out_and_the_round_ends_at_the_deadline(tmp_path: Path) -> None:
    """A deadline between the fastest and the slowest client of round 0 leaves out exactly the later ones."""
    drive(prepared("training.rounds=1"), tmp_path / "all")
    lines = (tmp_path / "all" / "events.jsonl").read_text().splitlines()
    seconds = sorted(e["download_s"] + e["compute_s"] + e["upload_s"] for e in map(json.loads, lines))
    deadline_s = (seconds[0] + seconds[1]) / 2

    drive(prepared("training.rounds=1", f"fleet.deadline_s={deadline_s!r}"), tmp_path / "late")

    (record,) = read_records(tmp_path / "late" / "metrics.jsonl")
    assert record.metrics["fleet/stragglers"] == 2
    assert record.metrics["time/emulated_s"] == deadline_s
    assert record.metrics["fleet/participants"] == 1
    assert not torch.equal(params(tmp_path / "all"), params(tmp_path / "late"))


def test_deadline_without_any_update_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(RoundError, match=r"fleet\.deadline_s=1e-09") as caught:
        drive(prepared("fleet.deadline_s=1e-9"), tmp_path)
    assert (caught.value.round_idx, caught.value.num_updates) == (0, 0)
    assert RunStore(tmp_path).folder.is_dir()

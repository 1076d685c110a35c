"""Logs that someone emptied, truncated or deleted: what `restore` repairs, and what it says."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.federation.client_event import ClientEvent
from orchestrator.federation.update import ClientFailure
from orchestrator.storage.checkpoints.pointer import Pointer
from orchestrator.storage.event_log import save_events
from orchestrator.storage.log_repair import repair_logs
from orchestrator.storage.run_logs import LOGS
from orchestrator.storage.run_store import RunStore
from orchestrator.tracking.record import RoundRecord, read_records
from tests.support.checkpoints import TEMPLATES, numbered_checkpoint

ROUNDS = range(4)
FAILURE = ClientFailure(round_idx=0, position=0, client_id=0, stage="train", cause="no space")
EVENT = ClientEvent(
    round_idx=0,
    kind="train",
    position=0,
    client_id=0,
    profile="phone",
    download_bytes=10,
    upload_bytes=20,
    train_flops=1e9,
    train_flops_dense=2e9,
    unmasked_flops=2e9,
    download_s=0.1,
    compute_s=1 / 3,
    compute_ideal_s=1 / 7,
    upload_s=0.0,
    num_examples=7,
    train_loss=0.25,
)


def _commit(store: RunStore, round_idx: int) -> None:
    """Commit a round with one line of metrics, one event per round so far, and a failure in even rounds only."""
    record = RoundRecord(round_idx, 1000 + round_idx, {"eval/accuracy": 0.5, "rounds": 1})
    events = [replace(EVENT, round_idx=round_idx, client_id=k) for k in range(round_idx + 1)]
    failures = [replace(FAILURE, round_idx=round_idx)] if round_idx % 2 == 0 else []
    totals = {"cost_total": float((round_idx + 1) ** 2)}
    store.commit(
        numbered_checkpoint(round_idx, totals=totals),
        {
            "metrics.jsonl": [record.to_line()],
            "events.jsonl": [event.to_line() for event in events],
            "failures.jsonl": [failure.to_line() for failure in failures],
        },
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of four rounds; after round r, the total of `cost` is (r + 1)^2."""
    store = RunStore(tmp_path)
    for round_idx in ROUNDS:
        _commit(store, round_idx)
    return tmp_path


def _restore(run: Path) -> RunStore:
    store = RunStore(run)
    restored = store.restore(TEMPLATES)
    assert restored is not None
    assert restored.round_idx == ROUNDS[-1]
    assert {name: (run / name).stat().st_size for name in LOGS} == dict(restored.log_bytes)
    return store


def _rounds(log: Path) -> list[int]:
    return [json.loads(line)["round_idx"] for line in log.read_bytes().splitlines()]


def _delete(log: Path) -> None:
    log.unlink()


def _empty(log: Path) -> None:
    log.write_bytes(b"")


def _cut_in_first_line(log: Path) -> None:
    os.truncate(log, 10)


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("damage", [_delete, _empty, _cut_in_first_line])
def test_lost_log_is_reported_and_never_padded(run: Path, name: str, damage: Callable[[Path], None]) -> None:
    others = {log: (run / log).read_bytes() for log in LOGS if log != name}
    damage(run / name)
    (line,) = _restore(run).damage_notes
    assert line.startswith(f"{name} ")
    assert b"\0" not in (run / name).read_bytes()
    assert {log: (run / log).read_bytes() for log in others} == others
    assert _restore(run).damage_notes == ()
    store = RunStore(run)
    _commit(store, 4)
    assert _rounds(run / name)[-1] == 4


@pytest.mark.parametrize("name", ["metrics.jsonl", "events.jsonl"])
def test_log_of_nul_bytes_is_repaired(run: Path, name: str) -> None:
    (run / name).write_bytes(bytes((run / name).stat().st_size))
    (line,) = _restore(run).damage_notes
    assert line.startswith(f"{name} ")
    assert b"\0" not in (run / name).read_bytes()


def test_lost_metrics_get_costs_and_totals_from_the_pointers(run: Path) -> None:
    """The totals are 1, 4, 9 and 16, so that the costs are 1, 3, 5 and 7."""
    _empty(run / "metrics.jsonl")
    (line,) = _restore(run).damage_notes
    assert "rounds 0 to 3 " in line
    records = read_records(run / "metrics.jsonl")
    assert [record.round_idx for record in records] == [0, 1, 2, 3]
    assert [record.metrics for record in records] == [
        {"cost": 1.0, "cost_total": 1.0},
        {"cost": 3.0, "cost_total": 4.0},
        {"cost": 5.0, "cost_total": 9.0},
        {"cost": 7.0, "cost_total": 16.0},
    ]


@pytest.mark.parametrize(
    ("first", "last", "rounds"), [(0, 1, "round 0"), (1, 3, "rounds 1 to 2"), (0, 2, "rounds 0 to 1")]
)
def test_metrics_without_some_lines_keep_the_others(run: Path, first: int, last: int, rounds: str) -> None:
    log = run / "metrics.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:first], *lines[last:]]))
    (note,) = _restore(run).damage_notes
    assert f"{rounds} now" in note
    kept = log.read_bytes().splitlines(keepends=True)
    assert [*kept[:first], *kept[last:]] == [*lines[:first], *lines[last:]]
    assert _rounds(log) == [0, 1, 2, 3]


def test_events_come_back_from_their_table(run: Path) -> None:
    save_events(run)
    before = (run / "events.jsonl").read_bytes()
    _empty(run / "events.jsonl")
    (line,) = _restore(run).damage_notes
    assert "events.parquet" in line
    assert (run / "events.jsonl").read_bytes() == before


def test_events_of_rounds_after_the_table_are_lost(run: Path) -> None:
    save_events(run)
    _commit(RunStore(run), 4)
    _empty(run / "events.jsonl")
    store = RunStore(run)
    assert store.restore(TEMPLATES) is not None
    (line,) = store.damage_notes
    assert line.endswith("round 4 are lost")
    assert _rounds(run / "events.jsonl") == [0, 1, 1, 2, 2, 2, 3, 3, 3, 3]


def test_complete_lines_of_a_cut_round_stay(run: Path) -> None:
    """Rounds 0 to 2 have 1, 2 and 3 events; the cut leaves two and a half of round 2."""
    log = run / "events.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    os.truncate(log, sum(map(len, lines[:5])) + 20)
    (line,) = _restore(run).damage_notes
    assert line.endswith("rounds 2 to 3 are lost")
    assert _rounds(log) == [0, 1, 1, 2, 2]


def test_failures_before_the_last_two_rounds_are_not_padded(run: Path) -> None:
    """Neither of the last two rounds needs the line of round 0, so that their checkpoints look complete."""
    _commit(RunStore(run), 4)
    for round_idx in (5, 6):
        RunStore(run).commit(numbered_checkpoint(round_idx), {name: [] for name in LOGS})
    log = run / "failures.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[1:]))
    store = RunStore(run)
    assert store.restore(TEMPLATES) is not None
    (note,) = store.damage_notes
    assert note.endswith("round 0 are lost")
    assert _rounds(log) == [2, 4]


def test_all_logs_lost_at_once(run: Path) -> None:
    for name in LOGS:
        _empty(run / name)
    assert {line.split()[0] for line in _restore(run).damage_notes} == set(LOGS)
    assert [(run / name).read_bytes() for name in LOGS[1:]] == [b"", b""]


def test_logs_without_digests_keep_lines_that_are_json(run: Path) -> None:
    """Checkpoints of old releases contain no digests of lines."""
    paths = sorted((run / "commits").glob("round-*"))
    for path in paths:
        path.write_bytes(replace(Pointer.read(path), log_sha256={}).to_bytes())
    log = run / "metrics.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    os.truncate(log, len(lines[0]) + 5)
    (note,) = _restore(run).damage_notes
    assert "rounds 1 to 3 " in note
    assert log.read_bytes().startswith(lines[0])


def test_repair_that_was_interrupted_is_repeated(run: Path) -> None:
    """A kill after some pointers were rewritten leaves old lengths in the others."""
    _empty(run / "metrics.jsonl")
    paths = sorted((run / "commits").glob("round-*"))
    before = [path.read_bytes() for path in paths]
    repair_logs(run, paths)
    whole = (run / "metrics.jsonl").read_bytes()
    for path, content in zip(paths[2:], before[2:], strict=True):
        path.write_bytes(content)
    _restore(run)
    assert [r.metrics for r in read_records(run / "metrics.jsonl")] == [
        RoundRecord.from_line(line).metrics for line in whole.splitlines()
    ]
    assert _restore(run).damage_notes == ()


def test_states_are_restored_with_a_damaged_log_and_a_damaged_newest_state(run: Path) -> None:
    _empty(run / "events.jsonl")
    (run / "commits" / "server-000003.safetensors").write_bytes(b"")
    store = RunStore(run)
    restored = store.restore(TEMPLATES)
    assert restored is not None
    assert restored.round_idx == 2
    skipped, repaired = store.damage_notes
    assert "torn-000003.json" in skipped
    assert repaired.startswith("events.jsonl ")

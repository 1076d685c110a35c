"""The events of a run: read from the log up to the last checkpoint, and converted to a typed table."""

import json
import math
from dataclasses import asdict, fields, replace
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from orchestrator.commands import resume_line
from orchestrator.errors import CheckpointError, SparsefleetError
from orchestrator.federation.client_event import ClientEvent
from orchestrator.storage.event_log import committed_events, num_committed, save_events

TRAINED = ClientEvent(
    round_idx=0,
    kind="train",
    position=1,
    client_id=7,
    profile="slow",
    download_bytes=2**40,
    upload_bytes=8,
    train_flops=1e15 / 3,
    train_flops_dense=4e15,
    unmasked_flops=3e15,
    download_s=4.0,
    compute_s=0.1,
    compute_ideal_s=0.05,
    upload_s=4.0,
    num_examples=10,
    train_loss=1 / 3,
)
PROBED = replace(TRAINED, kind="probe", position=0, train_loss=math.nan)


def write_log(folder: Path, *events: ClientEvent, num_rounds: int = 1) -> Path:
    """Write a log and the pointers of `num_rounds` checkpoints."""
    (folder / "commits").mkdir(parents=True, exist_ok=True)
    for round_idx in range(num_rounds):
        (folder / "commits" / f"round-{round_idx:06d}.json").touch()
    (folder / "events.jsonl").write_text("".join(event.to_line() + "\n" for event in events))
    return folder


def test_event_of_an_earlier_version_had_an_ideal_device(tmp_path: Path) -> None:
    """Its line has no `unmasked_flops` and no `compute_ideal_s`."""
    write_log(tmp_path, TRAINED)
    line = json.loads((tmp_path / "events.jsonl").read_text())
    del line["unmasked_flops"], line["compute_ideal_s"]
    (tmp_path / "events.jsonl").write_text(json.dumps(line) + "\n")
    expected = replace(TRAINED, unmasked_flops=TRAINED.train_flops, compute_ideal_s=TRAINED.compute_s)
    assert list(committed_events(tmp_path)) == [expected]


def test_written_events_are_read_back(tmp_path: Path) -> None:
    write_log(tmp_path, PROBED, TRAINED)
    probed, trained = committed_events(tmp_path)
    assert trained == TRAINED
    assert math.isnan(probed.train_loss)
    assert replace(probed, train_loss=0.0) == replace(PROBED, train_loss=0.0)


def test_missing_fields_of_older_logs_get_defaults(tmp_path: Path) -> None:
    write_log(tmp_path)
    optional = {"start_s", "outcome", "staleness"}
    line = json.dumps({k: v for k, v in asdict(TRAINED).items() if k not in optional})
    (tmp_path / "events.jsonl").write_text(line + "\n")
    assert list(committed_events(tmp_path)) == [TRAINED]


def test_uncommitted_events_are_ignored(tmp_path: Path) -> None:
    later = replace(TRAINED, round_idx=1)
    for whole in ((), (later,)):
        write_log(tmp_path, TRAINED, *whole)
        with (tmp_path / "events.jsonl").open("a") as file:
            file.write(later.to_line()[:20])
        assert num_committed(tmp_path) == 1
        assert list(committed_events(tmp_path)) == [TRAINED]
    write_log(tmp_path, TRAINED, later, num_rounds=2)
    assert list(committed_events(tmp_path)) == [TRAINED, later]


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        '{"round_idx": 0}',
        TRAINED.to_line().replace('"client_id": 7', '"client_id": 7.5'),
        TRAINED.to_line().replace('"client_id": 7', '"client_id": true'),
        TRAINED.to_line().replace('"kind": "train"', '"kind": null'),
        TRAINED.to_line().replace('"kind"', '"sort"'),
    ],
)
def test_invalid_line_is_rejected_with_its_number(line: str, tmp_path: Path) -> None:
    write_log(tmp_path, TRAINED)
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(CheckpointError, match=r"events\.jsonl, line 2: "):
        list(committed_events(tmp_path))


def test_missing_log_is_rejected(tmp_path: Path) -> None:
    write_log(tmp_path)
    (tmp_path / "events.jsonl").unlink()
    with pytest.raises(CheckpointError, match=r"events\.jsonl"):
        list(committed_events(tmp_path))


def test_table_has_typed_columns_and_exact_values(tmp_path: Path) -> None:
    save_events(write_log(tmp_path, PROBED, TRAINED))
    table = parquet.read_table(tmp_path / "events.parquet")
    assert table.column_names == [field.name for field in fields(ClientEvent)]
    kinds = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    assert table.schema.types == [kinds[type(getattr(TRAINED, name))] for name in table.column_names]
    nullable = [field.name for field in table.schema if field.nullable]
    assert nullable == ["train_loss"]
    probed, trained = table.to_pylist()
    assert probed["train_loss"] is None
    assert (probed["kind"], trained["kind"], trained["download_bytes"]) == ("probe", "train", 2**40)
    assert ClientEvent(**trained) == TRAINED


def test_table_of_a_long_log_is_complete(tmp_path: Path) -> None:
    """The log has one row more than one conversion step (65,536 rows)."""
    count = 65_537
    line = TRAINED.to_line() + "\n"
    write_log(tmp_path, PROBED)
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write(line * (count - 1))
    save_events(tmp_path)
    table = parquet.read_table(tmp_path / "events.parquet", columns=["train_loss"])
    assert table.num_rows == count
    assert table["train_loss"].null_count == 1


def test_run_without_a_checkpoint_gets_no_table(tmp_path: Path) -> None:
    save_events(write_log(tmp_path, TRAINED, num_rounds=0))
    assert not (tmp_path / "events.parquet").exists()


def test_table_is_replaced(tmp_path: Path) -> None:
    save_events(write_log(tmp_path, TRAINED))
    save_events(write_log(tmp_path, TRAINED, replace(TRAINED, round_idx=1), num_rounds=2))
    assert parquet.read_table(tmp_path / "events.parquet")["round_idx"].to_pylist() == [0, 1]


def test_failed_conversion_names_cause_and_remedy(tmp_path: Path) -> None:
    """The old table is deleted, because it does not match the log any more."""
    save_events(write_log(tmp_path, TRAINED))
    log = tmp_path / "events.jsonl"
    log.write_text("nonsense\n")
    with pytest.raises(SparsefleetError) as failed:
        save_events(tmp_path)
    (line,) = str(failed.value).splitlines()
    assert line.startswith(f"{tmp_path / 'events.parquet'} ")
    assert f"{log}, line 1" in line
    assert f"`{resume_line(tmp_path)}`" in line
    assert isinstance(failed.value.__cause__, CheckpointError)
    assert not (tmp_path / "events.parquet").exists()
    assert log.read_text() == "nonsense\n"

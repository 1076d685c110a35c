"""The logs of a run: a checkpoint covers the lines that its round added."""

from pathlib import Path

import pytest

from orchestrator.storage.checkpoints.checkpoint_store import CheckpointStore
from orchestrator.storage.run_logs import DamagedLogError, append_to_logs, truncate_logs
from orchestrator.storage.run_store import RunStore
from tests.support.checkpoints import TEMPLATES, assert_is_round, numbered_checkpoint


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three rounds of 8 bytes each in metrics.jsonl and 2 bytes each in events.jsonl."""
    store = RunStore(tmp_path)
    for round_idx in range(3):
        lines = {"metrics.jsonl": [f"round {round_idx}"], "events.jsonl": ["x"]}
        store.commit(numbered_checkpoint(round_idx), lines)
    return tmp_path


@pytest.mark.parametrize("name", ["metrics.jsonl", "events.jsonl"])
@pytest.mark.parametrize("damage", ["the last byte", "its last line", "its last byte"])
def test_restore_skips_a_checkpoint_whose_log_lines_changed(run: Path, name: str, damage: str) -> None:
    log = run / name
    whole = log.read_bytes()
    log.write_bytes(
        {
            "the last byte": whole[:-1] + b"?",
            "its last line": whole[: whole[:-1].rindex(b"\n") + 1],
            "its last byte": whole[:-1],
        }[damage]
    )
    store = CheckpointStore(run / "commits")
    assert_is_round(store.restore(TEMPLATES, run), 1)
    assert str(log) in str(store.skipped_checkpoint)


@pytest.mark.parametrize("name", ["metrics.jsonl", "events.jsonl"])
def test_restore_reports_a_log_that_both_checkpoints_need(run: Path, name: str) -> None:
    """Both checkpoints need the log, so that the earlier one is of no use. The states are complete."""
    (run / name).unlink()
    store = CheckpointStore(run / "commits")
    assert_is_round(store.restore(TEMPLATES, run), 2)
    assert store.has_damaged_logs
    assert store.skipped_checkpoint is None


def test_restore_ignores_lines_without_a_checkpoint(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write("round 3\nroun")
    store = CheckpointStore(run / "commits")
    assert_is_round(store.restore(TEMPLATES, run), 2)
    assert store.skipped_checkpoint is None


def test_append_returns_lengths_and_digests_of_the_added_lines(tmp_path: Path) -> None:
    """The SHA-256 of no bytes is that of FIPS 180-4; both rounds add the same line."""
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    first = append_to_logs(tmp_path, {"metrics.jsonl": ["one", "two"], "events.jsonl": []})
    assert first[0] == {"metrics.jsonl": 8, "events.jsonl": 0}
    assert first[1]["events.jsonl"] == empty
    second = append_to_logs(tmp_path, {"metrics.jsonl": iter(["one", "two"])})
    assert second == ({"metrics.jsonl": 16}, {"metrics.jsonl": first[1]["metrics.jsonl"]})


def test_truncate_empties_logs_without_a_length(tmp_path: Path) -> None:
    append_to_logs(tmp_path, {"metrics.jsonl": ["one", "two"], "events.jsonl": ["x"]})
    truncate_logs(tmp_path, {"metrics.jsonl": 4})
    with pytest.raises(DamagedLogError, match=r"metrics\.jsonl"):
        truncate_logs(tmp_path, {"metrics.jsonl": 5})
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"one\n"
    assert (tmp_path / "events.jsonl").read_bytes() == b""
    assert (tmp_path / "failures.jsonl").read_bytes() == b""

"""Records on disk: exact round trips, torn last lines, and errors that name the line."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import CheckpointError
from orchestrator.tracking.record import METRICS, RecordTail, RoundRecord, read_records

LINE = '{"round_idx":3,"timestamp_ms":1700000000123,"metrics":{"eval/accuracy":0.5}}'


def test_to_line_writes_the_documented_format() -> None:
    record = RoundRecord(3, 1_700_000_000_123, {"eval/accuracy": 0.5})
    assert record.to_line() == LINE
    assert RoundRecord.from_line(LINE) == record


@given(st.dictionaries(st.text(), st.floats(allow_nan=False)), st.integers(0, 10**9), st.integers(0, 2**62))
def test_from_line_inverts_to_line(metrics: dict[str, float], round_idx: int, timestamp_ms: int) -> None:
    record = RoundRecord(round_idx, timestamp_ms, metrics)
    line = record.to_line()
    assert "\n" not in line
    assert RoundRecord.from_line(line.encode()) == record


def test_lines_keep_nan_and_infinity() -> None:
    read = RoundRecord.from_line(RoundRecord(0, 0, {"a": math.nan, "b": math.inf}).to_line())
    assert math.isnan(read.metrics["a"])
    assert read.metrics["b"] == math.inf


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        '{"round_idx":1}',
        '{"round_idx":1.5,"timestamp_ms":1,"metrics":{}}',
        '{"round_idx":1,"timestamp_ms":1,"metrics":{"a":"high"}}',
        '{"round_idx":1,"timestamp_ms":1,"metrics":{"a":true}}',
        '{"round_idx":1,"timestamp_ms":1,"metrics":[1]}',
        '{"round_idx":1,"timestamp_ms":1,"metrics":{},"more":1}',
    ],
)
def test_from_line_rejects_an_invalid_line(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        RoundRecord.from_line(line)


def test_read_records_ignores_a_torn_last_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = [RoundRecord(r, 10 + r, {"a": r / 3}) for r in range(3)]
    path.write_text("".join(record.to_line() + "\n" for record in whole) + LINE[:-20])
    assert read_records(path) == whole
    assert read_records(path, start=2) == whole[2:]
    assert read_records(path, start=9) == []
    assert read_records(tmp_path / "absent.jsonl") == []


def test_read_records_names_an_invalid_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{LINE}\nnonsense\n{LINE}\n")
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl, line 2"):
        read_records(path)
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl, line 2"):
        read_records(path, start=1)


def test_metrics_describe_totals_and_their_parts() -> None:
    totals = [name for name in METRICS if name.endswith("_total")]
    assert len(totals) == 9
    assert all(name.removesuffix("_total") in METRICS for name in totals)
    assert all(text and "\n" not in text for text in METRICS.values())


class TestRecordTail:
    def lines(self, *rounds: int) -> str:
        return "".join(RoundRecord(r, 0, {"a": 10.0**r}).to_line() + "\n" for r in rounds)

    def read(self, tail: RecordTail, start: int) -> list[int]:
        return [record.round_idx for record in tail.read(start)]

    def test_tail_reads_new_lines(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.jsonl"
        tail = RecordTail(path)
        assert self.read(tail, 0) == []
        path.write_text(self.lines(0, 1) + "torn")
        assert self.read(tail, 0) == [0, 1]
        assert self.read(tail, 1) == [1]
        path.write_text(self.lines(0, 1, 2, 3))
        assert self.read(tail, 2) == [2, 3]
        assert self.read(tail, 4) == []
        assert self.read(tail, 9) == []

    def test_tail_reads_each_line_once(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.jsonl"
        tail = RecordTail(path)
        path.write_text(self.lines(0, 1, 2))
        assert self.read(tail, 2) == [2]
        content = path.read_bytes()
        path.write_bytes(b"?" * content.index(b"\n") + content[content.index(b"\n") :])
        assert self.read(tail, 2) == [2]
        with pytest.raises(CheckpointError, match="line 1"):
            read_records(path)

    def test_tail_restarts_when_the_file_is_shorter(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.jsonl"
        tail = RecordTail(path)
        path.write_text(self.lines(0, 1, 2))
        assert self.read(tail, 3) == []
        path.write_text(self.lines(0, 1))
        assert self.read(tail, 3) == []
        path.write_text(self.lines(0, 1, 5, 6))
        assert self.read(tail, 3) == [6]

    def test_tail_names_an_invalid_line(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.jsonl"
        path.write_text(self.lines(0, 1) + "nonsense\n")
        with pytest.raises(CheckpointError, match="line 3"):
            RecordTail(path).read(1)

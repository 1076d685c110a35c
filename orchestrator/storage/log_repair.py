"""Repairs the logs of a run that someone emptied, truncated or deleted.

The pointer of each round says how long each log was after the round, and contains the digest of the lines that the
round added. So `repair_logs` can check the lines of each round:

- Lines that are still in the log stay. `events.parquet` may contain lost lines of events.
- A lost line of metrics becomes a line with the costs of the round, which follow from the totals in the pointers.
- All other lost lines stay lost, and the note names their rounds.

A repaired log may have another length than before. The pointers then get the new lengths and digests.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

from orchestrator.atomic_write import write_durably
from orchestrator.storage.checkpoints.pointer import Pointer
from orchestrator.storage.event_log import LOG, TABLE, table_as_log
from orchestrator.storage.run_logs import LOGS, METRICS
from orchestrator.tracking.record import RoundRecord

#: ending of the names of running totals
_TOTAL = "_total"


def repair_logs(run_dir: Path, pointer_paths: Sequence[Path]) -> list[str]:
    """Repair the logs for the rounds of these pointers, which are all committed rounds in order.

    Returns one line for each repaired log. Raises CheckpointError for a pointer that cannot be read, and when the file
    system rejects a write. An interrupted repair can be repeated.
    """
    pointers = [Pointer.read(path) for path in pointer_paths]
    notes, repaired = [], pointers
    for name in LOGS:
        data = _content(run_dir / name)
        sources = [data, table_as_log(run_dir)] if name == LOG else [data]
        found = [_lines_of_round(pointers, round_idx, name, sources) for round_idx in range(len(pointers))]
        if None not in found and data.startswith(b"".join(lines or b"" for lines in found)):
            continue
        lines = [b"" if kept is None else kept for kept in found]
        lost = [round_idx for round_idx, kept in enumerate(found) if kept is None]
        if name == METRICS:
            for round_idx in lost:
                lines[round_idx] = _record_of_totals(pointer_paths, pointers, round_idx)
        elif lost and not any(lines[lost[0] :]):
            lines[lost[0]] = _complete_lines(data[_end(pointers, lost[0] - 1, name) :])
        write_durably(run_dir / name, b"".join(lines))
        repaired = _with_lines(repaired, name, lines)
        notes.append(_note(name, lost))
    for path, before, after in zip(pointer_paths, pointers, repaired, strict=True):
        if after != before:
            write_durably(path, after.to_bytes())
    return notes


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _end(pointers: Sequence[Pointer], round_idx: int, name: str) -> int:
    """Return the length of a log after a round; 0 for round -1, which stands for the start of the run."""
    return pointers[round_idx].log_bytes.get(name, 0) if round_idx >= 0 else 0


def _lines_of_round(
    pointers: Sequence[Pointer], round_idx: int, name: str, sources: Sequence[bytes]
) -> bytes | None:
    """Return the lines that a round added to a log, from the first source that contains them; None when none does.

    Lines may have moved towards the start, because earlier lines are missing.
    """
    start, end = _end(pointers, round_idx - 1, name), _end(pointers, round_idx, name)
    wanted = pointers[round_idx].log_sha256.get(name)
    for source in sources:
        moved = _end(pointers, len(pointers) - 1, name) - len(source)
        for offset in (0, moved) if moved > 0 else (0,):
            lines = source[max(0, start - offset) : max(0, end - offset)]
            if len(lines) == end - start and _is_intact(lines, wanted):
                return lines
    return None


def _is_intact(lines: bytes, digest: str | None) -> bool:
    """Return whether lines have the digest; without a digest, as in old checkpoints, whether they are JSON."""
    return lines == _complete_lines(lines) if digest is None else sha256(lines).hexdigest() == digest


def _complete_lines(data: bytes) -> bytes:
    """Return the lines at the start of the data that are complete and JSON."""
    kept = b""
    with suppress(ValueError):
        for line in data.split(b"\n")[:-1]:
            json.loads(line)
            kept += line + b"\n"
    return kept


def _record_of_totals(paths: Sequence[Path], pointers: Sequence[Pointer], round_idx: int) -> bytes:
    """Return a line of metrics with the totals after a round and the costs of this round."""
    totals = pointers[round_idx].totals
    before = pointers[round_idx - 1].totals if round_idx else {}
    costs = {name.removesuffix(_TOTAL): value - before.get(name, 0.0) for name, value in totals.items()}
    committed_ms = round(paths[round_idx].stat().st_mtime * 1000)
    return f"{RoundRecord(round_idx, committed_ms, {**costs, **totals}).to_line()}\n".encode()


def _with_lines(pointers: Sequence[Pointer], name: str, lines: Sequence[bytes]) -> list[Pointer]:
    """Return the pointers with the lengths and digests of a log that has these lines, round by round."""
    changed, length = [], 0
    for pointer, added in zip(pointers, lines, strict=True):
        length += len(added)
        changed.append(
            replace(
                pointer,
                log_bytes={**pointer.log_bytes, name: length},
                log_sha256={**pointer.log_sha256, name: sha256(added).hexdigest()},
            )
        )
    return changed


def _note(name: str, lost: Sequence[int]) -> str:
    if not lost:
        return f"{name} was damaged, and {TABLE} still had its lines"
    rounds = f"round{'s' if len(lost) > 1 else ''} {_ranges(lost)}"
    if name == METRICS:
        return f"{name} was damaged: {rounds} now {'have' if len(lost) > 1 else 'has'} only costs and totals"
    return f"{name} was damaged: lines of {rounds} are lost"


def _ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers as text, such as `0 to 3, 5`."""
    starts = [numbers[0], *(after for before, after in pairwise(numbers) if after != before + 1)]
    ends = [*(before for before, after in pairwise(numbers) if after != before + 1), numbers[-1]]
    return ", ".join(
        str(first) if first == last else f"{first} to {last}"
        for first, last in zip(starts, ends, strict=True)
    )

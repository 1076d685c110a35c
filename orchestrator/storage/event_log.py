"""The events of a run's clients: read them from the log, and convert the log to a typed table.

`events.jsonl` grows with the run. The run converts it to `events.parquet` whenever the run ends.
"""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import fields
from io import BytesIO
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from orchestrator.atomic_write import write_durably
from orchestrator.commands import resume_line
from orchestrator.errors import CheckpointError, SparsefleetError
from orchestrator.federation.client_event import ClientEvent

if TYPE_CHECKING:
    import pyarrow as pa

LOG, TABLE = "events.jsonl", "events.parquet"
#: rows per conversion step
_CHUNK = 1 << 16


def _kind(hint: Any) -> type:
    return type(get_args(hint)[0]) if get_origin(hint) is Literal else hint


#: field of an event -> int, float or str
_KINDS = {field.name: _kind(get_type_hints(ClientEvent)[field.name]) for field in fields(ClientEvent)}
_ACCEPTED = {int: (int,), float: (int, float), str: (str,)}


def num_committed(folder: Path) -> int:
    """Return how many rounds the run in this folder has committed; every committed round has a pointer."""
    return sum(1 for _ in (folder / "commits").glob("round-*.json"))


def committed_events(folder: Path) -> Iterator[ClientEvent]:
    """Yield the events of all committed rounds in the order of the log; a missing loss is NaN.

    Raises CheckpointError when the log cannot be read. The message names the line (1-based) that is not an event.
    """
    num_rounds = num_committed(folder)  # read first, because a run in progress appends to the log
    return takewhile(lambda event: event.round_idx < num_rounds, _events(folder / LOG))


def table_as_log(folder: Path) -> bytes:
    """Return the events of the table as they were in the log; empty without a table that can be read."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        rows = parquet.read_table(folder / TABLE).to_pylist()
        return "".join(f"{_event(json.dumps(row).encode()).to_line()}\n" for row in rows).encode()
    except (OSError, pa.ArrowException, ValueError, TypeError):
        return b""


def save_events(folder: Path) -> None:
    """Write the table of the committed events durably. A run without a checkpoint gets no table.

    The table has one column per field of ClientEvent: int64, float64 or string. A missing `train_loss` is null.
    Raises SparsefleetError, with the remedy, when the table cannot be written. The log does not change.
    """
    path = folder / TABLE
    if not num_committed(folder):
        return
    try:
        path.unlink(missing_ok=True)
        write_durably(path, _parquet(committed_events(folder)))
    except Exception as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        problem = " ".join(f"{type(cause).__name__}: {cause}".split())
        raise SparsefleetError(
            f"{path} could not be written ({problem}); {LOG} still contains all events: remove the cause, then "
            f"`{resume_line(folder)}`"
        ) from error


def _events(path: Path) -> Iterator[ClientEvent]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); restore it") from error
    with file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield _event(line)
            except (ValueError, TypeError) as error:
                raise CheckpointError(f"{path}, line {number}: this is not an event ({error})") from error


def _event(line: bytes) -> ClientEvent:
    content = json.loads(line)
    if isinstance(content, dict):
        if "train_loss" in content and content["train_loss"] is None:
            content["train_loss"] = math.nan
        # earlier versions gave every device a sparse efficiency of 1
        for name, same in (("unmasked_flops", "train_flops"), ("compute_ideal_s", "compute_s")):
            if name not in content and same in content:
                content[name] = content[same]
    event = ClientEvent(**content)
    for name, kind in _KINDS.items():
        if type(getattr(event, name)) not in _ACCEPTED[kind]:
            raise ValueError(f"{name} is {getattr(event, name)!r}")
    return event


def _parquet(events: Iterable[ClientEvent]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    types = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    schema = pa.schema(
        [pa.field(name, types[kind], nullable=name == "train_loss") for name, kind in _KINDS.items()]
    )
    buffer, rows = BytesIO(), iter(events)
    with parquet.ParquetWriter(buffer, schema) as writer:
        while chunk := list(islice(rows, _CHUNK)):
            writer.write_table(_table(chunk, schema))
    return buffer.getvalue()


def _table(events: list[ClientEvent], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    columns = {name: [getattr(event, name) for event in events] for name in _KINDS}
    columns["train_loss"] = [None if math.isnan(loss) else loss for loss in columns["train_loss"]]
    return pa.Table.from_pydict(columns, schema=schema)

"""Reads the tables of a run's folder as pandas data frames."""

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.storage.client_scores import CLIENT_SCORES
from orchestrator.tracking.record import committed_records
from orchestrator.tracking.tables import clients_table

if TYPE_CHECKING:
    import pandas as pd


def rounds_frame(folder: Path) -> "pd.DataFrame":
    """Return one row per committed round (index `round`, 0-based) and one column per metric, such as `eval/accuracy`.

    A metric that a round did not measure is NaN. Raises CheckpointError for damaged logs.
    """
    import pandas as pd

    records = committed_records(folder)
    index = pd.Index([record.round_idx for record in records], name="round")
    return pd.DataFrame([record.metrics for record in records], index=index)


def clients_frame(folder: Path) -> "pd.DataFrame":
    """Return a row per client (index `client_id`): samples, participations, bytes, FLOPs, emulated seconds, scores.

    See `clients_table` for the columns.
    """
    scores = folder / CLIENT_SCORES
    table = clients_table(
        folder / "events.jsonl", folder / "partition.parquet", scores if scores.is_file() else None
    )
    return table.set_index("client_id")

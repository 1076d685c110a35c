"""The costs of each client over a run, as a data frame and as Parquet."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.tracking.record import complete_lines

if TYPE_CHECKING:
    import pandas as pd

_SUMMED_ENDINGS = ("_bytes", "_flops", "_flops_dense", "_s")


def write_clients(events: Path, partition: Path, path: Path, scores: Path | None = None) -> None:
    """Write `clients_table` to a Parquet file."""
    clients_table(events, partition, scores).to_parquet(path, index=False)


def clients_table(events: Path, partition: Path, scores: Path | None = None) -> "pd.DataFrame":
    """Return a row per client: its row of `partition.parquet`, `num_participations`, and the sums over its events.

    `scores` is the file with the clients' accuracies in the last evaluation (None: there is none). Each metric becomes
    a column, with `_` in place of `/`; a client without samples has no value.

    The sums cover the numeric fields whose names say that they add up: bytes, FLOPs, seconds and `num_` counts.
    Clients that never took part have zeros.
    """
    import pandas as pd

    clients = pd.read_parquet(partition)
    sums = _sums(pd.DataFrame(_rows(events)))
    clients = clients.merge(sums, how="left", on="client_id", suffixes=("", "_trained"))
    clients = clients.fillna(dict.fromkeys(sums.columns.drop("client_id"), 0))
    clients["num_participations"] = clients["num_participations"].astype("int64")
    if scores is not None:
        for metric, values in json.loads(scores.read_bytes())["scores"].items():
            column = {int(client): value for client, value in values.items()}
            clients[metric.replace("/", "_")] = clients["client_id"].map(column).astype("float64")
    return clients


def _rows(events: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in complete_lines(events)]


def _sums(events: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    if events.empty:
        return pd.DataFrame(
            {"client_id": pd.Series(dtype="int64"), "num_participations": pd.Series(dtype="int64")}
        )
    numeric = events.select_dtypes("number").columns
    summed = [
        name
        for name in numeric
        if (name.endswith(_SUMMED_ENDINGS) and name != "start_s") or name.startswith("num_")
    ]
    groups = events.groupby("client_id")
    return groups[summed].sum().assign(num_participations=groups.size()).reset_index()

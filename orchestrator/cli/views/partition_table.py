"""What `sparsefleet partition` prints: each client's samples, by part and by class."""

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.views.tables import plain_table
from orchestrator.experiment.config import ExperimentConfig


def partition_table(config: ExperimentConfig) -> RenderableType:
    """A table with one row per client, followed by lines about the samples that the partition leaves out.

    Raises RequestError when the samples cannot be partitioned in this way.
    """
    from orchestrator.data.partition import make_partition
    from orchestrator.data.registry import load_dataset
    from orchestrator.federation.seeds import stream

    dataset = load_dataset(config.data)
    split = make_partition(dataset, config.data, config.fleet.num_clients, stream(config.seed, "partition"))
    columns = split.table(dataset)
    classes = [name for name in columns if name.startswith("class_")]
    table = plain_table("client", "train", "validation", "test", "training samples by class")
    for k in range(split.num_distinct):
        counts = [(name.removeprefix("class_"), int(columns[name][k])) for name in classes]
        class_counts = "  ".join(f"{label}:{count}" for label, count in counts if count)
        parts = [str(columns[f"num_{part}"][k]) for part in ("train", "validation", "test")]
        table.add_row(str(k), *parts, class_counts)
    repeated = f"; {split.num_clients} clients repeat them" if split.num_distinct < split.num_clients else ""
    table.caption = f"{config.data.name}, {split.kind}{repeated}; fingerprint {split.fingerprint()[:16]}"
    return Group(table, *(Text(line) for line in (*dataset.notes, *split.notes)))

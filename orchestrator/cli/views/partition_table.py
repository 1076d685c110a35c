"""What `sparsefleet partition` prints: each client's samples, by part and by class."""

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.views.tables import PlainTable
from orchestrator.experiment.config import ExperimentConfig

if TYPE_CHECKING:
    from orchestrator.data.dataset import Dataset
    from orchestrator.data.partition import Partition


def partition_table(config: ExperimentConfig) -> RenderableType:
    """A table with one row per client, followed by lines about the samples that the partition leaves out.

    Raises RequestError when the samples cannot be partitioned in this way.
    """
    dataset, split = _split(config)
    columns = split.table(dataset)
    classes = [name for name in columns if name.startswith("class_")]
    table = PlainTable("client", "train", "validation", "test", "training samples by class")
    for k in range(split.num_distinct):
        counts = [(name.removeprefix("class_"), int(columns[name][k])) for name in classes]
        class_counts = "  ".join(f"{label}:{count}" for label, count in counts if count)
        parts = [str(columns[f"num_{part}"][k]) for part in ("train", "validation", "test")]
        table.add(str(k), *parts, class_counts)
    repeated = f"; {split.num_clients} clients repeat them" if split.num_distinct < split.num_clients else ""
    table.caption = f"{config.data.name}, {split.kind}{repeated}; fingerprint {split.fingerprint()[:16]}"
    return Group(table, *(Text(line) for line in (*dataset.notes, *split.notes)))


def partition_json(config: ExperimentConfig) -> dict[str, Any]:
    """Return the partition's columns by name, its kind, fingerprint and notes. Raises as `partition_table` does."""
    dataset, split = _split(config)
    return {
        "data": config.data.name,
        "kind": split.kind,
        "fingerprint": split.fingerprint(),
        "notes": [*dataset.notes, *split.notes],
        "clients": {name: column.tolist() for name, column in split.table(dataset).items()},
    }


def _split(config: ExperimentConfig) -> "tuple[Dataset, Partition]":
    from orchestrator.data.registry import load_dataset
    from orchestrator.experiment.experiment import split_samples

    dataset = load_dataset(config.data)
    return dataset, split_samples(dataset, config)

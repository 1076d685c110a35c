"""Scores of clients' models, counted by hand, and the metrics that a run has recorded of them."""

from pathlib import Path

from orchestrator.experiment.experiment import Experiment
from orchestrator.tracking.record import read_records


def last_metrics(folder: Path) -> dict[str, float]:
    """Return the metrics of a run's last round."""
    return read_records(folder / "metrics.jsonl")[-1].metrics


def shares(experiment: Experiment, labels: dict[int, int], *, validation: bool = False) -> list[float]:
    """Return the share of class labels[k] among client k's test or validation samples, for each client."""
    found = []
    dataset, partition = experiment.dataset, experiment.partition
    index, classes = (
        (partition.validation, dataset.train_labels) if validation else (partition.test, dataset.test_labels)
    )
    for k, label in labels.items():
        mine = [int(classes[row]) for row in index[k]]
        found.append(sum(each == label for each in mine) / len(mine))
    return found


def spread_by_hand(scores: list[float], prefix: str) -> dict[str, float]:
    """Return mean, deviation, 10th percentile and minimum; the percentile is interpolated between sorted scores."""
    mean, ordered = sum(scores) / len(scores), sorted(scores)
    place = 0.1 * (len(scores) - 1)
    below = int(place)
    return {
        f"{prefix}_mean": mean,
        f"{prefix}_std": (sum((s - mean) ** 2 for s in scores) / len(scores)) ** 0.5,
        f"{prefix}_p10": ordered[below] + (place - below) * (ordered[below + 1] - ordered[below]),
        f"{prefix}_min": ordered[0],
    }


def part(metrics: dict[str, float], prefix: str) -> dict[str, float]:
    """Return the metrics whose names start with `prefix`."""
    return {name: value for name, value in metrics.items() if name.startswith(prefix)}

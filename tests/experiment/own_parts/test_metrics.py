"""Further metrics by hand, users' functions, and metrics that the data does not define."""

from pathlib import Path

import numpy as np
import pytest

from orchestrator.data.dataset import Dataset
from orchestrator.errors import ConfigError, SparsefleetError
from orchestrator.experiment.own_parts.metrics import METRICS_BY_NAME, load_metrics, measured

#: predictions 0, 0, 1, 2, 0 for the labels 0, 0, 0, 1, 2
LOGITS = np.array([[3, 1, 0], [3, 0, 1], [0, 3, 1], [0, 1, 3], [3, 0, 1]], dtype=np.float32)
LABELS = np.array([0, 0, 0, 1, 2])


def data(num_classes: int, test_labels: list[int]) -> Dataset:
    inputs = np.zeros((len(test_labels), 2), np.float32)
    labels = np.array(test_labels, dtype=np.int64)
    return Dataset(
        name="toy",
        input_shape=(2,),
        num_classes=num_classes,
        train_inputs=inputs,
        train_labels=labels,
        test_inputs=inputs,
        test_labels=labels,
        mean=(0.0, 0.0),
        std=(1.0, 1.0),
    )


def value(name: str, labels: np.ndarray = LABELS, logits: np.ndarray = LOGITS) -> float:
    return measured({name: METRICS_BY_NAME[name]}, "eval", labels, logits)[f"eval/{name}"]


def test_balanced_accuracy_is_the_mean_recall_of_the_present_classes() -> None:
    assert value("balanced_accuracy") == pytest.approx((2 / 3 + 0 + 0) / 3)
    assert value("balanced_accuracy", LABELS[:4], LOGITS[:4]) == pytest.approx((2 / 3 + 0) / 2)


def test_macro_f1_is_the_mean_of_all_classes() -> None:
    """Class 0 has precision 2/3 and recall 2/3, the others no correct prediction."""
    assert value("macro_f1") == pytest.approx((2 / 3) / 3)


def test_top5_counts_labels_among_the_five_largest_logits() -> None:
    logits = np.tile(np.arange(7, dtype=np.float32), (3, 1))  # classes 2 to 6 are the largest
    assert value("top5", np.array([1, 2, 6]), logits) == pytest.approx(2 / 3)


def test_auc_is_the_share_of_pairs_in_order() -> None:
    """With two classes: scores 1, 3 of class 0 and 2, 4 of class 1 have 3 of 4 pairs in order."""
    logits = np.array([[0, 1], [0, 3], [0, 2], [0, 4]], dtype=np.float32)
    assert value("auc", np.array([0, 0, 1, 1]), logits) == pytest.approx(3 / 4)


def test_auc_of_several_classes_is_the_mean_against_the_rest() -> None:
    shares = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    expected = []
    for label in range(3):
        inside, outside = shares[label == LABELS, label], shares[label != LABELS, label]
        pairs = [(a > b) + 0.5 * np.isclose(a, b) for a in inside for b in outside]
        expected.append(np.mean(pairs))
    assert value("auc") == pytest.approx(np.mean(expected))


def test_function_of_a_user(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def share_of_zero(labels, logits):\n    return (logits.argmax(axis=1) == 0).mean()\n")
    metrics = load_metrics([f"{file}:share_of_zero", "macro_f1"], data(3, [0, 1, 2]))
    assert list(metrics) == ["share_of_zero", "macro_f1"]
    assert measured(metrics, "eval", LABELS, LOGITS)["eval/share_of_zero"] == pytest.approx(3 / 5)


def test_diverged_model_has_no_values() -> None:
    logits = np.full((2, 3), np.nan, dtype=np.float32)
    assert measured(METRICS_BY_NAME, "eval", np.array([0, 1]), logits) == {}


@pytest.mark.parametrize("result", ["float('nan')", "'text'", "1 / 0"])
def test_function_without_a_finite_number_is_an_error_with_its_name(tmp_path: Path, result: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"def bad(labels, logits):\n    return {result}\n")
    metrics = load_metrics([f"{file}:bad"], data(3, [0, 1, 2]))
    with pytest.raises(SparsefleetError, match="the metric bad"):
        measured(metrics, "eval", LABELS, LOGITS)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["f1"], "no such metric"),
        (["auc", "auc"], "another metric auc"),
        (["numpy:accuracy"], "another metric accuracy"),
        (["math:pi"], "not a function"),
        (["top5"], "only 3 classes"),
    ],
)
def test_unusable_metrics_are_rejected(names: list[str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_metrics(names, data(3, [0, 1, 2]))
    assert caught.value.field == "evaluation.metrics"
    assert problem in caught.value.problem


def test_auc_needs_test_samples_of_every_class() -> None:
    with pytest.raises(ConfigError, match="no sample of some class"):
        load_metrics(["auc"], data(3, [0, 1, 1]))

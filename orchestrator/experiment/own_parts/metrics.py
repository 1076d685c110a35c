"""Further metrics of the global model, by scikit-learn or by a user's function (`evaluation.metrics`).

Legend: N = samples, C = classes.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.dataset import Dataset
from orchestrator.errors import ConfigError, SparsefleetError
from orchestrator.plugins.loading import load_function
from orchestrator.suggest import suggest

Int64 = NDArray[np.int64]
Logits = NDArray[np.float32]
#: labels int64[N] and logits float32[N, C] -> score
Metric = Callable[[Int64, Logits], float]

_KEY = "evaluation.metrics"
_TOP = 5


def _top5(labels: Int64, logits: Logits) -> float:
    from sklearn.metrics import top_k_accuracy_score

    return float(top_k_accuracy_score(labels, logits, k=_TOP, labels=np.arange(logits.shape[1])))


def _balanced_accuracy(labels: Int64, logits: Logits) -> float:
    """The mean recall of the classes in the labels."""
    from sklearn.metrics import recall_score

    present = np.unique(labels)
    predicted = logits.argmax(axis=1)
    return float(recall_score(labels, predicted, labels=present, average="macro", zero_division=0))


def _macro_f1(labels: Int64, logits: Logits) -> float:
    """The mean F1 of all classes; 0 for a class that is neither present nor predicted."""
    from sklearn.metrics import f1_score

    classes = np.arange(logits.shape[1])
    return float(f1_score(labels, logits.argmax(axis=1), labels=classes, average="macro", zero_division=0))


def _auc(labels: Int64, logits: Logits) -> float:
    """The area under the ROC curve; for more than two classes the mean over all classes against the rest."""
    from scipy.special import softmax
    from sklearn.metrics import roc_auc_score

    shares = softmax(logits.astype(np.float64), axis=1)
    if logits.shape[1] == 2:
        return float(roc_auc_score(labels, shares[:, 1]))
    # the average over separate problems; the multi-class form would need shares that add up to exactly 1
    truth = labels[:, None] == np.arange(logits.shape[1])
    return float(roc_auc_score(truth, shares, average="macro"))


METRICS_BY_NAME: Mapping[str, Metric] = {
    "top5": _top5,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "auc": _auc,
}


def load_metrics(names: Sequence[str], dataset: Dataset) -> dict[str, Metric]:
    """Return the metrics by the name under which a run records them: a user's function by the function's name.

    Raises ConfigError for an unknown name, for two metrics of one name, and for a metric that is not defined for the
    data.
    """
    found: dict[str, Metric] = {}
    for name in names:
        short = name.rpartition(":")[2]
        if short in found or short in ("accuracy", "loss"):
            raise ConfigError(_KEY, name, f"there is another metric {short}", "name each metric once")
        _require_defined(name, dataset)
        found[short] = _load(name)
    return found


def measured(metrics: Mapping[str, Metric], prefix: str, labels: Int64, logits: Logits) -> dict[str, float]:
    """Return the value of each metric as `prefix/name`; no values when a logit is not finite.

    Raises SparsefleetError, with the name, when a user's function raises or does not return a finite number.
    """
    if not np.isfinite(logits).all():
        return {}
    return {f"{prefix}/{name}": _value(name, metric, labels, logits) for name, metric in metrics.items()}


def _value(name: str, metric: Metric, labels: Int64, logits: Logits) -> float:
    try:
        value = float(metric(labels.copy(), logits.copy()))
    except Exception as error:
        raise SparsefleetError(f"the metric {name} raised {type(error).__name__}: {error}") from error
    if not isfinite(value):
        raise SparsefleetError(f"the metric {name} is {value}; return a finite number")
    return value


def _load(name: str) -> Metric:
    if name in METRICS_BY_NAME:
        return METRICS_BY_NAME[name]
    if ":" not in name:
        known = f"choose from {', '.join(METRICS_BY_NAME)}, or write path/to/file.py:function"
        raise ConfigError(_KEY, name, "there is no such metric", suggest(name, METRICS_BY_NAME, known))
    return load_function(name, _KEY, "labels, logits")


def _require_defined(name: str, dataset: Dataset) -> None:
    if name == "top5" and dataset.num_classes <= _TOP:
        problem = f"the data has only {dataset.num_classes} classes"
        raise ConfigError(_KEY, name, problem, f"use it with more than {_TOP} classes, or leave it out")
    if name == "auc" and len(np.unique(dataset.test_labels)) < dataset.num_classes:
        problem = "the test set has no sample of some class"
        raise ConfigError(_KEY, name, problem, "add test samples of every class, or leave it out")

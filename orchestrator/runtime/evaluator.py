"""The driver's evaluation of the global model: centrally, and on each client's own test part."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.data.client_index import ClientIndex
from orchestrator.federation.evaluate import predict, spread
from orchestrator.models.parameters import FlatModule
from orchestrator.runtime.client import torch_threads
from orchestrator.runtime.experiment import Experiment


class Evaluator:
    """Holds the model and the test images; both are made when first needed."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._flat: FlatModule | None = None
        self._test: tuple[Tensor, Tensor] | None = None

    def evaluate(self, params: Tensor) -> dict[str, float]:
        """Accuracy and loss of a float32[D] global model: on the central test set, and over the clients.

        The methods so far are global, so the model a client would use is the global one.
        """
        if self._flat is None or self._test is None:
            dataset = self._experiment.dataset
            self._flat = self._experiment.new_model()
            images = dataset.normalise(dataset.test_inputs)
            self._test = images, torch.from_numpy(np.array(dataset.test_labels))
        with torch_threads(1):
            predictions = predict(self._flat, params, *self._test)
        scores = client_means(predictions.correct, self._experiment.partition.test)
        return {
            "eval/accuracy": float(predictions.correct.mean()),
            "eval/loss": float(predictions.loss.mean()),
            **spread(scores, "eval/client_accuracy"),
            **spread(scores, "personal/accuracy"),
        }


def client_means(correct: NDArray[np.bool_], parts: ClientIndex) -> NDArray[np.float64]:
    """float64[K]: each client's share of correct predictions on its own test part."""
    return np.array([correct[parts[k]].mean() for k in range(len(parts))], dtype=np.float64)

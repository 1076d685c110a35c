"""The models and samples with which a client trains on one device."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.data.client_samples import ClientSamples
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.local.environment import Batch
from orchestrator.models.parameters import FlatModule
from orchestrator.models.units.submodel import shrink

#: submodels that stay in memory for the next task of the same size
_MAX_CACHED_SUBMODELS = 8


class DeviceEnvironment:
    """Models and samples on one device. Implements `federation.local.environment.ClientEnvironment`."""

    def __init__(self, experiment: Experiment, device: torch.device) -> None:
        self._experiment, self._device = experiment, device
        self.full = experiment.new_model(device)
        self._submodels: OrderedDict[tuple[tuple[str, int], ...], FlatModule] = OrderedDict()

    def submodel(self, num_kept: Mapping[str, int]) -> FlatModule:
        """See ClientEnvironment. The last few sizes stay in memory."""
        key = tuple(sorted(num_kept.items()))
        if key not in self._submodels:
            smaller = shrink(self.full.module, self._experiment.setting.units, num_kept)
            self._submodels[key] = FlatModule(
                smaller, self._device, self.full.layout, self.full.memory_format
            )
            self._submodels[key].load_fixed_state(self.full.fixed_state())
            if len(self._submodels) > _MAX_CACHED_SUBMODELS:
                self._submodels.popitem(last=False)
        self._submodels.move_to_end(key)
        return self._submodels[key]

    def training_data(self, client_id: int) -> ClientSamples:
        """See ClientEnvironment."""
        return self.samples(self._experiment.partition.train[client_id])

    def samples(self, rows: NDArray[np.int64]) -> ClientSamples:
        """Training samples of any clients, by their rows (int64[n]) in the data set."""
        experiment = self._experiment
        return ClientSamples(
            experiment.dataset,
            rows,
            augment=experiment.config.data.augment,
            device=self._device,
        )

    def validation_batch(self, client_id: int) -> Batch:
        """See ClientEnvironment."""
        dataset = self._experiment.dataset
        rows = self._experiment.partition.validation[client_id]
        return self._batch(dataset.train_inputs[rows], dataset.train_labels[rows])

    def test_batch(self, client_id: int | None = None) -> Batch:
        """All samples, in order, of a client's test part (None: of the central test set)."""
        dataset = self._experiment.dataset
        rows = slice(None) if client_id is None else self._experiment.partition.test[client_id]
        return self._batch(dataset.test_inputs[rows], dataset.test_labels[rows])

    def _batch(self, inputs: Any, labels: NDArray[np.int64]) -> Batch:
        device = self._device
        return self._experiment.dataset.to_tensor(inputs).to(device), torch.from_numpy(labels.copy()).to(
            device
        )

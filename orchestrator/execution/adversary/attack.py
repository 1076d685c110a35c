"""Makes some clients attack: gives `ClientRunner` the samples on which they train and the payloads that they send."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from orchestrator.execution.device_environment import DeviceEnvironment
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.adversary.altered_payload import altered_payload
from orchestrator.federation.adversary.flipped_labels import FlippedLabels
from orchestrator.federation.local.environment import Batch, TrainingData
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.local.sent_model import sent_model
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.seeds import stream
from orchestrator.models.parameters import FlatModule
from orchestrator.sparsity.payload import Payload


@final
@dataclass(frozen=True, slots=True, eq=False)
class AttackerEnvironment:
    """The environment of an attacker, with other training samples. Implements `ClientEnvironment`."""

    honest: DeviceEnvironment
    samples: TrainingData

    @property
    def full(self) -> FlatModule:
        """See ClientEnvironment."""
        return self.honest.full

    def submodel(self, num_kept: Any) -> FlatModule:
        """See ClientEnvironment."""
        return self.honest.submodel(num_kept)

    def training_data(self, client_id: int) -> TrainingData:
        """The samples on which the attacker trains."""
        return self.samples

    def validation_batch(self, client_id: int) -> Batch:
        """See ClientEnvironment."""
        return self.honest.validation_batch(client_id)


@final
class ClientAttack:
    """What attackers do in an experiment; nothing if no client attacks."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment, self._config = experiment, experiment.config.attack
        self._attackers = frozenset(experiment.attackers)

    def attacks(self, task: ClientTask) -> bool:
        """Whether the task belongs to an attacker and is training or a probe."""
        return task.client_id in self._attackers and task.kind in ("train", "probe")

    def environment(
        self, task: ClientTask, honest: DeviceEnvironment
    ) -> DeviceEnvironment | AttackerEnvironment:
        """The environment in which a task runs."""
        if not self.attacks(task):
            return honest
        if self._config.kind == "label_flip":
            samples = FlippedLabels(
                honest.training_data(task.client_id), self._experiment.dataset.num_classes
            )
            return AttackerEnvironment(honest, samples)
        if self._config.kind == "inner_product":
            num_samples = len(honest.training_data(task.client_id))
            return AttackerEnvironment(honest, honest.samples(self._pooled_rows[:num_samples]))
        return honest

    def sent(self, run: LocalRun[Any], payload: Payload, client_state: Any) -> Payload:
        """What the client of a finished task sends. `client_state` is its state before the task.

        An attacker alters only updates of training tasks. Altered answers to probes could make the average invalid, for
        example a negative running variance.
        """
        task, config = run.task, self._config
        if not self.attacks(task) or task.kind != "train" or config.kind == "label_flip":
            return payload
        algorithm = self._experiment.algorithm
        return altered_payload(
            config,
            payload,
            sent_model(algorithm, run, payload, client_state),
            algorithm.setting.layout.num_trainable,
            stream(self._experiment.config.seed, *task.stream_path, "attack"),
        )

    @cached_property
    def _pooled_rows(self) -> NDArray[np.int64]:
        """The training samples of all attackers, int64[n], in one random order."""
        train = self._experiment.partition.train
        rows = np.concatenate([train[client_id] for client_id in sorted(self._attackers)])
        order = stream(self._experiment.config.seed, "attack", "pooled samples").permutation(rows.size)
        return rows[order]

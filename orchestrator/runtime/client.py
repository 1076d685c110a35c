"""One client's task from received bytes to encoded bytes; the plain class inside every executor."""

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import format_exc
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.data.client_samples import ClientSamples
from orchestrator.federation.exchange import MODEL_ITEM, ModelValues, unpack_model
from orchestrator.federation.local import LocalRun
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.seeds import forked_torch_seed
from orchestrator.federation.update import ClientFailure, ClientUpdate, LocalResult, Outcome
from orchestrator.models.parameters import FlatModule
from orchestrator.runtime.experiment import Experiment
from orchestrator.sparsity.payload import Payload
from orchestrator.sparsity.wire import decode, encode


@contextmanager
def torch_threads(num_threads: int) -> Iterator[None]:
    """Let torch use that many threads for the block; it counts them per thread of the process."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class ClientHost:
    """Embodies one client at a time. Holds caches only: a new host gives the same results."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._flat: dict[torch.device, FlatModule] = {}
        self._received: tuple[NDArray[np.uint8], Payload, ModelValues] | None = None

    def run(self, task: ClientTask, buffer: NDArray[np.uint8], client_state: Any) -> Outcome[Any]:
        """Train one task; any error comes back as a ClientFailure that names its stage."""
        stage = "receive"
        try:
            payload, received = self._receive(buffer)
            stage = "train"
            result = self._train(task, payload, received, client_state)
            stage = "send"
            return self._stamp(task, received, result)
        except Exception as error:
            return ClientFailure(
                round_idx=task.round_idx,
                position=task.position,
                client_id=task.client_id,
                stage=stage,
                cause=f"{type(error).__name__}: {error}",
                traceback=format_exc(),
            )

    def _receive(self, buffer: NDArray[np.uint8]) -> tuple[Payload, ModelValues]:
        """Decode a broadcast, once for all the clients that get the same bytes."""
        if self._received is None or not np.array_equal(self._received[0], buffer):
            payload = decode(buffer)
            self._received = (buffer, payload, unpack_model(self._experiment.setting.layout, payload))
        return self._received[1:]

    def _train(
        self, task: ClientTask, payload: Payload, received: ModelValues, client_state: Any
    ) -> LocalResult[Any]:
        experiment = self._experiment
        profile = experiment.profile_of(task.client_id)
        device = torch.device("cuda" if profile.num_gpus > 0 else "cpu")
        if device not in self._flat:
            self._flat[device] = experiment.new_model(device)
        run = LocalRun(
            setting=experiment.setting,
            task=task,
            flat=self._flat[device],
            received=received,
            payload=payload,
            data=ClientSamples(
                experiment.dataset,
                experiment.partition.train[task.client_id],
                augment=experiment.config.data.augment,
                device=device,
            ),
            state=client_state,
        )
        seed = forked_torch_seed(experiment.config.seed, "client", task.round_idx, task.client_id, "torch")
        with torch_threads(profile.num_threads), seed:
            return experiment.algorithm.client_update(run)

    def _stamp(self, task: ClientTask, received: ModelValues, result: LocalResult[Any]) -> ClientUpdate[Any]:
        experiment = self._experiment
        known = {}
        if received.mask is not None:
            known[MODEL_ITEM] = experiment.setting.layout.restrict(received.mask).numpy()
        data = encode(result.payload, value_dtype=experiment.config.wire.value_dtype, known_masks=known)
        return ClientUpdate(
            round_idx=task.round_idx,
            position=task.position,
            client_id=task.client_id,
            buffer=np.frombuffer(data, dtype=np.uint8),
            num_examples=result.num_examples,
            train_flops=result.train_flops,
            train_flops_dense=result.train_flops_dense,
            client_state=result.client_state,
            metrics=result.metrics,
        )

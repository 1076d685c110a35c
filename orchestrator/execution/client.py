"""One client's task from received bytes to encoded bytes; the plain class inside every executor."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from traceback import format_exc
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.data.client_samples import ClientSamples
from orchestrator.execution.client_device import client_device, repeatable
from orchestrator.execution.device_memory import DeviceMemory, DeviceMemoryError
from orchestrator.execution.fault_injection import TaskFaultInjector
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.evaluate import accuracy, predict
from orchestrator.federation.exchange import ModelValues, known_masks
from orchestrator.federation.local.environment import Batch
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.local.training import fine_tune
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.seeds import forked_seeds, stream
from orchestrator.federation.update import ClientFailure, ClientScore, ClientUpdate, LocalResult, Outcome
from orchestrator.models.parameters import FlatModule
from orchestrator.models.units.submodel import shrink
from orchestrator.sparsity.payload import Payload, Scalar
from orchestrator.sparsity.wire import decode, encode

#: smaller models that a host keeps for the next task of the same size
_MAX_CACHED_SUBMODELS = 8

Buffer = NDArray[np.uint8]


@contextmanager
def torch_threads(num_threads: int) -> Iterator[None]:
    """Let torch use that many threads for the block; it counts them per thread of the process."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class DeviceEnvironment:
    """What a client works with on one device: models and samples. See federation.local.Host."""

    def __init__(self, experiment: Experiment, device: torch.device) -> None:
        self._experiment, self._device = experiment, device
        self.full = experiment.new_model(device)
        self._submodels: OrderedDict[tuple[tuple[str, int], ...], FlatModule] = OrderedDict()

    def submodel(self, num_kept: Mapping[str, int]) -> FlatModule:
        """See Host. The last few sizes are kept."""
        key = tuple(sorted(num_kept.items()))
        if key not in self._submodels:
            smaller = shrink(self.full.module, self._experiment.setting.units, num_kept)
            self._submodels[key] = FlatModule(smaller, self._device, self.full.layout)
            self._submodels[key].load_fixed_state(self.full.fixed_state())
            if len(self._submodels) > _MAX_CACHED_SUBMODELS:
                self._submodels.popitem(last=False)
        self._submodels.move_to_end(key)
        return self._submodels[key]

    def training_data(self, client_id: int) -> ClientSamples:
        """See Host."""
        experiment = self._experiment
        return ClientSamples(
            experiment.dataset,
            experiment.partition.train[client_id],
            augment=experiment.config.data.augment,
            device=self._device,
        )

    def validation_batch(self, client_id: int) -> Batch:
        """See Host."""
        dataset = self._experiment.dataset
        rows = self._experiment.partition.validation[client_id]
        return self._batch(dataset.train_inputs[rows], dataset.train_labels[rows])

    def test_batch(self, client_id: int | None = None) -> Batch:
        """A client's test part, or the central test set, in order."""
        dataset = self._experiment.dataset
        rows = slice(None) if client_id is None else self._experiment.partition.test[client_id]
        return self._batch(dataset.test_inputs[rows], dataset.test_labels[rows])

    def _batch(self, inputs: Any, labels: NDArray[np.int64]) -> Batch:
        device = self._device
        return self._experiment.dataset.to_tensor(inputs).to(device), torch.from_numpy(labels.copy()).to(
            device
        )


class ClientRunner:
    """Embodies one client at a time. Holds caches only: a new host gives the same results."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        setting, input_shape = experiment.setting, experiment.dataset.input_shape
        self._memory = DeviceMemory(setting.training, input_shape, setting.smallest_batch)
        self._chaos = TaskFaultInjector(experiment.config)
        self._benches: dict[torch.device, DeviceEnvironment] = {}
        self._received: tuple[Buffer, Payload, ModelValues | None] | None = None

    def run(self, task: ClientTask, broadcast: Buffer, unicast: Buffer, client_state: Any) -> Outcome[Any]:
        """Do one task; any error comes back as a ClientFailure that names its stage."""
        stage = "receive"
        try:
            payload, received = self._receive(task, broadcast, unicast, client_state)
            stage = task.kind
            fault = self._chaos.fault(task)
            self._chaos.strike(fault, task)
            experiment = self._experiment
            profile = experiment.setting.profile_of(task.client_id, task.round_idx)
            seed = forked_seeds(experiment.config.seed, *task.stream_path, "torch")
            # the bench first: CUDA has random numbers to seed only once something is on the GPU
            device = client_device(profile.num_gpus, cuda=torch.cuda.is_available())
            bench = self._bench(device)
            with torch_threads(profile.num_threads), seed, repeatable(device):
                run: LocalRun[Any] = LocalRun(
                    setting=experiment.setting,
                    task=task,
                    environment=bench,
                    received=received,
                    payload=payload,
                    state=client_state,
                )
                if task.kind in ("evaluate", "finetune"):
                    return self._score(run, bench)
                if task.kind == "loss":
                    result = self._loss(run)
                else:
                    result = experiment.algorithm.client_update(run)
                self._memory.require(profile, run.trained_models, len(run.data))
                if task.score:
                    run.metrics |= {f"trained{name}": x for name, x in self._accuracies(run, bench).items()}
            stage = "send"
            result = replace(result, payload=self._chaos.spoil(fault, result.payload))
            return self._chaos.disguise(fault, task, self._stamp(task, received, result))
        except Exception as error:
            return ClientFailure(
                round_idx=task.round_idx,
                position=task.position,
                client_id=task.client_id,
                stage=stage,
                cause=f"{type(error).__name__}: {error}",
                traceback=format_exc(),
                final=isinstance(error, DeviceMemoryError),
            )

    def _receive(
        self, task: ClientTask, broadcast: Buffer, unicast: Buffer, client_state: Any
    ) -> tuple[Payload, ModelValues | None]:
        """Decode what came, the broadcast once for all the clients that get the same bytes."""
        algorithm = self._experiment.algorithm
        if self._received is None or not np.array_equal(self._received[0], broadcast):
            payload = decode(broadcast)
            self._received = broadcast, payload, algorithm.unpack(payload, task, client_state)
        _, payload, received = self._received
        if not unicast.size:
            return payload, received
        known = known_masks(self._experiment.setting.layout, algorithm.shared_mask(client_state))
        payload = payload + decode(unicast, known_masks=known)
        return payload, algorithm.unpack(payload, task, client_state)

    def _bench(self, device: torch.device) -> DeviceEnvironment:
        if device not in self._benches:
            self._benches[device] = DeviceEnvironment(self._experiment, device)
        return self._benches[device]

    def _score(self, run: LocalRun[Any], bench: DeviceEnvironment) -> ClientScore:
        """Accuracy of the model that the client would use now, and of a fine-tuned copy if asked for."""
        experiment, task = self._experiment, run.task
        if experiment.algorithm.has_client_models:
            experiment.algorithm.personal(run)
        else:
            experiment.algorithm.load(run)
        scores = {f"personal{name}": x for name, x in self._accuracies(run, bench).items()}
        if task.kind == "finetune":
            fine_tune(run, experiment.config.evaluation.finetune_epochs)
            scores |= {f"finetuned{name}": x for name, x in self._accuracies(run, bench).items()}
        return ClientScore(
            round_idx=task.round_idx, position=task.position, client_id=task.client_id, scores=scores
        )

    def _loss(self, run: LocalRun[Any]) -> LocalResult[Any]:
        """The received model's mean cross-entropy on the client's training samples, for one forward pass of them."""
        self._experiment.algorithm.load(run)
        rng = stream(self._experiment.config.seed, "client", run.task.round_idx, run.task.client_id, "loss")
        loss = float(predict(run.flat, *run.data.epoch(rng)).loss.mean())
        dense = self._experiment.setting.cost.forward_flops()
        return LocalResult(
            payload=(Scalar("loss", loss),),
            num_examples=len(run.data),
            train_flops=run.flops.forward * len(run.data),
            train_flops_dense=dense * len(run.data),
            client_state=run.state,
        )

    def _accuracies(self, run: LocalRun[Any], bench: DeviceEnvironment) -> dict[str, float]:
        """Of the model in hand: on the client's own test part and, if asked for, on the central test set."""
        scores = {"/accuracy": accuracy(run.flat, *bench.test_batch(run.task.client_id))}
        if self._experiment.config.evaluation.central_personal:
            scores["/central_accuracy"] = accuracy(run.flat, *bench.test_batch())
        return scores

    def _stamp(
        self, task: ClientTask, received: ModelValues | None, result: LocalResult[Any]
    ) -> ClientUpdate[Any]:
        experiment = self._experiment
        known = known_masks(experiment.setting.layout, None if received is None else received.mask)
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

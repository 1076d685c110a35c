"""Runs one client's task from received bytes to encoded bytes. Every executor uses this class."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from traceback import format_exc
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.execution.adversary.attack import ClientAttack
from orchestrator.execution.client_device import client_device, repeatable
from orchestrator.execution.device_environment import DeviceEnvironment
from orchestrator.execution.device_memory import DeviceMemory, DeviceMemoryError
from orchestrator.execution.torch_threads import torch_threads
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.algorithm import AnyAlgorithm
from orchestrator.federation.evaluate import accuracy, predict
from orchestrator.federation.exchange import ModelValues, known_masks
from orchestrator.federation.local.environment import ClientEnvironment
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.local.sent_model import sent_model
from orchestrator.federation.local.training import fine_tune
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.privacy.clipping import clipped_payload
from orchestrator.federation.seeds import forked_seeds, stream
from orchestrator.federation.update import (
    VALIDATION_SCORE,
    ClientFailure,
    ClientScore,
    ClientUpdate,
    LocalResult,
    Outcome,
)
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.models.seeding import GeneratorStates, preserved_generators, resumed_generators
from orchestrator.sparsity.payload import Payload, Scalar
from orchestrator.sparsity.wire import decode, encode

Buffer = NDArray[np.uint8]


@final
class MessageDecoder:
    """Decodes the messages to clients; the broadcast only once for all clients that receive the same bytes."""

    def __init__(self, algorithm: AnyAlgorithm) -> None:
        self._algorithm = algorithm
        self._received: tuple[Buffer, Payload, ModelValues | None] | None = None

    def decode(
        self, task: ClientTask, broadcast: Buffer, unicast: Buffer, client_state: Any
    ) -> tuple[Payload, ModelValues | None]:
        """The payload that the client of a task receives, and the model in it."""
        algorithm = self._algorithm
        if self._received is None or not _is_equal(self._received[0], broadcast):
            payload = decode(broadcast)
            self._received = broadcast, payload, algorithm.unpack(payload, task, client_state)
        _, payload, received = self._received
        if not unicast.size:
            return payload, received
        known = known_masks(algorithm.setting.layout, algorithm.shared_mask(client_state))
        payload = payload + decode(unicast, known_masks=known)
        return payload, algorithm.unpack(payload, task, client_state)


def _is_equal(one: Buffer, other: Buffer) -> bool:
    """Whether two buffers have the same bytes. Both may be views of the same object in Ray's store."""
    same_place = one.ctypes.data == other.ctypes.data and one.nbytes == other.nbytes
    return same_place or np.array_equal(one, other)


@dataclass(frozen=True, slots=True, eq=False)
class StartedTask:
    """A training task before its first epoch.

    `values`, float32[D], are the loaded model. The module of `run` may contain other values by now, because tasks share
    modules. `is_untrained`: no hook has taken a step yet, or replaced the optimiser. `client_state` is the client's
    state before the task, `generators` are the random numbers to continue with, and `seconds` are as in ClientUpdate.
    """

    run: LocalRun[Any]
    values: Tensor
    is_untrained: bool
    client_state: Any
    generators: GeneratorStates
    seconds: Mapping[str, float]


class ClientRunner:
    """Runs the tasks of any client, one at a time. It contains only caches: a new runner gives the same results."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        setting, input_shape = experiment.setting, experiment.dataset.input_shape
        self._memory = DeviceMemory(setting.training, input_shape, setting.smallest_batch)
        self._environments: dict[torch.device, DeviceEnvironment] = {}
        self._messages = MessageDecoder(experiment.algorithm)
        self._attack = ClientAttack(experiment)

    def run(self, task: ClientTask, broadcast: Buffer, unicast: Buffer, client_state: Any) -> Outcome[Any]:
        """Run one task. An error becomes a ClientFailure that names its stage: receive, the task's kind, or send."""
        stage = "receive"
        began_s = time.perf_counter()
        try:
            payload, received = self._messages.decode(task, broadcast, unicast, client_state)
            received_s = time.perf_counter()
            stage = task.kind
            result = self._perform(task, payload, received, client_state)
            performed_s = time.perf_counter()
            stage = "send"
            sent = result if isinstance(result, ClientScore) else self._encode(task, received, result)
            work = "score" if isinstance(result, ClientScore) else "train"
            seconds = {
                "decode": received_s - began_s,
                work: performed_s - received_s,
                "encode": time.perf_counter() - performed_s,
            }
            return replace(sent, seconds=seconds)
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

    def _perform(
        self, task: ClientTask, payload: Payload, received: ModelValues | None, client_state: Any
    ) -> LocalResult[Any] | ClientScore:
        """Train, probe or score on the client's device, with the threads and random numbers of the task."""
        profile, device, environment = self._place(task)
        seeds = forked_seeds(self._experiment.config.seed, *task.stream_path, "torch")
        with torch_threads(profile.num_threads), seeds, repeatable(device):
            own = self._attack.environment(task, environment)
            run = self._new_run(task, own, payload, received, client_state)
            if task.kind in ("evaluate", "finetune"):
                return self._score(run, environment)
            result = self._loss(run) if task.kind == "loss" else self._train(run)
            self._check_and_score(run, profile, environment)
        return result

    def start(self, task: ClientTask, broadcast: Buffer, unicast: Buffer, client_state: Any) -> StartedTask:
        """Run a training task up to its first epoch. `run` is the whole task; an error is raised."""
        began_s = time.perf_counter()
        payload, received = self._messages.decode(task, broadcast, unicast, client_state)
        received_s = time.perf_counter()
        profile, device, environment = self._place(task)
        seeds = forked_seeds(self._experiment.config.seed, *task.stream_path, "torch")
        with torch_threads(profile.num_threads), seeds, repeatable(device):
            own = self._attack.environment(task, environment)
            run = self._new_run(task, own, payload, received, client_state)
            optimizer = run.optimizer
            self._experiment.algorithm.begin_training(run)
            generators = GeneratorStates()
        seconds = {"decode": received_s - began_s, "train": time.perf_counter() - received_s}
        is_untrained = run.optimizer is optimizer and not run.trained_models
        values = run.values.detach().clone()
        return StartedTask(run, values, is_untrained, client_state, generators, seconds)

    def finish(self, started: StartedTask, values: Tensor, train_s: float) -> ClientUpdate[Any]:
        """Run a started task from its last epoch to its update; an error is raised.

        `values`, float32[D], are the trained model. `train_s` are the wall-clock seconds of its epochs.
        """
        began_s = time.perf_counter()
        run, task = started.run, started.run.task
        profile, device, environment = self._place(task)
        random_numbers = resumed_generators(started.generators)
        with torch_threads(profile.num_threads), random_numbers, repeatable(device):
            run.flat.load(values)
            run.flat.module.train()
            result = self._experiment.algorithm.finish_training(run)
            result = self._as_sent(run, result, started.client_state)
            self._check_and_score(run, profile, environment)
        trained_s = time.perf_counter()
        update = self._encode(task, run.received, result)
        seconds = {
            **started.seconds,
            "train": started.seconds["train"] + train_s + trained_s - began_s,
            "encode": time.perf_counter() - trained_s,
        }
        return replace(update, seconds=seconds)

    def trains_alone(self, task: ClientTask) -> bool:
        """Whether `start` and `finish` would not run the task as `run` does."""
        return task.kind != "train"

    def _place(self, task: ClientTask) -> tuple[DeviceProfile, torch.device, DeviceEnvironment]:
        """The task's device profile, its torch device, and the environment on this device.

        CUDA has random numbers to seed only after the environment has put something on the GPU.
        """
        profile = self._experiment.setting.profile_of(task.client_id, task.round_idx)
        device = client_device(profile.num_gpus, cuda=torch.cuda.is_available())
        return profile, device, self._environment(device)

    def _new_run(
        self,
        task: ClientTask,
        environment: ClientEnvironment,
        payload: Payload,
        received: ModelValues | None,
        client_state: Any,
    ) -> LocalRun[Any]:
        return LocalRun(
            setting=self._experiment.setting,
            task=task,
            environment=environment,
            received=received,
            payload=payload,
            state=client_state,
        )

    def _check_and_score(
        self, run: LocalRun[Any], profile: DeviceProfile, environment: DeviceEnvironment
    ) -> None:
        """Check that the device has the memory for the training. Score the trained model if the task asks for it."""
        self._memory.require(profile, run.trained_models, len(run.data))
        if run.task.score:
            run.metrics |= {f"trained{name}": x for name, x in self._accuracies(run, environment).items()}

    def _train(self, run: LocalRun[Any]) -> LocalResult[Any]:
        """Let the method train, or answer a probe."""
        before = run.state
        return self._as_sent(run, self._experiment.algorithm.client_update(run), before)

    def _as_sent(self, run: LocalRun[Any], result: LocalResult[Any], before: Any) -> LocalResult[Any]:
        """What the client sends: an attacker alters its payload, and clipping comes last. `before`: the old state."""
        algorithm = self._experiment.algorithm
        payload = self._attack.sent(run, result.payload, before)
        clip_norm = self._experiment.config.privacy.clip_norm
        if clip_norm is not None and (model := sent_model(algorithm, run, payload, before)) is not None:
            payload = clipped_payload(payload, model, clip_norm)
        return replace(result, payload=payload)

    def _environment(self, device: torch.device) -> DeviceEnvironment:
        if device not in self._environments:
            self._environments[device] = DeviceEnvironment(self._experiment, device)
        return self._environments[device]

    def _score(self, run: LocalRun[Any], environment: DeviceEnvironment) -> ClientScore:
        """Accuracy of the model that the client uses now; for a `finetune` task also of a fine-tuned copy."""
        experiment, task = self._experiment, run.task
        if task.client_id >= experiment.setting.num_clients and run.state is not None:
            run = self._adapted(run)
        if experiment.algorithm.has_client_models:
            experiment.algorithm.personal(run)
        else:
            experiment.algorithm.load(run)
        scores = {f"personal{name}": x for name, x in self._accuracies(run, environment).items()}
        scores |= self._validation_score(run, environment)
        if task.kind == "finetune":
            if experiment.algorithm.has_client_models:
                experiment.algorithm.load_for_fine_tuning(run)
            fine_tune(run, experiment.config.evaluation.finetune_epochs)
            scores |= {f"finetuned{name}": x for name, x in self._accuracies(run, environment).items()}
        return ClientScore(
            round_idx=task.round_idx, position=task.position, client_id=task.client_id, scores=scores
        )

    def _adapted(self, run: LocalRun[Any]) -> LocalRun[Any]:
        """The run of an unseen client with the state that one participation leaves; the client sends nothing.

        Without this training, the personal part of such a client would be the initial one.
        """
        received = run.environment, run.payload, run.received
        participation = self._new_run(replace(run.task, kind="train"), *received, run.state)
        result = self._experiment.algorithm.client_update(participation)
        return self._new_run(run.task, *received, result.client_state)

    def _loss(self, run: LocalRun[Any]) -> LocalResult[Any]:
        """Mean cross-entropy of the received model on the client's training samples, at the cost of a forward pass."""
        self._experiment.algorithm.load(run)
        rng = stream(self._experiment.config.seed, "client", run.task.round_idx, run.task.client_id, "loss")
        loss = float(predict(run.flat, *run.data.epoch(rng)).loss.mean())
        dense = self._experiment.setting.cost.forward_flops()
        return LocalResult(
            payload=(Scalar("loss", loss),),
            num_examples=len(run.data),
            train_flops=run.flops.forward * len(run.data),
            train_flops_dense=dense * len(run.data),
            unmasked_flops=run.flops.unmasked / 3.0 * len(run.data),
            client_state=run.state,
        )

    def _accuracies(self, run: LocalRun[Any], environment: DeviceEnvironment) -> dict[str, float]:
        """Accuracy of the loaded model on the client's own test part and, if configured, on the central test set."""
        adjust = partial(self._experiment.algorithm.client_logits, run)
        scores = {"/accuracy": accuracy(run.flat, *environment.test_batch(run.task.client_id), adjust)}
        if self._experiment.config.evaluation.central_personal:
            scores["/central_accuracy"] = accuracy(run.flat, *environment.test_batch(), adjust)
        return scores

    def _validation_score(self, run: LocalRun[Any], environment: DeviceEnvironment) -> dict[str, float]:
        """Accuracy of the loaded model on the client's validation part; empty without validation samples.

        The random numbers that a user's model may use here do not change those of a later fine-tuning.
        """
        batch = environment.validation_batch(run.task.client_id)
        if not len(batch[1]):
            return {}
        with preserved_generators():
            adjust = partial(self._experiment.algorithm.client_logits, run)
            return {VALIDATION_SCORE: accuracy(run.flat, *batch, adjust)}

    def _encode(
        self, task: ClientTask, received: ModelValues | None, result: LocalResult[Any]
    ) -> ClientUpdate[Any]:
        experiment = self._experiment
        known = known_masks(experiment.setting.layout, None if received is None else received.mask)
        wire = experiment.config.wire
        data = encode(
            result.payload,
            value_dtype=wire.value_dtype,
            known_masks=known,
            version=wire.version,
            rng=stream(experiment.config.seed, *task.stream_path, task.kind, task.probe_idx, "upload"),
        )
        return ClientUpdate(
            round_idx=task.round_idx,
            position=task.position,
            client_id=task.client_id,
            buffer=np.frombuffer(data, dtype=np.uint8),
            num_examples=result.num_examples,
            train_flops=result.train_flops,
            train_flops_dense=result.train_flops_dense,
            unmasked_flops=result.unmasked_flops,
            client_state=result.client_state,
            metrics={name: _number(name, value) for name, value in result.metrics.items()},
        )


def _number(name: str, value: object) -> float:
    """A metric as a float. Raises TypeError, with the metric's name, for a value that is not one number."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"metric {name!r} is {value!r}, expected one number") from error

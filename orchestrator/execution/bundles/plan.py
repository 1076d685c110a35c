"""Decides which training tasks form a bundle. Tasks that are in no bundle train one by one."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from math import ceil
from typing import final

from orchestrator.execution.device_memory import DeviceMemory
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.local.batches import batch_sizes
from orchestrator.federation.local.stacked.obstacles import method_obstacle, model_obstacle
from orchestrator.federation.plan import ClientTask
from orchestrator.formatting import counted
from orchestrator.models.shapes import random_input

#: `auto` fills this much memory of a whole GPU, whatever its size, so that all machines choose the same number
_AUTO_GPU_BYTES = 4 * 2**30
#: `auto` trains at most this number of clients together
_AUTO_CLIENTS = 64


@final
class BundlePlan:
    """The bundles of one experiment; `note` says what trains together, or why nothing does.

    The note is for the end of an executor's description: it starts with a semicolon, or is "" if nobody asked.

    Tasks of a bundle are in one call to `bundles`, on devices of one profile, and have the same batch sizes.
    """

    def __init__(
        self, experiment: Experiment, *, uses_gpu: Callable[[float], bool], obstacle: str | None = None
    ) -> None:
        """`uses_gpu` says whether clients that reserve this share of a GPU may train on one.

        `obstacle` is a reason of the executor to train one by one.
        """
        self._experiment, self._is_auto = experiment, experiment.config.runtime.cohort == "auto"
        self._schedule = cache(self._schedule_of)
        setting = experiment.setting
        on_gpu = {
            index
            for index in setting.population.profile_counts()
            if uses_gpu(setting.profiles[index].num_gpus)
        }
        self._sizes: dict[int, int] = {}
        self.note = ""
        if experiment.config.runtime.cohort == 1 or (self._is_auto and not on_gpu):
            return
        if (obstacle := obstacle or _obstacle(experiment)) is not None:
            if not self._is_auto:
                self.note = f"; clients train one by one, without runtime.cohort ({obstacle})"
            return
        self._sizes = {index: self._size(index) for index in setting.population.profile_counts()}
        if self._is_auto:
            self._sizes = {index: size for index, size in self._sizes.items() if index in on_gpu}
        self.note = f"; up to {counted(max(self._sizes.values()), 'client')} train together{self._ragged()}"

    def bundles(self, tasks: Sequence[ClientTask], num_actors: Callable[[int], int]) -> list[list[int]]:
        """The places of `tasks` that run together, in the order of their first places.

        `num_actors` is the number of actors of a profile: `auto` uses all of them. A configured number makes the same
        bundles for any number of actors. A task that failed before runs alone.
        """
        bundles: list[list[int]] = []
        groups: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for place, task in enumerate(tasks):
            profile = (
                self._experiment.setting.profile_index(task.client_id, task.round_idx) if self._sizes else 0
            )
            if task.kind != "train" or task.attempt or self._sizes.get(profile, 1) == 1:
                bundles.append([place])
            else:
                groups.setdefault((profile, self._schedule(task.client_id)), []).append(place)
        for (profile, _), places in groups.items():
            size = self._sizes[profile]
            if self._is_auto:
                size = min(size, ceil(len(places) / num_actors(profile)))
            bundles += [places[start : start + size] for start in range(0, len(places), size)]
        return sorted(bundles)

    def _schedule_of(self, client_id: int) -> tuple[int, ...]:
        setting = self._experiment.setting
        num_samples = len(self._experiment.partition.train[client_id])
        return tuple(batch_sizes(num_samples, setting.training, setting.smallest_batch))

    def _ragged(self) -> str:
        """The part of the note about clients with other batch sizes than most."""
        count = len(Counter(self._schedule(k) for k in range(len(self._experiment.setting.population))))
        return "" if count == 1 else f", of those with equal batches (the fleet has {count} kinds)"

    def _size(self, profile: int) -> int:
        """Largest bundle of a profile."""
        experiment = self._experiment
        if (wanted := experiment.config.runtime.cohort) != "auto":
            return wanted
        setting = experiment.setting
        memory = DeviceMemory(setting.training, experiment.dataset.input_shape, setting.smallest_batch)
        each = memory.needed_bytes(experiment.new_model(), int(experiment.partition.train.sizes().max()))
        share = min(1.0, setting.profiles[profile].num_gpus) * _AUTO_GPU_BYTES
        return max(1, min(_AUTO_CLIENTS, int(share / each)))


def _obstacle(experiment: Experiment) -> str | None:
    """Why the experiment's clients must train one by one; None if they can train together."""
    if (kind := experiment.config.asynchrony.kind) != "none":
        return f"asynchrony.kind={kind} starts clients one by one"
    if (obstacle := method_obstacle(experiment.algorithm)) is not None:
        return obstacle
    inputs = random_input(experiment.dataset.input_shape, experiment.dataset.num_classes)
    return model_obstacle(experiment.new_model(), inputs)

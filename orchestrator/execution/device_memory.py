"""Checks that a training fits into the memory of the emulated device."""

from collections.abc import Iterable
from typing import final

from orchestrator.config.training import TrainingConfig
from orchestrator.federation.local.batches import batch_sizes
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.models.memory import count_activations, training_bytes
from orchestrator.models.parameters import FlatModule
from orchestrator.models.shapes import InputShape

_MIB = 2**20


class DeviceMemoryError(Exception):
    """A training step needs `needed_bytes` of memory, and devices of this profile have `memory_bytes`."""

    def __init__(self, profile: DeviceProfile, num_values: int, needed_bytes: float) -> None:
        super().__init__(profile, num_values, needed_bytes)
        self.profile, self.num_values, self.needed_bytes = profile.name, num_values, needed_bytes
        self.memory_bytes = profile.memory_bytes or 0

    def __str__(self) -> str:
        return (
            f"profile {self.profile} has {self.memory_bytes / _MIB:.4g} MiB of memory, but training "
            f"{self.num_values:,} values needs {self.needed_bytes / _MIB:.4g} MiB; use a smaller model, a submodel or "
            "smaller batches, or raise memory_bytes of the profile"
        )


@final
class DeviceMemory:
    """Counts the memory that a training needs, once for each size of model."""

    def __init__(self, training: TrainingConfig, input_shape: InputShape, smallest_batch: int = 1) -> None:
        self._training, self._input_shape, self._smallest_batch = training, input_shape, smallest_batch
        self._activations: dict[tuple[tuple[int, ...], ...], float] = {}

    def require(self, profile: DeviceProfile, trained: Iterable[FlatModule], num_samples: int) -> None:
        """Raise DeviceMemoryError when training one of a task's models needs more memory than the device has."""
        if profile.memory_bytes is None:
            return
        for flat in trained:
            needed = self.needed_bytes(flat, num_samples)
            if needed > profile.memory_bytes:
                raise DeviceMemoryError(profile, flat.layout.size, needed)

    def needed_bytes(self, flat: FlatModule, num_samples: int) -> float:
        """Bytes that a training step of this model needs on a client with this number of samples."""
        shapes = tuple(segment.shape for segment in flat.layout.segments)
        if shapes not in self._activations:
            self._activations[shapes] = count_activations(flat.module, self._input_shape)
        training = self._training
        if training.optimizer == "sgd":
            num_moments = 1 if training.momentum else 0
        else:
            num_moments = 2
        batch_size = max(batch_sizes(num_samples, training, self._smallest_batch))
        activations = self._activations[shapes]
        return training_bytes(flat.layout.size, num_moments, activations, batch_size, flat.num_frozen)

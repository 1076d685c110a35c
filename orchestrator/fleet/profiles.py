"""A device profile: the resources that a client's actor reserves on Ray, and the speed and size of the device."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """One kind of device.

    An actor reserves the footprint on Ray:

    - `num_cpus`, `num_gpus`, `ray_memory_bytes` and custom `resources`; 0 reserves nothing.
    - `accelerator_type`: the kind of GPU on which Ray must place the actor (None: any).

    The other fields affect the emulation only:

    - `flops_per_s`, `uplink_bytes_per_s`, `downlink_bytes_per_s`: the speeds for the virtual clock.
    - `sparse_efficiency`: the share of the masked FLOPs whose time the device saves, in [0, 1]. With 0 a mask saves no
      time, with 1 time is proportional to the unmasked weights. A submodel is smaller and always saves time.
    - `memory_bytes`: the device's RAM (None: no limit). A task that needs more memory fails.
    - `capability`: the largest share of units that a structured method lets the device train, in (0, 1]. It limits no
      memory.
    - `available_share`: the share of each `available_period_s` in which the device is available, in (0, 1]. Each
      client's period starts at a time of its own.
    - `dropout`: the probability that the device drops out during a task, in [0, 1).
    """

    name: str
    num_cpus: float = 0.1
    num_gpus: float = 0.0
    ray_memory_bytes: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    accelerator_type: str | None = None
    flops_per_s: float
    uplink_bytes_per_s: float
    downlink_bytes_per_s: float
    memory_bytes: int | None = None
    capability: float = 1.0
    available_share: float = 1.0
    available_period_s: float = 86_400.0
    dropout: float = 0.0
    # not in the representation: Population.fingerprint adds it
    sparse_efficiency: float = field(default=0.0, repr=False)

    @property
    def num_threads(self) -> int:
        """Number of torch threads of a client: one for each whole core that its actor reserves, at least one."""
        return max(1, int(self.num_cpus))

    def footprint(self) -> dict[str, float]:
        """Return the resources that one actor of this profile reserves, under the names that Ray's nodes use."""
        amounts = {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": float(self.ray_memory_bytes)}
        if self.accelerator_type is not None:
            # Ray requests this amount itself for an actor with `accelerator_type=`
            amounts[f"accelerator_type:{self.accelerator_type}"] = 0.001
        return {name: amount for name, amount in {**amounts, **self.resources}.items() if amount > 0}

"""Device profiles: what a client's actor reserves on Ray, and how fast and how large the emulated device is."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """One kind of device.

    The footprint (`num_cpus`, `num_gpus`, `ray_memory_bytes`, custom `resources`) is reserved on Ray; 0 reserves
    nothing; `accelerator_type` is the kind of GPU that Ray must place the actor on (None: any). The rest drives only
    the virtual clock: the speeds; `memory_bytes`, the device's RAM (None: enough); `capability`, the share of a full
    model, in (0, 1], that the device can hold and train; `available_share`, the share of each `available_period_s` in
    which it takes tasks, from a phase of each client's own; `dropout`, the probability that it vanishes in a task.
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

    @property
    def num_threads(self) -> int:
        """Torch threads of a client on this device: one for each whole core it reserves, at least one."""
        return max(1, int(self.num_cpus))

    def footprint(self) -> dict[str, float]:
        """Ray resources that one actor of this profile reserves, as Ray's nodes list them."""
        wanted = {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": float(self.ray_memory_bytes)}
        if self.accelerator_type is not None:
            # what Ray itself asks for behind `accelerator_type=`
            wanted[f"accelerator_type:{self.accelerator_type}"] = 0.001
        return {name: amount for name, amount in {**wanted, **self.resources}.items() if amount > 0}

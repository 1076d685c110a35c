"""What a method can do, in one frozen record that the config, the driver and the aggregators read."""

from dataclasses import dataclass
from typing import Literal

from orchestrator.config.sections import AllocationKind
from orchestrator.federation.aggregate import AggregationName

#: the mask of an update: the received mask, a mask within the received one, or any mask of the client's own
UploadMask = Literal["received", "within", "own"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a method supports and how the server averages its updates. The defaults are FedAvg's.

    - `aggregation`: which of the four averages the server takes (see `federation/aggregate.py`).
    - `default_density`: density of the maskable weights when `sparsity.level` is unset. None marks a dense method,
      which rejects every other level than 0.
    - `default_allocation`: how the density is divided over the layers when `sparsity.allocation` is unset.
    - `density_schedule`: the method follows a moving `sparsity.schedule`.
    - `device_densities`: the method supports `sparsity.device_levels`.
    - `upload_mask`: which mask an update may have. The server rejects updates under other masks.
    - `submodels`: clients train submodels, so that `setting.units` must list the model's units.
    - `round_bound`: an update means something only in its own round, for example because it is compacted by the round's
      mask. Late and asynchronous updates are then rejected.
    - `exact_values`: a client computes with the values that the server decodes, as `as_sent` gives them. int8, which
      rounds at random when the payload is encoded, is then rejected.
    - `steady_cost`: a training task costs at least `local_epochs` passes under the received mask, unless the schedule
      moves. Asynchronous rounds then know a lower bound of the task's time and run more tasks in parallel.
    """

    aggregation: AggregationName = "wmean"
    default_density: float | None = None
    default_allocation: AllocationKind = "erk_rescaled"
    density_schedule: bool = False
    device_densities: bool = False
    upload_mask: UploadMask = "received"
    submodels: bool = False
    round_bound: bool = False
    exact_values: bool = False
    steady_cost: bool = False

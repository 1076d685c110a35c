"""One client of FedLPS, with a net that is small enough for calculations by hand."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from algorithms.fedlps import FedLPS, FedLPSConfig
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.models.units.tracing import trace_units
from tests.support.fakes import (
    DEVICE,
    TensorData,
    make_run,
    make_setting,
    random_data,
    seeded,
)
from tests.support.nets import hidden_mlp as net

SHAPE = (1, 3, 3)
NUM_IMAGES = 12
#: entries of each part of the flat vector: 55 in all, 36 + 12 = 48 MACs, with two units 18 + 6 = 24
PARTS = (36, 4, 12, 3)


class Client:
    """The method, and one client's task; half of the units unless `options` say otherwise."""

    def __init__(
        self,
        *,
        training: Mapping[str, object] | None = None,
        received: Tensor | None = None,
        validation: TensorData | None = None,
        capability: float = 1.0,
        client_id: int = 0,
        round_idx: int = 0,
        state: object = None,
        **options: object,
    ) -> None:
        flat = seeded(net)
        if received is not None:
            flat.load(received)
        setting = make_setting(
            flat,
            SHAPE,
            training={"batch_size": 4, "local_epochs": 1, "momentum": 0.0, "lr": 0.1, **(training or {})},
            profiles=(replace(DEVICE, capability=capability),),
            units=trace_units(flat.module, torch.zeros(2, *SHAPE)),
        )
        half = {"ratio_policy": "fixed", "ratio": 0.5} if "ratio_policy" not in options else {}
        options = {**half, "keep": "last", **options}
        self.method = FedLPS(FedLPSConfig.model_validate({"name": "fedlps", **options}), setting)
        self.data = random_data(NUM_IMAGES, SHAPE, 3)
        self.run: CheckedRun = make_run(
            setting,
            flat,
            self.data,
            state=state or self.method.init_client(client_id),
            validation=validation,
            client_id=client_id,
            round_idx=round_idx,
        )

    def loaded(self) -> "Client":
        self.method.load(self.run)
        return self

    @property
    def importance(self) -> Tensor:
        return self.run.state.importance["1"]

    @property
    def units(self) -> list[int]:
        return self.run.kept["1"].tolist()


def vector(rows: Tensor, columns: Tensor) -> Tensor:
    """The flat model with these first-layer rows [4, 9] and last-layer columns [3, 4], and no biases."""
    return torch.cat([rows.flatten(), torch.zeros(4), columns.flatten(), torch.zeros(3)])

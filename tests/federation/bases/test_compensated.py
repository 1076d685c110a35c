"""The Scaler and the masked loss: one client's training, and the server's average."""

from typing import Any, final

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from orchestrator.contract.checked_run import CheckedRun
from orchestrator.errors import WireError
from orchestrator.federation.aggregate import AGGREGATORS, Contribution
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.bases.compensated import CompensatedAlgorithm, CompensatedConfig
from orchestrator.federation.bases.structured import ClientRatio
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.plan import ClientTask
from orchestrator.models.units.submodel import KeptUnits, first_units
from orchestrator.models.units.tracing import trace_units
from orchestrator.sparsity.payload import Bits, Dense, Payload
from tests.support.errors import rejects
from tests.support.fakes import (
    TensorData,
    make_run,
    make_setting,
    random_data,
    seeded,
)

SHAPE = (1, 2, 2)
NUM_CLASSES = 3


@final
class Prefix(CompensatedAlgorithm):
    """Keeps the first units."""

    def kept(self, task: ClientTask, client_state: ClientRatio) -> KeptUnits:
        return first_units(self.setting.units, self.counts(self.ratio(task, client_state)))


def net(num_hidden: int = 4) -> nn.Sequential:
    """4 inputs: weights 0-15, biases 16-19, weights 20-31, biases 32-34."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(4, num_hidden), nn.ReLU(), nn.Linear(num_hidden, NUM_CLASSES)
    )


#: entries of `net` for the first two of its four hidden units, with the classes' biases
HALF = [*range(8), 16, 17, 20, 21, 24, 25, 28, 29, 32, 33, 34]


def prepared(labels: list[int], **options: Any) -> tuple[Prefix, CheckedRun]:
    """A client with half of the units, one batch, and plain SGD at 0.1."""
    flat = seeded(net)
    setting = make_setting(
        flat,
        SHAPE,
        training={"batch_size": 8, "local_epochs": 1, "momentum": 0.0, "lr": 0.1},
        units=trace_units(flat.module, torch.zeros(2, *SHAPE)),
    )
    options = {"ratio_policy": "fixed", "ratio": 0.5, **options}
    algorithm = Prefix(CompensatedConfig(name="prefix", **options), setting)
    images = random_data(len(labels), SHAPE, NUM_CLASSES).images
    return algorithm, make_run(
        setting, flat, TensorData(images, torch.tensor(labels), shuffled=False), state=ClientRatio()
    )


def one_step(run: CheckedRun, divisor: float, owned: list[bool]) -> Tensor:
    """float32[19] after one step in plain PyTorch.

    Activations are divided before ReLU; logits of absent classes are multiplied by 0.
    """
    model, inputs, labels = net(2), run.data.images, run.data.labels  # type: ignore[attr-defined]
    torch.nn.utils.vector_to_parameters(run.start[HALF], model.parameters())
    hidden = (model[1](inputs.flatten(1)) / divisor).relu()
    logits = model[3](hidden) * torch.tensor(owned)
    cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.sub_(0.1 * parameter.grad)
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach()


@pytest.mark.parametrize(
    ("scaler", "masked_loss", "divisor", "owned"),
    [
        (False, False, 1.0, [True] * 3),
        (True, False, 0.5, [True] * 3),
        (False, True, 1.0, [True, False, True]),
        (True, True, 0.5, [True, False, True]),
    ],
)
def test_training_step_equals_plain_pytorch(
    scaler: bool, masked_loss: bool, divisor: float, owned: list[bool]
) -> None:
    algorithm, run = prepared([0, 2, 2, 0], scaler=scaler, masked_loss=masked_loss)
    algorithm.client_update(run)
    assert torch.allclose(run.values, one_step(run, divisor, owned), rtol=1e-5, atol=1e-7)


def test_classifier_rows_of_absent_classes_are_not_trained() -> None:
    """In the submodel the rows are 10-11, 12-13 and 14-15. Their biases are 16, 17 and 18."""
    algorithm, run = prepared([0, 2, 2, 0])
    algorithm.client_update(run)
    moved = run.values != run.start[HALF]
    assert not bool(moved[[12, 13, 17]].any())
    assert bool(moved[[10, 11, 14, 15, 16, 18]].any())


def test_scaler_of_the_full_model_changes_nothing() -> None:
    found = []
    for scaler in (True, False):
        algorithm, run = prepared([0, 1, 2], ratio=1.0, scaler=scaler)
        algorithm.client_update(run)
        found.append(run.values.clone())
    assert torch.equal(*found)


def test_scoring_uses_the_scaler_and_leaves_no_hooks_on_the_shared_model() -> None:
    algorithm, run = prepared([0, 1, 2])
    algorithm.personal(run)
    inputs = run.data.images  # type: ignore[attr-defined]
    model = net(2)
    torch.nn.utils.vector_to_parameters(run.start[HALF], model.parameters())
    with torch.no_grad():
        expected = model[3]((model[1](inputs.flatten(1)) / 0.5).relu())
        assert torch.allclose(run.flat.module(inputs), expected, rtol=1e-5, atol=1e-7)
    assert not any(module._forward_hooks for module in run.environment.full.module.modules())


def upload(algorithm: Prefix, value: float, owned: list[bool], ratio: float) -> ModelValues:
    """The server's view of an upload whose values are all equal."""
    task = ClientTask(round_idx=0, position=0, client_id=0)
    held = type(algorithm)(algorithm.config.model_copy(update={"ratio": ratio}), algorithm.setting)
    size = len(held.index(held.kept(task, ClientRatio())))
    payload: Payload = (Dense("theta", np.full(size, value, np.float32)), Bits("classes", np.array(owned)))
    model = held.unpack(payload, task, ClientRatio())
    assert model is not None
    return model


def test_classifier_row_is_averaged_over_clients_with_its_class() -> None:
    """The whole model has value 2 and classes 0 and 1.

    Half a model has value 4 and class 0. Class 0 has mean 3 in the columns of both clients and 2 elsewhere; class
    1 has 2; class 2 keeps 9.
    """
    algorithm, _ = prepared([0])
    fold = AGGREGATORS[algorithm.capabilities.aggregation]()
    for value, owned, ratio in ((2.0, [True, True, False], 1.0), (4.0, [True, False, False], 0.5)):
        model = upload(algorithm, value, owned, ratio)
        weight = algorithm.weight(int(100 * value))
        fold.add(Contribution(client_id=0, weight=weight, values=model.values, mask=model.mask, start=None))
    server = torch.full((35,), 9.0)
    after = algorithm.server_update(ServerState(params=server), fold.finish(server), 0).params
    assert after[:16].tolist() == [3.0] * 8 + [2.0] * 8
    assert after[16:20].tolist() == [3.0, 3.0, 2.0, 2.0]
    assert after[20:32].tolist() == [3.0, 3.0, 2.0, 2.0] + [2.0] * 4 + [9.0] * 4
    assert after[32:].tolist() == [3.0, 2.0, 9.0]


def test_classifier_rows_of_absent_classes_are_outside_the_mask() -> None:
    algorithm, _ = prepared([0])
    model = upload(algorithm, 5.0, [False, True, True], 0.5)
    assert model.mask is not None
    assert model.mask.nonzero().flatten().tolist() == [j for j in HALF if j not in (20, 21, 32)]
    assert not bool(model.values[~model.mask].any())


@pytest.mark.parametrize(("masked_loss", "names"), [(True, ["theta", "classes"]), (False, ["theta"])])
def test_upload_has_class_bits_only_with_masked_loss(masked_loss: bool, names: list[str]) -> None:
    algorithm, run = prepared([2, 2, 0], masked_loss=masked_loss)
    payload = algorithm.client_update(run).payload
    assert [item.name for item in payload] == names
    assert isinstance(payload[0], Dense)
    assert payload[0].values.size == 19
    for item in payload[1:]:
        assert isinstance(item, Bits)
        assert item.bits.tolist() == [True, False, True]


def test_upload_with_another_number_of_class_bits_is_rejected() -> None:
    algorithm, _ = prepared([0])
    with pytest.raises(WireError, match="3 classes, got 2"):
        upload(algorithm, 1.0, [True, False], 0.5)


def test_clients_count_equally_or_by_samples() -> None:
    assert [prepared([0])[0].weight(n) for n in (1, 70)] == [1.0, 1.0]
    assert [prepared([0], agg_weight="samples")[0].weight(n) for n in (1, 70)] == [1.0, 70.0]


def test_masked_loss_and_scores_are_rejected_if_the_last_weight_is_no_classifier() -> None:
    """The classifier is created first, so that it is first in the vector."""

    class Reversed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.hidden = nn.Linear(4, 3), nn.Linear(4, 4)

        def forward(self, inputs: Tensor) -> Tensor:
            logits: Tensor = self.head(self.hidden(inputs.flatten(1)).relu())
            return logits

    flat = seeded(Reversed)
    setting = make_setting(flat, SHAPE, units=trace_units(flat.module, torch.zeros(2, *SHAPE)))
    Prefix(CompensatedConfig(name="prefix", masked_loss=False, masked_scores=False), setting)
    for name in ("masked_loss", "masked_scores"):
        options = {"masked_loss": False, "masked_scores": False, name: True}
        with rejects(f"algorithm.{name}", True):
            Prefix(CompensatedConfig(name="prefix", **options), setting)

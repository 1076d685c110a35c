"""One client of FedLPS's public code, compared with plain PyTorch: weights, importance and rows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from algorithms.fedlps_as_coded import CodedTask, FedLPSAsCoded, FedLPSAsCodedConfig
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.federation.local.training import train
from orchestrator.federation.seeds import stream
from orchestrator.sparsity.payload import Bits, Dense
from tests.support.fakes import (
    DEVICE,
    make_run,
    make_setting,
    random_data,
    seeded,
)

SHAPE = (1, 3, 3)
#: rows of the layers that are masked
ROWS = [8, 5]


def net() -> nn.Module:
    """72 + 8 + 40 + 5 + 15 + 3 = 143 values. The last layer is the classifier."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)
    )


def prepared(
    *,
    capability: float = 0.5,
    penalty: float = 1.0,
    training: Mapping[str, object] | None = None,
    client_id: int = 0,
    round_idx: int = 0,
) -> tuple[FedLPSAsCoded, CheckedRun]:
    """A client's task. A capability of 1/2 or less is the ratio, because the bandit's ratio is above it."""
    flat = seeded(net)
    setting = make_setting(
        flat,
        SHAPE,
        training={"batch_size": 4, "local_epochs": 3, "momentum": 0.0, "lr": 0.3, **(training or {})},
        profiles=(replace(DEVICE, capability=capability),),
    )
    method = FedLPSAsCoded(FedLPSAsCodedConfig(name="fedlps_as_coded", penalty=penalty), setting)
    run = make_run(
        setting,
        flat,
        random_data(12, SHAPE, 3),
        state=method.init_client(client_id),
        client_id=client_id,
        round_idx=round_idx,
    )
    return method, run


def drawn(client_id: int = 0, round_idx: int = 0) -> list[Tensor]:
    """q of each tensor, J x 1: normal numbers in descending order."""
    rng = stream(0, "client", round_idx, client_id, "importance")
    return [torch.tensor(sorted(rng.standard_normal(j), reverse=True))[:, None].float() for j in ROWS]


@dataclass
class Reference:
    """The public code's state after its epochs. `rows` are the kept rows of each step."""

    restored: Tensor
    snapshot: Tensor
    importance: Tensor
    rows: list[Tensor]


def reference(run: CheckedRun, ratio: float, penalty: float) -> Reference:
    """Masks are written into the weights.

    One loss covers weights and q, and plain SGD has no momentum for q.
    """
    training, flat = run.setting.training, seeded(net)
    weights = [p for name, p in flat.module.named_parameters() if name.endswith("weight")][:-1]
    importance: list[Tensor] = [nn.Parameter(q) for q in drawn(run.task.client_id, run.task.round_idx)]
    lr, decay = training.lr * training.lr_decay**run.task.round_idx, training.weight_decay
    rows, snapshot, velocity = list[Tensor](), flat.values.clone(), torch.zeros(143)
    for images, labels in (batch for epoch in run.batches() for batch in epoch):
        masks, stashes = [], []
        for weight, q in zip(weights, importance, strict=True):
            gates = torch.sigmoid(q.detach())
            kk = max(1, int(ratio * len(gates)))
            masks.append((gates > gates.flatten().topk(kk).values[-1]).float())
            stashes.append(weight.detach() * (1 - masks[-1]))
            weight.data *= masks[-1]
        loss = cross_entropy(flat.module(images), labels)
        for weight, q in zip(weights, importance, strict=True):
            target = torch.sigmoid(weight.abs().sum(1)).detach()
            loss = loss + penalty * ((q - target) ** 2).mean()  # J x 1 against J: J x J
        flat.grad.zero_()
        slopes = torch.autograd.grad(loss, importance, retain_graph=True)
        torch.autograd.backward(loss, inputs=list(flat.module.parameters()))
        for weight, q, slope, mask in zip(weights, importance, slopes, masks, strict=True):
            assert weight.grad is not None
            weight.grad *= mask
            q.data -= lr * (slope * mask + decay * q.data)
        velocity = training.momentum * velocity + flat.grad + decay * flat.values
        flat.values -= lr * velocity
        snapshot = flat.values.clone()
        for weight, stash in zip(weights, stashes, strict=True):
            weight.data += stash
        rows.append(torch.cat(masks).flatten().bool())
    return Reference(flat.values, snapshot, torch.cat(importance).detach().flatten(), rows)


def trained(method: FedLPSAsCoded, run: CheckedRun) -> None:
    """The run after its epochs, before later hooks."""
    method.load(run)
    method.on_train_start(run)
    train(run, method)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("capability", [0.5, 0.4, 0.2, 0.05])
def test_client_equals_the_public_code_in_plain_pytorch(capability: float, momentum: float) -> None:
    """Nine steps in round 3. With momentum, dropped rows continue to change, as in the public code."""
    training = {"momentum": momentum, "weight_decay": 0.01, "lr_decay": 0.9}
    method, run = prepared(capability=capability, training=training, round_idx=3)
    expected = reference(run, capability, 1.0)
    trained(method, run)
    assert torch.allclose(run.values, expected.restored, rtol=1e-4, atol=1e-5)
    assert torch.allclose(run.scratch(CodedTask).snapshot, expected.snapshot, rtol=1e-4, atol=1e-5)
    assert torch.allclose(run.scratch(CodedTask).importance, expected.importance, rtol=1e-4, atol=1e-5)
    assert torch.equal(run.scratch(CodedTask).rows, expected.rows[-1])


def test_kept_rows_change_between_steps() -> None:
    """Without a change, the test above could not detect a mask that is computed only once."""
    _, run = prepared()
    rows = reference(run, 0.5, 1.0).rows
    assert any(not torch.equal(rows[0], later) for later in rows)


def test_task_gives_no_gradient_to_the_importance() -> None:
    method, run = prepared(penalty=0.0)
    method.client_update(run)
    assert torch.equal(run.scratch(CodedTask).importance, torch.cat(drawn()).flatten())
    assert not torch.equal(run.values, run.start)


def test_penalty_pulls_every_importance_to_one_target_by_hand() -> None:
    """Of 8 rows 4 - 1 are kept: 2 / 8 of their distance to the mean target, 1/2 for a dropped row.

    One batch of all images at a rate of 0.3. Only the norms of the initial weights matter.
    """
    method, run = prepared(training={"batch_size": 12, "local_epochs": 1})
    norms = run.start[:72].view(8, 9).abs().sum(dim=1)[:3].double()
    common = (float(torch.sigmoid(norms).sum()) + 5 * 0.5) / 8
    q = drawn()[0].flatten().tolist()
    method.client_update(run)
    moved = [x - 0.3 * 2 / 8 * (x - common) for x in q[:3]]
    assert run.scratch(CodedTask).importance[:8].tolist() == pytest.approx([*moved, *q[3:]], abs=1e-5)


@pytest.mark.parametrize("capability", [1.0, 0.5, 0.4, 0.25, 0.2, 1 / 16])
def test_strict_threshold_keeps_one_row_too_few(capability: float) -> None:
    """max(1, floor(s J)) - 1 rows, a prefix at first. No row is kept if the number is 0."""
    for client_id in range(4):
        method, run = prepared(capability=capability, client_id=client_id, training={"local_epochs": 1})
        method.client_update(run)
        ratio = run.scratch(CodedTask).ratio
        assert ratio <= capability
        if capability <= 0.5:
            assert ratio == capability
        kept = [int(rows.sum()) for rows in torch.split(run.scratch(CodedTask).rows, ROWS)]
        assert kept == [max(1, int(ratio * j)) - 1 for j in ROWS]


def test_kept_rows_are_a_prefix_before_the_importance_changes() -> None:
    method, run = prepared(training={"batch_size": 12, "local_epochs": 1})
    method.client_update(run)
    first, second = torch.split(run.scratch(CodedTask).rows, ROWS)
    assert first.tolist() == [True] * 3 + [False] * 5
    assert second.tolist() == [True] + [False] * 4


def test_importance_is_new_and_sorted_in_each_round() -> None:
    seen = []
    for client_id, round_idx in ((0, 0), (0, 1), (1, 0)):
        method, run = prepared(client_id=client_id, round_idx=round_idx)
        method.load(run)
        method.on_train_start(run)
        assert torch.equal(
            run.scratch(CodedTask).importance, torch.cat(drawn(client_id, round_idx)).flatten()
        )
        for q in torch.split(run.scratch(CodedTask).importance, ROWS):
            assert bool((q[:-1] > q[1:]).all())
        seen.append(run.scratch(CodedTask).importance)
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_dropped_rows_are_restored_and_not_sent() -> None:
    """Biases and the classifier are always sent: 8 + 5 + 15 + 3 = 31. A kept row adds 9 or 8 weights."""
    method, run = prepared(training={"batch_size": 12, "local_epochs": 1})
    trained(method, run)
    assert torch.equal(run.values[27:72], run.start[27:72])
    assert torch.equal(run.values[80 + 8 : 120], run.start[80 + 8 : 120])
    method, run = prepared(training={"batch_size": 12, "local_epochs": 1})
    payload = method.client_update(run).payload
    values, rows = payload
    assert isinstance(values, Dense)
    assert isinstance(rows, Bits)
    assert (values.name, rows.name) == ("theta", "rows")
    assert values.values.size == 31 + 3 * 9 + 1 * 8
    assert not bool(run.values[27:72].any()), "what is scored as trained is what is sent"
    model = method.unpack(payload, run.task, run.state)
    assert model is not None
    assert model.mask is not None
    assert int(model.mask.sum()) == values.values.size
    assert torch.equal(model.values[model.mask], run.values[model.mask])
    assert not bool(model.values[27:72].any())


def test_biases_of_dropped_rows_are_trained() -> None:
    """A layer without rows outputs its rectified biases for any input, and the classifier receives them."""
    method, run = prepared(capability=0.05, training={"batch_size": 12, "local_epochs": 1})
    trained(method, run)
    assert not bool(run.scratch(CodedTask).rows.any())
    assert torch.equal(run.values[:120], run.start[:120])
    assert not torch.equal(run.values[120:125], run.start[120:125])
    assert np.isfinite(run.metrics["loss"])


@pytest.mark.parametrize(("capability", "kept"), [(0.25, False), (0.26, True), (1.0, True)])
def test_personal_model_is_stored_only_for_ratios_above_a_quarter(capability: float, kept: bool) -> None:
    method, run = prepared(capability=capability)
    method.client_update(run)
    assert run.state.has_personal is kept
    assert torch.equal(run.state.personal, run.scratch(CodedTask).snapshot if kept else torch.zeros(143))
    received = run.start.clone()
    method.personal(run)
    assert torch.equal(run.values, run.scratch(CodedTask).snapshot if kept else received)


def test_personal_model_is_the_last_masked_model() -> None:
    method, run = prepared(training={"batch_size": 12, "local_epochs": 1})
    method.client_update(run)
    personal = run.state.personal
    assert not bool(personal[27:72].any())
    assert torch.equal(personal[:27], run.values[:27])
    assert torch.equal(personal[-18:], run.values[-18:])

"""FedAvg-FT: the rounds of FedAvg, with scores of a fine-tuned copy."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from algorithms.fedavg_ft import FedAvgFT, FedAvgFTConfig
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.execution.executor import InProcessExecutor
from orchestrator.federation.exchange import ModelValues
from orchestrator.models.parameters import FlatModule
from orchestrator.rounds.driver import Driver
from orchestrator.storage.run_store import RunStore
from tests.support.fakes import (
    experiment,
    make_run,
    make_setting,
    random_data,
    seeded,
)
from tests.support.nets import batch_norm_mlp as net

SHAPE = (1, 3, 3)


def prepared(
    epochs: int | None, mask: Tensor | None = None, **training: float
) -> tuple[FedAvgFT, CheckedRun]:
    flat = seeded(net)
    setting = make_setting(flat, SHAPE, training={"batch_size": 4, "local_epochs": 3, **training})
    values = flat.values.clone() if mask is None else flat.values * mask
    data, received = random_data(8, SHAPE, 3), ModelValues(values, mask)
    run = make_run(setting, flat, data, received=received, round_idx=5, kind="evaluate")
    return FedAvgFT(FedAvgFTConfig(name="fedavg_ft", finetune_epochs=epochs), setting), run


def scores(options: Mapping[str, object], folder: Path) -> list[dict[str, float]]:
    """The personal metrics of each round."""
    run = experiment(options)
    records = Driver(run, InProcessExecutor(run), RunStore(folder)).run()
    return [{n: v for n, v in r.metrics.items() if n.startswith(("personal/", "comm/"))} for r in records]


def test_zero_epochs_give_fedavgs_scores_and_bytes(tmp_path: Path) -> None:
    """Bytes are FedAvg's too."""
    base = scores({}, tmp_path / "fedavg")
    untrained = {"algorithm.name": "fedavg_ft", "algorithm.finetune_epochs": 0}
    for ours, theirs in zip(scores(untrained, tmp_path / "none"), base, strict=True):
        assert ours == pytest.approx(theirs)
    assert {"personal/accuracy_mean", "comm/upload_bytes"} <= set(base[0])
    tuned = scores({"algorithm.name": "fedavg_ft", "algorithm.finetune_epochs": 2}, tmp_path / "two")
    assert tuned[0]["personal/accuracy_mean"] > base[0]["personal/accuracy_mean"]


def test_copy_is_trained_at_the_learning_rate_of_round_0() -> None:
    """Plain PyTorch from w in round 5: the rate is .1, although the rounds' rate has decayed to .1 / 32."""
    algorithm, run = prepared(2, lr=0.1, lr_decay=0.5, momentum=0.9)
    batches = [batch for epoch in run.batches("fine-tuning", 2) for batch in epoch]
    algorithm.personal(run)
    flat = seeded(net)
    flat.module.train()
    optimizer = torch.optim.SGD(list(flat.module.parameters()), lr=0.1, momentum=0.9)
    for images, labels in batches:
        flat.grad.zero_()
        torch.autograd.backward(cross_entropy(flat.module(images), labels))
        optimizer.step()
    assert torch.allclose(run.values, flat.values, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(run.values, run.start, atol=1e-2)


def test_fine_tuning_does_not_change_the_received_model() -> None:
    algorithm, run = prepared(2)
    assert run.received is not None
    before = run.received.values.clone()
    algorithm.personal(run)
    assert torch.equal(run.received.values, before)
    assert not torch.equal(run.values, before)


@pytest.mark.parametrize(("epochs", "num_steps"), [(None, 3 * 2), (0, 0), (1, 2), (4, 8)])
def test_copy_is_trained_for_the_configured_epochs(epochs: int | None, num_steps: int) -> None:
    algorithm, run = prepared(epochs)
    algorithm.personal(run)
    assert run.num_steps == num_steps
    assert torch.equal(run.values, run.start) == (num_steps == 0)


def test_sparse_model_is_fine_tuned_under_its_mask() -> None:
    """`CheckedRun` checks after every step."""
    mask = FlatModule(net()).layout.full_mask()
    mask[:30] = False
    algorithm, run = prepared(2, mask)
    algorithm.personal(run)
    assert run.num_steps == 4
    assert int(run.values[:30].count_nonzero()) == 0
    assert not torch.equal(run.values, run.start)

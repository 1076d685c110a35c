"""`training.reshuffle=false`: training repeats its batches; scores and growth gradients use new ones."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orchestrator.contract.checked_run import CheckedRun
from orchestrator.experiment.methods import load_algorithm
from orchestrator.federation.algorithm import AnyAlgorithm
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.local.environment import Batch
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.plan import TaskKind
from orchestrator.federation.seeds import stream
from orchestrator.models.units.tracing import trace_units
from tests.support.fakes import (
    TensorData,
    make_run,
    make_setting,
    seeded,
)

SHAPE = (1, 4, 4)
NUM_IMAGES, BATCH_SIZE = 12, 3


def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, NUM_IMAGES))


def run_of(*, kind: TaskKind = "train", round_idx: int = 0, reshuffle: bool = False) -> CheckedRun:
    """A client's task in which the labels number the images."""
    flat = seeded(net)
    training = {"batch_size": BATCH_SIZE, "local_epochs": 2, "rounds": 8, "reshuffle": reshuffle}
    setting = make_setting(flat, SHAPE, training=training)
    images = torch.from_numpy(
        np.random.default_rng(0).standard_normal((NUM_IMAGES, *SHAPE)).astype(np.float32)
    )
    data = TensorData(images, torch.arange(NUM_IMAGES))
    return make_run(setting, flat, data, kind=kind, round_idx=round_idx)


def orders(run: CheckedRun, purpose: str, epochs: int, **options: Any) -> list[list[int]]:
    return [
        torch.cat([labels for _, labels in epoch]).tolist()
        for epoch in run.batches(purpose, epochs, **options)
    ]


def test_training_pass_of_any_purpose_repeats_the_fixed_order() -> None:
    by_hand = stream(0, "client", 0, "fixed-batches").permutation(NUM_IMAGES).tolist()
    for purpose in ("batches", "personal", "fine-tuning"):
        assert orders(run_of(), purpose, 3) == [by_hand] * 3


def test_measuring_pass_of_a_training_task_has_the_orders_of_reshuffling() -> None:
    rng = stream(0, "client", 2, 0, "growth")
    by_hand = [rng.permutation(NUM_IMAGES).tolist() for _ in range(4)]
    assert orders(run_of(round_idx=2), "growth", 4, repeats=False) == by_hand
    assert orders(run_of(round_idx=2, reshuffle=True), "growth", 4, repeats=False) == by_hand
    assert orders(run_of(round_idx=3), "growth", 1, repeats=False) != by_hand[:1]


def test_measuring_pass_of_a_probe_continues_after_the_fixed_order() -> None:
    """The first order is the fixed one, so that a probe of one batch keeps its batch."""
    rng = stream(0, "client", 0, "fixed-batches")
    by_hand = [rng.permutation(NUM_IMAGES).tolist() for _ in range(4)]
    assert orders(run_of(kind="probe"), "saliency", 4, repeats=False) == by_hand
    assert len({tuple(order[:BATCH_SIZE]) for order in by_hand}) == 4


def method_of(name: str, options: dict[str, object]) -> AnyAlgorithm:
    flat = seeded(net)
    algorithm_type = load_algorithm(name)
    training = {"batch_size": BATCH_SIZE, "local_epochs": 2, "rounds": 8, "reshuffle": False}
    units = trace_units(flat.module, torch.zeros(1, *SHAPE)) if algorithm_type.capabilities.submodels else ()
    setting = make_setting(flat, SHAPE, training=training, units=units)
    return algorithm_type(algorithm_type.Config.model_validate({"name": name, **options}), setting)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The labels of each batch on which a gradient is measured."""
    found: list[tuple[int, ...]] = []
    dense = LocalRun.dense_gradient

    def dense_gradient(run: LocalRun[Any], batch: Batch, *, training: bool = True) -> Tensor:
        found.append(tuple(batch[1].tolist()))
        return dense(run, batch, training=training)

    monkeypatch.setattr(LocalRun, "dense_gradient", dense_gradient)
    return found


def update(name: str, kind: TaskKind, options: dict[str, object], num_rounds: int = 1) -> None:
    """One client's tasks in rounds 0, 1, ... without reshuffling."""
    algorithm = method_of(name, options)
    for round_idx in range(num_rounds):
        plain, state = run_of(kind=kind, round_idx=round_idx), algorithm.init_client(0)
        mask = algorithm.shared_mask(state)
        values = plain.start if mask is None else plain.start * mask
        run = make_run(
            algorithm.setting,
            seeded(net),
            TensorData(plain.data.images, plain.data.labels),  # type: ignore[attr-defined]
            received=ModelValues(values, mask),
            kind=kind,
            round_idx=round_idx,
            state=state,
        )
        algorithm.client_update(run)


@pytest.mark.parametrize(
    ("name", "kind", "options", "rounds"),
    [
        ("ssfl", "probe", {"saliency_batches": 4}, 1),
        ("snip", "probe", {"batches": 4}, 1),
        ("fedspa", "train", {"growth_batches": 4}, 1),
        ("fedspa", "train", {"growth_batches": 1}, 4),
    ],
)
def test_four_measured_batches_differ(
    measured: list[tuple[int, ...]], name: str, kind: TaskKind, options: dict[str, object], rounds: int
) -> None:
    update(name, kind, options, rounds)
    assert len(measured) == 4
    assert len(set(measured)) == 4


@pytest.mark.parametrize(("name", "options"), [("ssfl", {"saliency_batches": 1}), ("snip", {"batches": 1})])
def test_probe_of_one_batch_measures_on_the_first_fixed_batch(
    measured: list[tuple[int, ...]], name: str, options: dict[str, object]
) -> None:
    by_hand = stream(0, "client", 0, "fixed-batches").permutation(NUM_IMAGES)[:BATCH_SIZE]
    update(name, "probe", options)
    assert measured == [tuple(by_hand.tolist())]

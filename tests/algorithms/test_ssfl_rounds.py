"""SSFL over whole rounds: messages, dense runs, and random masks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.contract.rounds import RecordedRound, play
from orchestrator.execution.executor import InProcessExecutor
from orchestrator.experiment.experiment import params_sha256
from orchestrator.federation.seeds import stream
from orchestrator.rounds.driver import Driver
from orchestrator.sparsity.masks import random_mask
from orchestrator.sparsity.wire import section_bytes
from orchestrator.storage.run_store import RunStore
from tests.support.fakes import assert_same_params, experiment

Options = Mapping[str, Any]
#: mlp on digits: 64 x 200 + 200 x 100 + 100 x 10 weights, 310 biases
NUM_WEIGHTS, NUM_BIASES, BITMAP_BYTES = 33_800, 310, 4225


def ssfl(options: Options | None = None, num_rounds: int | None = None) -> list[RecordedRound]:
    return play(experiment({"algorithm.name": "ssfl", **(options or {})}), num_rounds)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"model.name": "tests.support.fakes:normalised_net", "algorithm.score_mode": "train"},
        {"algorithm.warmup_rounds": 2, "algorithm.saliency_batches": 3},
        {"algorithm.variant": "random_global"},
        {"algorithm.variant": "random_layerwise", "algorithm.warmup_rounds": 1},
    ],
)
def test_dense_ssfl_equals_fedavg(options: Options) -> None:
    """Bit for bit: probes and random masks use none of training's random numbers."""
    plain = {name: value for name, value in options.items() if not name.startswith("algorithm")}
    dense = ssfl({**options, "sparsity.level": 0})
    assert_same_params(dense, play(experiment(plain)))
    assert dense[-1].after.mask is not None
    assert bool(dense[-1].after.mask.all())


def test_all_clients_score_once_before_the_first_round() -> None:
    rounds = ssfl()
    (probe,) = rounds[0].probes
    assert [update.client_id for update in probe.updates] == list(range(8))
    assert all(not played.probes for played in rounds[1:])
    assert all([item.name for item in payload] == ["saliency"] for payload in probe.payloads)
    assert probe.broadcast.payload[0].name == "theta"
    for update in probe.updates:
        (sections,) = section_bytes(update.buffer)
        assert (sections.value_bytes, sections.mask_bytes) == (4 * NUM_WEIGHTS, 0)
    assert set(probe.download_bytes) == {36 + 4 * (NUM_WEIGHTS + NUM_BIASES)}


def test_mask_is_constant_and_sent_down_once() -> None:
    rounds = ssfl({"training.rounds": 6})
    mask = rounds[0].before.mask
    assert mask is not None
    nnz = int(mask.sum())
    assert nnz == NUM_WEIGHTS // 2 + NUM_BIASES
    seen: set[int] = set()
    for played in rounds:
        assert torch.equal(played.after.mask, mask)  # type: ignore[arg-type]
        assert int(played.after.params[~mask].count_nonzero()) == 0
        for update, model, down in zip(played.updates, played.models, played.download_bytes, strict=True):
            (sections,) = section_bytes(update.buffer)
            assert (sections.value_bytes, sections.mask_bytes) == (4 * nnz, 0)
            assert model is not None
            assert torch.equal(model.mask, mask)  # type: ignore[arg-type]
            assert down == 36 + 4 * nnz + (0 if update.client_id in seen else BITMAP_BYTES)
            seen.add(update.client_id)
    assert len(seen) < 18


def test_biases_are_trained_and_averaged_by_samples() -> None:
    played = ssfl(num_rounds=1)[0]
    weights = torch.tensor([float(update.num_examples) for update in played.updates], dtype=torch.float64)
    stacked = torch.stack([m.values.double() for m in played.models if m])
    mean = (weights[:, None] * stacked).sum(dim=0) / weights.sum()
    assert torch.allclose(played.after.params.double(), mean, rtol=1e-6, atol=1e-9)
    for name, bias in experiment().setting.layout.views(played.after.params - played.before.params).items():
        assert not name.endswith("bias") or bool(bias.any())


def test_mask_comes_from_the_model_after_the_warm_up() -> None:
    rounds = ssfl({"algorithm.warmup_rounds": 2})
    plain = play(experiment())
    assert [len(played.probes) for played in rounds] == [0, 0, 1, 0]
    assert_same_params(rounds[:2], plain[:2])
    probe = rounds[2].probes[0]
    assert torch.equal(probe.before.params, plain[1].after.params)
    score = probe.aggregate.extras["saliency"]
    assert experiment().setting.layout.restrict(rounds[3].after.mask)[score.argmax()]  # type: ignore[arg-type]
    assert not torch.equal(rounds[3].after.mask, ssfl()[0].after.mask)  # type: ignore[arg-type]


def test_driver_finds_the_same_mask_and_bills_the_probe(tmp_path: Path) -> None:
    run = experiment({"algorithm.name": "ssfl", "algorithm.warmup_rounds": 1})
    driver = Driver(run, InProcessExecutor(run), RunStore(tmp_path / "run"))
    records = list(driver.run())
    rounds = play(run)
    assert driver.params_sha256() == params_sha256(rounds[-1].after.params)
    for record, played in zip(records, rounds, strict=True):
        phases = [*played.probes, played]
        uploaded = sum(update.buffer.nbytes for phase in phases for update in phase.updates)
        assert record.metrics["comm/upload_bytes"] == uploaded
        assert record.metrics["comm/download_bytes"] == sum(sum(phase.download_bytes) for phase in phases)
    assert [record.metrics["sparsity/density"] for record in records] == [1, 0.5, 0.5, 0.5]


# Random masks


@pytest.mark.parametrize("variant", ["random_global", "random_layerwise"])
@pytest.mark.parametrize("warmup", [0, 2])
def test_random_mask_needs_no_probe(variant: str, warmup: int) -> None:
    rounds = ssfl({"algorithm.variant": variant, "algorithm.warmup_rounds": warmup, "sparsity.level": 0.7})
    layout = experiment().setting.layout
    for played in rounds:
        mask = played.before.mask
        assert not played.probes
        assert (mask is None) == (played.round_idx < warmup)
        if mask is None:
            continue
        counts = list(layout.active(mask).values())
        assert sum(counts) == 10_140
        assert (counts == [3840, 6000, 300]) == (variant == "random_layerwise")
        assert torch.equal(mask, rounds[-1].after.mask)  # type: ignore[arg-type]
        assert int(played.before.params[~mask].count_nonzero()) == 0


def test_random_masks_come_from_the_seed() -> None:
    masks = [
        ssfl({"algorithm.variant": "random_global", "seed": seed}, 1)[0].after.mask for seed in (0, 0, 1)
    ]
    assert torch.equal(masks[0], masks[1])  # type: ignore[arg-type]
    assert not torch.equal(masks[0], masks[2])  # type: ignore[arg-type]


def test_average_with_random_masks_of_each_client_includes_zeros() -> None:
    """The plain weighted mean of models that are 0 outside their masks. The server has no mask."""
    run = experiment({"algorithm.name": "ssfl", "algorithm.variant": "random_clientwise"})
    layout = run.setting.layout
    counts = {"fc1.weight": 6400, "fc2.weight": 10_000, "fc3.weight": 500}
    for played in play(run):
        stacked, weights = [], []
        for update, model, received in zip(played.updates, played.models, played.received, strict=True):
            rng = stream(run.setting.seed, "client", update.client_id, "mask")
            own = random_mask(layout, counts, rng)
            assert model is not None
            assert received is not None
            assert torch.equal(model.mask, own)  # type: ignore[arg-type]
            assert torch.equal(received.values, played.before.params * own)
            (sections,) = section_bytes(update.buffer)
            assert sections.mask_bytes == 0
            stacked.append(model.values.double())
            weights.append(float(update.num_examples))
        assert set(played.download_bytes) == {36 + 4 * (16_900 + NUM_BIASES)}
        share = torch.tensor(weights, dtype=torch.float64)[:, None] / sum(weights)
        assert torch.allclose(
            played.after.params.double(), (share * torch.stack(stacked)).sum(dim=0), atol=1e-7
        )
        assert played.after.mask is None
        nobody = torch.stack(stacked).eq(0).all(dim=0)
        assert int(nobody.sum()) > 2000
        assert int(played.after.params[nobody].count_nonzero()) == 0


def test_clients_have_their_own_models_only_with_their_own_masks() -> None:
    for variant in ("saliency", "random_clientwise"):
        run = experiment({"algorithm.name": "ssfl", "algorithm.variant": variant})
        assert run.algorithm.has_client_models == (variant == "random_clientwise")

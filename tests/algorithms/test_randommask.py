"""RandomMask: one mask by either criterion, constant for the whole run."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from orchestrator.contract.rounds import play
from orchestrator.experiment.experiment import Experiment
from orchestrator.sparsity.allocation import allocate
from orchestrator.sparsity.wire import section_bytes
from tests.support.errors import rejects
from tests.support.fakes import experiment
from tests.support.masks import gaps_bytes

Options = Mapping[str, object]
CRITERIA = ["magnitude", "random"]


def masked(criterion: str, level: float = 0.7, more: Options | None = None) -> Experiment:
    options = {"algorithm.name": "randommask", "algorithm.criterion": criterion, "sparsity.level": level}
    return experiment(options | dict(more or {}))


def initial_mask(run: Experiment) -> Tensor:
    mask: Tensor | None = run.algorithm.init(torch.from_numpy(run.initial.copy())).mask
    assert mask is not None
    return mask


@pytest.mark.parametrize("criterion", CRITERIA)
def test_mask_and_zeros_are_constant_for_the_whole_run(criterion: str) -> None:
    run = masked(criterion)
    mask = initial_mask(run)
    for played in play(run):
        assert torch.equal(played.after.mask, mask)  # type: ignore[arg-type]
        assert int(played.after.params[~mask].count_nonzero()) == 0
        assert all(torch.equal(m.mask, mask) for m in played.models)  # type: ignore[arg-type]


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("allocation", ["uniform", "erk", "erk_rescaled"])
def test_every_layer_keeps_its_allocation_and_all_biases(criterion: str, allocation: str) -> None:
    run = masked(criterion, more={"sparsity.allocation": allocation})
    layout, mask = run.setting.layout, initial_mask(run)
    assert layout.active(mask) == allocate(layout, 1 - 0.7, run.setting.sparsity)
    assert all(bool(mask[s.slice].all()) for s in layout.segments if not s.maskable)


def test_explicit_densities_are_exact() -> None:
    """Of 12,800, 20,000 and 1,000 weights: 12.34 %, 5 %, and all weights of the layer without an entry."""
    options: dict[str, object] = {"algorithm.name": "randommask", "sparsity.allocation": "explicit"}
    names = [s.name for s in experiment().setting.layout.maskable]
    options |= {f"sparsity.layer_density.{n}": d for n, d in zip(names[:2], (0.1234, 0.05), strict=True)}
    run = experiment(options)
    counts = run.setting.layout.active(initial_mask(run))
    assert list(counts.values()) == [1579, 1000, 1000]
    assert run.algorithm.density(0) == pytest.approx((0.1234 * 12_800 + 2000) / 33_800)
    # half of the densities: 789.76 and 500 weights, and 500 of the 1,000 in the third layer
    eps = (0.5 * (0.1234 * 12_800 + 2000) - 1000) / (0.1234 * 12_800 + 1000)
    level = 1 - 0.5 * (0.1234 * 12_800 + 2000) / 33_800
    halved = experiment(options | {"sparsity.level": level})
    counts = halved.setting.layout.active(initial_mask(halved))
    assert list(counts.values()) == [int(eps * 0.1234 * 12_800), int(eps * 1000), 1000]


def test_uniform_counts_by_hand() -> None:
    """The mlp on 8x8 digits keeps 3/10 of 64 x 200, 200 x 100 and 100 x 10 weights."""
    run = masked("magnitude", more={"sparsity.allocation": "uniform"})
    counts = {"fc1.weight": 3840, "fc2.weight": 6000, "fc3.weight": 300}
    assert run.setting.layout.active(initial_mask(run)) == counts


def test_magnitude_keeps_the_largest_initial_weights_of_each_layer() -> None:
    run = masked("magnitude")
    mask, initial = initial_mask(run), torch.from_numpy(run.initial).abs()
    for segment in run.setting.layout.maskable:
        kept, size = mask[segment.slice], initial[segment.slice]
        assert size[kept].min() >= size[~kept].max()


def test_random_positions_do_not_depend_on_the_weights() -> None:
    run = masked("random")
    zeros, mask = run.algorithm.init(torch.zeros(run.setting.layout.size)).mask, initial_mask(run)
    assert zeros is not None
    assert torch.equal(zeros, mask)
    assert not torch.equal(mask, initial_mask(masked("random", more={"seed": 1})))
    assert not torch.equal(mask, initial_mask(masked("magnitude")))


def test_mask_is_sent_once_to_each_client_and_never_uploaded() -> None:
    run = masked("magnitude")
    layout, nnz = run.setting.layout, int(initial_mask(run).sum())
    section = gaps_bytes(layout.restrict(initial_mask(run)).numpy())
    seen: set[int] = set()
    for played in play(run, 6):
        for update, downloaded in zip(played.updates, played.download_bytes, strict=True):
            (sections,) = section_bytes(update.buffer)
            assert (sections.value_bytes, sections.mask_bytes) == (4 * nnz, 0)
            mask_bytes = 0 if update.client_id in seen else section
            assert downloaded == 12 + sections.header_bytes + 4 * nnz + mask_bytes
            seen.add(update.client_id)
    assert len(seen) < 18


def test_schedule_is_rejected() -> None:
    with rejects("sparsity.schedule.kind", "linear"):
        masked("magnitude", more={"sparsity.schedule.kind": "linear"})

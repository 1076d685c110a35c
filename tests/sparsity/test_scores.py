"""Exact selection, compared with a slow sort for scores with many ties."""

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor, nn

from orchestrator.models.parameters import ParameterLayout
from orchestrator.sparsity.scores import grow_top, keep_top, keep_top_overall, select_top

# weights 0-11, biases 12-14, weights 15-26, biases 27-30
LAYOUT = ParameterLayout.of(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 4)))

# few distinct values: nearly every threshold falls into a tie
SCORES = st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 0.5, 1.0, np.inf, np.nan])
BOOLS = hnp.arrays(np.bool_, LAYOUT.size)
VECTORS = hnp.arrays(np.float32, LAYOUT.size, elements=SCORES) | hnp.arrays(
    np.float64, LAYOUT.size, elements=SCORES
)
COUNTS = st.fixed_dictionaries({s.name: st.integers(-1, s.size + 2) for s in LAYOUT.maskable})


def slow_keep(candidates: Tensor, score: Tensor, counts: Mapping[str, int], tie_break: Tensor) -> Tensor:
    """Sort every candidate by (score, tie break, index) and take the first ones."""
    kept = torch.ones(LAYOUT.size, dtype=torch.bool)
    lowest = [-np.inf if np.isnan(x) else x for x in score.tolist()]
    second = [-np.inf if np.isnan(x) else x for x in tie_break.tolist()]
    for segment in LAYOUT.maskable:
        indices = range(segment.offset, segment.offset + segment.size)
        order = sorted((i for i in indices if candidates[i]), key=lambda i: (-lowest[i], -second[i], i))
        chosen = set(order[: max(counts[segment.name], 0)])
        for i in indices:
            kept[i] = i in chosen
    return kept


@given(BOOLS, VECTORS, COUNTS, st.none() | VECTORS)
def test_keep_top_equals_a_sort(
    candidates: np.ndarray, score: np.ndarray, counts: dict[str, int], tie_break: np.ndarray | None
) -> None:
    chosen, values = torch.from_numpy(candidates), torch.from_numpy(score)
    ties = None if tie_break is None else torch.from_numpy(tie_break)
    result = keep_top(LAYOUT, chosen, values, counts, ties)
    expected = slow_keep(chosen, values, counts, torch.zeros(LAYOUT.size) if ties is None else ties)
    assert result.dtype == torch.bool
    assert result.tolist() == expected.tolist()


@given(BOOLS, VECTORS, COUNTS, st.none() | BOOLS)
def test_grow_top_equals_a_sort(
    bits: np.ndarray, score: np.ndarray, counts: dict[str, int], excluded: np.ndarray | None
) -> None:
    mask, values = LAYOUT.expand(LAYOUT.restrict(torch.from_numpy(bits))), torch.from_numpy(score)
    exclude = None if excluded is None else torch.from_numpy(excluded)
    result = grow_top(LAYOUT, mask, values, counts, exclude)
    free = ~mask if exclude is None else ~mask & ~exclude
    missing = {name: counts[name] - num for name, num in LAYOUT.active(mask).items()}
    expected = mask | slow_keep(free, values, missing, torch.zeros(LAYOUT.size))
    assert result.tolist() == expected.tolist()


@given(hnp.arrays(np.float32, LAYOUT.num_maskable, elements=SCORES), st.integers(-1, 30), st.integers(0, 14))
def test_keep_top_overall_equals_a_sort(score: np.ndarray, count: int, least: int) -> None:
    """Keep the best `least` of the 12 weights of each layer, then the best of the rest up to `count` weights."""
    order = sorted(range(24), key=lambda i: (np.inf if np.isnan(score[i]) else -score[i], i))
    chosen = {i for layer in (range(12), range(12, 24)) for i in [j for j in order if j in layer][:least]}
    chosen |= set([i for i in order if i not in chosen][: max(0, count - len(chosen))])
    result = keep_top_overall(LAYOUT, torch.from_numpy(score), count, least)
    assert LAYOUT.restrict(result).tolist() == [i in chosen for i in range(24)]
    assert bool(result[12:15].all())
    assert bool(result[27:].all())


def test_keep_top_overall_ranks_layers_together_and_keeps_least_weights_of_each() -> None:
    score = torch.arange(24.0)
    assert LAYOUT.active(keep_top_overall(LAYOUT, score, 10)) == {"0.weight": 0, "1.weight": 10}
    assert LAYOUT.active(keep_top_overall(LAYOUT, score, 10, least=2)) == {"0.weight": 2, "1.weight": 8}
    assert LAYOUT.active(keep_top_overall(LAYOUT, score, 14, least=2)) == {"0.weight": 2, "1.weight": 12}
    assert keep_top_overall(LAYOUT, score, 10, least=2)[:12].nonzero().view(-1).tolist() == [10, 11]


def test_grow_top_adds_the_largest_scores_outside_the_mask() -> None:
    mask = LAYOUT.full_mask()
    mask[:12] = torch.tensor([1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], dtype=torch.bool)
    score = torch.zeros(LAYOUT.size)
    score[:12] = torch.tensor([9.0, 1.0, 3.0, 9.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0])
    counts = {"0.weight": 4, "1.weight": 12}
    assert grow_top(LAYOUT, mask, score, counts)[:12].nonzero().squeeze(1).tolist() == [0, 2, 3, 5]
    exclude = torch.zeros(LAYOUT.size, dtype=torch.bool)
    exclude[[2, 5]] = True
    assert grow_top(LAYOUT, mask, score, counts, exclude)[:12].nonzero().squeeze(1).tolist() == [0, 3, 4, 11]


def test_selection_does_not_change_its_arguments() -> None:
    candidates, score = LAYOUT.full_mask(), torch.arange(float(LAYOUT.size))
    score[3] = torch.nan
    keep_top(LAYOUT, candidates, score, {"0.weight": 2, "1.weight": 12}, score)
    grow_top(LAYOUT, candidates, score, {"0.weight": 2, "1.weight": 12}, candidates)
    assert bool(candidates.all())
    assert score.nan_to_num(nan=3.0).tolist() == list(range(LAYOUT.size))


def test_result_is_a_copy_of_the_candidates() -> None:
    candidates = torch.ones(5, dtype=torch.bool)
    kept = select_top(candidates, torch.zeros(5), 5)
    kept[0] = False
    assert bool(candidates.all())


def test_scores_with_a_gradient_history_are_accepted() -> None:
    score = torch.arange(4.0, requires_grad=True)
    assert select_top(torch.ones(4, dtype=torch.bool), score, 1).tolist() == [False, False, False, True]


@pytest.fixture
def restored_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("restored_threads")
def test_selection_does_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    score = torch.from_numpy(rng.integers(0, 50, 200_000).astype(np.float32))
    candidates = torch.from_numpy(rng.random(200_000) < 0.7)
    choices = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        choices.append(select_top(candidates, score, 60_000, score.sin()))
    assert torch.equal(choices[0], choices[1])
    assert int(choices[0].sum()) == 60_000
    assert float(score[choices[0]].min()) >= float(score[candidates & ~choices[0]].max())

"""The balanced Dirichlet partition: its invariants, and its distribution against slow oracles."""

from collections import Counter
from collections.abc import Callable
from itertools import product
from time import process_time

import numpy as np
import pytest

from orchestrator.config.sections import PartitionConfig
from orchestrator.data.balanced_dirichlet import _fill, balanced_dirichlet
from orchestrator.data.dataset import Dataset
from orchestrator.data.shares import dirichlet_shares

MakeDataset = Callable[..., Dataset]


def config(alpha: float) -> PartitionConfig:
    return PartitionConfig(kind="balanced_dirichlet", alpha=alpha)


@pytest.mark.parametrize("alpha", [1e-300, 1e-3, 0.3, 100.0, 1e300])
def test_sizes_differ_by_at_most_one_and_all_samples_are_used(
    make_dataset: MakeDataset, alpha: float
) -> None:
    dataset = make_dataset(np.random.default_rng(0).integers(0, 10, 1003).tolist())
    owner = balanced_dirichlet(dataset, config(alpha), 20, np.random.default_rng(1))
    assert np.bincount(owner).tolist() == [51] * 3 + [50] * 17


def test_small_alpha_gives_clients_nearly_one_class(make_dataset: MakeDataset) -> None:
    """A tiny alpha gives each client one class while it has samples; a huge alpha gives equal halves."""
    dataset = make_dataset([0, 1] * 500)
    skewed, mixed = (
        balanced_dirichlet(dataset, config(alpha), 20, np.random.default_rng(0)) for alpha in (1e-6, 1e6)
    )
    top = [
        np.mean([np.bincount(dataset.train_labels[owner == k]).max() / 50 for k in range(20)])
        for owner in (skewed, mixed)
    ]
    assert top[0] > 0.7
    assert top[1] < 0.62


def test_images_of_a_class_are_shuffled(make_dataset: MakeDataset) -> None:
    owner = balanced_dirichlet(make_dataset([0] * 400), config(1.0), 2, np.random.default_rng(0))
    assert 60 < owner[:200].sum() < 140


def sequential_law(priors: np.ndarray, slots: list[int], pools: list[int]) -> dict[tuple[int, ...], float]:
    """Slow oracle: the probability of every sequence of classes when one slot is filled after another."""
    law = {}
    for sequence in product(range(len(pools)), repeat=len(slots)):
        left, probability = list(pools), 1.0
        for slot, label in zip(slots, sequence, strict=True):
            weights = [p if n > 0 else 0.0 for p, n in zip(priors[slot], left, strict=True)]
            if probability == 0.0:
                break
            if sum(weights) == 0.0:
                weights = [float(n > 0) for n in left]
            probability *= weights[label] / sum(weights)
            left[label] -= 1
        if probability > 0.0:
            law[sequence] = probability
    return law


@pytest.mark.parametrize(
    ("priors", "slots", "pools"),
    [
        ([[0.7, 0.3], [0.2, 0.8]], [0, 1, 0, 0], [2, 2]),
        ([[0.6, 0.3, 0.1], [0.1, 0.1, 0.8]], [0, 1, 1, 0, 1], [2, 1, 2]),
        ([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]], [0, 0, 1, 1], [1, 1, 2]),
    ],
)
def test_distribution_equals_that_of_filling_one_slot_after_another(
    priors: list[list[float]], slots: list[int], pools: list[int]
) -> None:
    """Frequencies over 20,000 samples are within five standard deviations of the exact probabilities."""
    law = sequential_law(np.array(priors), slots, pools)
    assert sum(law.values()) == pytest.approx(1.0)
    rng, num_trials = np.random.default_rng(5), 20_000
    seen = Counter(
        tuple(_fill(np.array(priors), np.array(slots), np.array(pools), rng).tolist())
        for _ in range(num_trials)
    )
    assert set(seen) <= set(law)
    for sequence, probability in law.items():
        deviation = (probability * (1 - probability) / num_trials) ** 0.5
        assert abs(seen[sequence] / num_trials - probability) <= 5 * deviation


def fill_slowly(
    priors: np.ndarray, slots: np.ndarray, pools: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Slow oracle with the same random numbers. It examines all classes whenever a class has no samples left."""

    def sample(sampling: np.ndarray) -> np.ndarray:
        cumulated = np.cumsum(np.where(is_open, priors[sampling], 0.0), axis=1)
        cumulated[cumulated[:, -1] == 0.0] = np.cumsum(is_open)
        cumulated /= cumulated[:, -1:]
        cumulated[cumulated >= 1.0] = np.inf
        return np.argmax(cumulated > rng.random(len(cumulated))[:, None], axis=1)

    is_open = pools > 0
    classes = sample(slots)
    while True:
        late = {c: np.flatnonzero(classes == c) for c in range(len(pools))}
        overfull = [c for c in late if len(late[c]) > pools[c]]
        if not overfull:
            return classes
        closed = min(overfull, key=lambda c: late[c][pools[c] - 1])
        is_open[closed] = False
        too_late = late[closed][pools[closed] :]
        classes[too_late] = sample(slots[too_late])


@pytest.mark.parametrize("alpha", [1e-300, 1e-3, 0.05, 0.5, 10.0, 1e300])
@pytest.mark.parametrize(
    ("num_classes", "num_samples", "num_clients"), [(2, 50, 3), (10, 3000, 40), (150, 900, 7)]
)
def test_result_equals_that_of_the_slow_algorithm(
    alpha: float, num_classes: int, num_samples: int, num_clients: int
) -> None:
    """The classes have very different sizes, and some are empty. Both algorithms use equally many random numbers."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        sizes = rng.dirichlet(np.full(num_classes, 0.3))
        pools = np.bincount(rng.choice(num_classes, num_samples, p=sizes), minlength=num_classes)
        priors = dirichlet_shares(alpha, num_classes, num_clients, rng)
        slots = rng.integers(0, num_clients, num_samples)
        streams = [np.random.default_rng(seed + 10) for _ in range(2)]
        found, slow = _fill(priors, slots, pools, streams[0]), fill_slowly(priors, slots, pools, streams[1])
        assert np.array_equal(found, slow)
        assert np.array_equal(np.bincount(found, minlength=num_classes), pools)
        assert streams[0].random() == streams[1].random()


def test_block_size_does_not_change_the_result(
    monkeypatch: pytest.MonkeyPatch, make_dataset: MakeDataset
) -> None:
    dataset = make_dataset(np.random.default_rng(0).integers(0, 10, 500).tolist())
    whole = balanced_dirichlet(dataset, config(0.3), 30, np.random.default_rng(1))
    monkeypatch.setattr("orchestrator.data.balanced_dirichlet._BLOCK", 25)
    assert np.array_equal(balanced_dirichlet(dataset, config(0.3), 30, np.random.default_rng(1)), whole)


def test_partition_of_thousands_of_classes_takes_seconds(make_dataset: MakeDataset) -> None:
    """The slow algorithm takes more than half a minute for this."""
    rng = np.random.default_rng(0)
    dataset = make_dataset([*range(3000), *rng.integers(0, 3000, 27_000)])
    started_s = process_time()
    owner = balanced_dirichlet(dataset, config(0.5), 20, np.random.default_rng(1))
    assert process_time() - started_s < 10
    assert np.bincount(owner).tolist() == [1500] * 20

"""DisPFL: the topologies, the average over neighbours, readjusted masks and the bytes of all edges."""

from itertools import pairwise
from math import ceil

import numpy as np
import pytest
import torch
from torch import nn

from algorithms.dispfl import DisPFL, DisPFLClient, DisPFLConfig
from orchestrator.contract.checked_run import checked_run
from orchestrator.contract.rounds import play
from orchestrator.federation.plan import ClientTask
from orchestrator.sparsity.payload import Masked
from orchestrator.sparsity.schedules import cosine_anneal
from tests.support.errors import rejects
from tests.support.fakes import experiment, make_run, make_setting, random_data, seeded

SHAPE = (1, 1, 2)
DISPFL = {"algorithm.name": "dispfl"}


def net() -> nn.Module:
    """4 weights and no bias."""
    return nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))


def method(num_clients: int = 5, **options: object) -> DisPFL:
    setting = make_setting(
        seeded(net), SHAPE, num_clients=num_clients, sparsity={"level": 0.5, "allocation": "uniform"}
    )
    return DisPFL(DisPFLConfig.model_validate({"name": "dispfl", **options}), setting)


def client(values: list[float], trained: list[int], mask: list[int]) -> DisPFLClient:
    bits = [torch.tensor(x, dtype=torch.bool) for x in (trained, mask)]
    return DisPFLClient(params=torch.tensor(values), trained=bits[0], mask=bits[1])


def test_ring_has_the_two_next_clients() -> None:
    sources = method(topology="ring").sources(3)
    assert [np.flatnonzero(row).tolist() for row in sources] == [[1, 4], [0, 2], [1, 3], [2, 4], [0, 3]]
    assert method(2, topology="ring").sources(0).tolist() == [[False, True], [True, False]]
    assert method(1, topology="ring").sources(0).tolist() == [[False]]


def test_random_neighbours_change_with_the_round_and_exclude_the_client() -> None:
    algorithm = method(7, num_neighbours=3)
    rounds = [algorithm.sources(r) for r in range(3)]
    for sources in rounds:
        assert sources.sum(axis=1).tolist() == [3] * 7
        assert not sources.diagonal().any()
    assert not np.array_equal(rounds[0], rounds[1])
    assert method(3, num_neighbours=10).sources(0).tolist() == method(3, topology="full").sources(0).tolist()


def test_only_training_reads_neighbours() -> None:
    algorithm = method(topology="ring")
    for kind, expected in (("train", (1, 4)), ("evaluate", ()), ("finetune", ())):
        task = ClientTask(round_idx=0, position=0, client_id=0, kind=kind)  # type: ignore[arg-type]
        assert algorithm.neighbours(task) == expected


def test_weights_are_averaged_over_the_clients_that_trained_them() -> None:
    """The first weight over 3 clients: (1 + 3 + 5) / 3; the second over two: (2 + 6) / 2; nobody has the last.

    The third was trained by a neighbour alone, but the client's mask does not contain it.
    """
    algorithm = method()
    own = client([1.0, 2, 0, 0], [1, 1, 0, 0], [1, 1, 0, 1])
    peers = {
        1: client([3.0, 0, 4, 0], [1, 0, 1, 0], [1] * 4),
        4: client([5.0, 6, 0, 0], [1, 1, 0, 0], [1] * 4),
    }
    task = ClientTask(round_idx=0, position=0, client_id=0)
    payload = algorithm.relay(task, peers)
    assert [item.values.tolist() for item in payload if isinstance(item, Masked)] == [[3, 4], [5, 6]]
    run = make_run(algorithm.setting, seeded(net), random_data(4, SHAPE, 2), state=own, payload=payload)
    algorithm.load(run)
    assert run.values.tolist() == [3, 4, 0, 0]


@pytest.mark.parametrize("growth", ["gradient", "random"])
def test_masks_keep_their_size_and_change_by_the_annealed_share(growth: str) -> None:
    run = experiment({**DISPFL, "algorithm.growth": growth})
    layout, algorithm = run.setting.layout, run.algorithm
    assert isinstance(algorithm, DisPFL)
    for played in play(run):
        assert len(played.updates) == 8
        share = cosine_anneal(0.5, played.round_idx, 4)
        for job, update, model in zip(played.jobs, played.updates, played.models, strict=True):
            before, after = job.client_state.mask, update.client_state.mask
            assert model is not None
            assert model.mask is not None
            assert torch.equal(model.mask, before)
            assert torch.equal(update.client_state.trained, before)
            assert layout.active(after) == layout.active(before)
            removed = layout.active(before & ~after)
            for name, count in layout.active(before).items():
                assert removed[name] <= ceil(share * count)
            assert sum(removed.values()) > 0


def test_every_edge_is_billed_at_both_ends() -> None:
    """The copies that all clients send in a round are the models that all clients receive in the next."""
    algorithm = method(9, num_neighbours=2)
    tasks = [ClientTask(round_idx=4, position=k, client_id=k) for k in range(9)]
    assert sum(algorithm.upload_copies(task) for task in tasks) == 18
    received = [algorithm.neighbours(ClientTask(round_idx=5, position=k, client_id=k)) for k in range(9)]
    for task in tasks:
        assert algorithm.upload_copies(task) == sum(task.client_id in sources for sources in received)


def test_bytes_of_a_download() -> None:
    """Two neighbours on a ring: two headers, 4 (nnz + U) bytes of values and a mask of P bits or less each."""
    run = experiment({**DISPFL, "algorithm.topology": "ring"})
    layout = run.setting.layout
    for played in play(run, 2):
        for job, down in zip(played.jobs, played.download_bytes, strict=True):
            names = [f"from-{(job.task.client_id + step) % 8}" for step in (1, -1)]
            fixed = 12 + sum(16 + 8 for _ in names)
            kept = sum(layout.active(job.client_state.trained).values())
            values = 2 * 4 * (kept + layout.num_dense)
            assert 0 < down - fixed - values <= 2 * ceil(layout.num_maskable / 8)


def test_full_topology_with_one_fixed_mask_is_the_mean_of_all_models() -> None:
    run = experiment(
        {**DISPFL, "algorithm.topology": "full", "algorithm.same_masks": True, "algorithm.alpha": 0}
    )
    rounds = play(run)
    for earlier, later in pairwise(rounds):
        for position in range(len(later.jobs)):
            task = checked_run(run, later, position)
            run.algorithm.load(task)
            mean = earlier.after.params * later.jobs[position].client_state.mask
            assert torch.allclose(task.values, mean, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("key", "value", "other"),
    [("asynchrony.kind", "fedbuff", {}), ("fleet.late", "keep", {"fleet.deadline_s": 9.0})],
)
def test_late_tasks_are_rejected(key: str, value: str, other: dict[str, object]) -> None:
    with rejects(key, value):
        experiment({**DISPFL, key: value, **other})

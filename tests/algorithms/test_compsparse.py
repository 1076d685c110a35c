"""Complement sparsification: the server's step by hand, disjoint supports, and bytes."""

import pytest
import torch
from torch import nn

from algorithms.compsparse import CompSparse, CompSparseConfig
from orchestrator.contract.rounds import play
from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.algorithm import ServerState
from orchestrator.sparsity.payload import Dense
from tests.support.errors import rejects
from tests.support.fakes import experiment, make_setting, seeded

COMPSPARSE = {"algorithm.name": "compsparse"}


def method() -> CompSparse:
    """4 weights and 2 biases, of which half of the weights are kept."""
    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(2, 2)))
    setting = make_setting(flat, (1, 1, 2), sparsity={"level": 0.5, "allocation": "uniform"})
    return CompSparse(CompSparseConfig(name="compsparse"), setting)


def test_server_adds_the_mean_complement_and_prunes_again() -> None:
    """w_s = (4, -3, 0, 0), complement (2.5, -1) times 1.5: (4, -3, 3.75, -1.5). The two largest are kept.

    The biases take their mean, 7 and 8, without the factor.
    """
    state = ServerState(
        params=torch.tensor([4.0, -3, 0, 0, 1, 1]), mask=torch.tensor([1, 1, 0, 0, 1, 1], dtype=torch.bool)
    )
    extras = {"complement": torch.tensor([2.5, -1.0, 7.0, 8.0], dtype=torch.float64)}
    after = method().server_update(state, Aggregate(state.params.double(), None, 2.0, extras, 2), 3)
    assert after.params.tolist() == [4, 0, 3.75, 0, 7, 8]
    assert after.mask is not None
    assert after.mask.tolist() == [True, False, True, False, True, True]
    assert state.params.tolist() == [4, -3, 0, 0, 1, 1]


def test_first_round_is_fedavg_that_is_pruned() -> None:
    ours, fedavg = play(experiment(COMPSPARSE), 1)[0], play(experiment(), 1)[0]
    assert ours.after.mask is not None
    assert torch.equal(ours.after.params, fedavg.after.params * ours.after.mask)
    layout = experiment(COMPSPARSE).setting.layout
    assert layout.active(ours.after.mask) == {s.name: s.size // 2 for s in layout.maskable}


def test_kept_weights_change_only_when_they_are_pruned() -> None:
    for played in play(experiment(COMPSPARSE))[1:]:
        before, after = played.before, played.after
        assert before.mask is not None
        assert after.mask is not None
        maskable = ~experiment(COMPSPARSE).setting.layout.expand(torch.zeros(33_800, dtype=torch.bool))
        both = before.mask & after.mask & maskable
        assert bool(both.any())
        assert torch.equal(after.params[both], before.params[both])
        assert bool((after.mask & ~before.mask).any())


def test_all_weights_freeze_at_density_1() -> None:
    rounds = play(experiment({**COMPSPARSE, "sparsity.level": 0}))
    layout = experiment(COMPSPARSE).setting.layout
    for segment in layout.maskable:
        assert torch.equal(rounds[3].after.params[segment.slice], rounds[0].after.params[segment.slice])
    assert not torch.equal(rounds[3].after.params, rounds[0].after.params)


@pytest.mark.parametrize("level", [0.5, 0.75])
def test_upload_has_the_complement_alone(level: float) -> None:
    """P = 33,800 weights and U = 310 biases: 4 (s P + U) bytes, and no mask."""
    for played in play(experiment({**COMPSPARSE, "sparsity.level": level}), 3):
        for update, (item,) in zip(played.updates, played.payloads, strict=True):
            assert isinstance(item, Dense)
            size = 34_110 if played.round_idx == 0 else int(level * 33_800) + 310
            name_bytes = 8 if played.round_idx == 0 else 12
            assert update.buffer.nbytes == 12 + (16 + name_bytes) + 4 * size


@pytest.mark.parametrize(
    ("field", "value", "options"),
    [
        ("asynchrony.kind", "fedbuff", {}),
        ("fleet.late", "keep", {"fleet.deadline_s": 1.0}),
    ],
)
def test_updates_of_another_round_are_rejected_before_the_run(
    field: str, value: str, options: dict[str, object]
) -> None:
    """A complement belongs to the mask of its round."""
    with rejects(field, value):
        experiment({**COMPSPARSE, field: value, **options})

"""The base of methods that choose their mask before training: who scores, and which weights are kept."""

from typing import final

import pytest
import torch
from torch import Tensor

from orchestrator.errors import ConfigError
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.bases.mask_at_start import MaskAtStartAlgorithm, MaskAtStartConfig
from orchestrator.federation.local.run import LocalRun
from tests.support.errors import rejects
from tests.support.fakes import make_run, make_setting, random_data, seeded
from tests.support.nets import small_cnn

SHAPE = (1, 5, 5)


@final
class Magnitude(MaskAtStartAlgorithm):
    """Scores weights by their size."""

    def scores(self, run: LocalRun[None]) -> Tensor:
        return run.values[: run.grad.numel()].abs()


def method(level: float = 0.5, **options: object) -> Magnitude:
    setting = make_setting(seeded(small_cnn), SHAPE, sparsity={"level": level})
    return Magnitude(MaskAtStartConfig.model_validate({"name": "magnitude", **options}), setting)


def test_clients_score_once_before_the_first_round() -> None:
    algorithm = method(probe_client=3)
    state = algorithm.init(torch.from_numpy(algorithm.setting.initial.copy()))
    plan = algorithm.plan_probe(state, 0, (1, 2))
    assert plan is not None
    assert [(task.client_id, task.kind) for task in plan.tasks] == [(3, "probe")]
    masked = algorithm.masked(state.params, algorithm.setting.layout.restrict(state.params.abs()))
    assert algorithm.plan_probe(masked, 0, (1, 2)) is None


def test_largest_scores_of_all_layers_are_kept() -> None:
    algorithm, flat = method(), seeded(small_cnn)
    run = make_run(algorithm.setting, flat, random_data(4, SHAPE, 3), kind="probe")
    (item,) = algorithm.client_update(run).payload
    layout = algorithm.setting.layout
    state = algorithm.masked(flat.values.clone(), torch.tensor(item.values, dtype=torch.float64))
    assert state.mask is not None
    size, kept = layout.restrict(flat.values.abs()), layout.restrict(state.mask)
    assert int(kept.sum()) == algorithm.num_kept == round(0.5 * layout.num_maskable)
    assert float(size[kept].min()) >= float(size[~kept].max())
    assert torch.equal(state.params, flat.values * state.mask)
    assert isinstance(state, ServerState)


@pytest.mark.parametrize(("least", "level"), [(1, 0.9999), (100, 0.5)])
def test_level_that_leaves_too_few_weights_is_rejected(least: int, level: float) -> None:
    with rejects("sparsity.level", level):
        method(level, least_per_layer=least)


def test_empty_layer_is_rejected_when_layers_need_no_weight() -> None:
    algorithm = method(0.9, least_per_layer=0)
    layout = algorithm.setting.layout
    scores = torch.zeros(layout.size)
    scores[layout.maskable[0].slice] = 1.0
    scores[layout.maskable[1].slice] = 1.0
    with pytest.raises(ConfigError, match="disconnects"):
        algorithm.masked(torch.ones(layout.size), layout.restrict(scores))


def test_unknown_client_is_rejected() -> None:
    with rejects("algorithm.probe_client", 10):
        method(probe_client=10)

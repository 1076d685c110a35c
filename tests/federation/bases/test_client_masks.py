"""Methods whose clients have their own masks: bytes of models and masks, and the server's average."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from orchestrator.contract.rounds import RecordedRound, play
from orchestrator.execution.device_environment import DeviceEnvironment
from orchestrator.federation.bases.client_masks import ClientMask, ClientMaskAlgorithm
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.local.run import LocalRun
from orchestrator.sparsity.masks import prune_share
from orchestrator.sparsity.wire import section_bytes
from tests.support.errors import rejects
from tests.support.fakes import (
    experiment,
    make_run,
    make_setting,
    random_data,
    seeded,
)

#: 12 of the message, 16 of the item, 8 of the name "theta" padded to a multiple of 4
HEADER_BYTES = 36
#: mlp on digits: 64 x 200 + 200 x 100 + 100 x 10 weights, 310 biases
NUM_BIASES, BITMAP_BYTES = 310, 4225


class Halving(ClientMaskAlgorithm[ClientMask]):
    """Every client prunes half of each layer in even rounds."""

    capabilities: ClassVar[Capabilities] = replace(ClientMaskAlgorithm.capabilities, default_density=0.5)

    def after_train(self, run: LocalRun[ClientMask]) -> None:
        if run.task.round_idx % 2 == 0:
            run.state = ClientMask(mask=prune_share(self.setting.layout, run.state.mask, run.values, 0.5))
            run.set_mask(run.state.mask)


OPTIONS: Mapping[str, object] = {
    "algorithm.name": "tests.federation.bases.test_client_masks:Halving",
    "training.clients_per_round": 5,
}


@pytest.fixture(scope="module")
def rounds() -> list[RecordedRound]:
    return play(experiment(OPTIONS))


def nnz(mask: Tensor) -> int:
    """Number of kept weights, without biases."""
    return int(mask.sum()) - NUM_BIASES


def test_client_receives_the_global_weights_inside_its_mask(rounds: list[RecordedRound]) -> None:
    masks: dict[int, Tensor] = {}
    sparse = 0
    for played in rounds:
        assert played.broadcast.payload == ()
        for update, received in zip(played.updates, played.received, strict=True):
            mask = masks.get(update.client_id, torch.ones_like(played.before.params, dtype=torch.bool))
            assert received is not None
            assert received.mask is not None
            assert torch.equal(received.mask, mask)
            assert torch.equal(received.values, played.before.params * mask)
            sparse += not bool(mask.all())
        masks |= {k: s.mask for k, s in played.client_states.items()}
    assert sparse


def test_mask_costs_bytes_only_in_the_upload_that_changes_it(
    rounds: list[RecordedRound],
) -> None:
    for played in rounds:
        sent = zip(
            played.jobs, played.received, played.updates, played.models, played.download_bytes, strict=True
        )
        for _, received, update, model, downloaded in sent:
            assert received is not None
            assert received.mask is not None
            assert model is not None
            assert model.mask is not None
            assert downloaded == HEADER_BYTES + 4 * (nnz(received.mask) + NUM_BIASES)
            (sections,) = section_bytes(update.buffer)
            assert sections.value_bytes == 4 * (nnz(model.mask) + NUM_BIASES)
            changed = played.round_idx % 2 == 0
            assert 0 < sections.mask_bytes <= BITMAP_BYTES if changed else sections.mask_bytes == 0


def test_weight_is_the_plain_mean_over_the_clients_whose_mask_has_it(rounds: list[RecordedRound]) -> None:
    """Numbers of samples do not matter. A weight in no mask keeps its value."""
    kept_by_nobody = 0
    for played in rounds:
        total, holders = torch.zeros(34_110, dtype=torch.float64), torch.zeros(34_110, dtype=torch.float64)
        for model in played.models:
            assert model is not None
            assert model.mask is not None
            total += model.values.to(torch.float64)
            holders += model.mask
        mean = torch.where(holders > 0, total / holders, played.before.params.to(torch.float64))
        assert torch.equal(played.after.params, mean.to(torch.float32))
        assert played.after.mask is None
        kept_by_nobody += int((holders == 0).sum())
    assert kept_by_nobody


def test_client_uses_the_global_model_inside_its_mask(rounds: list[RecordedRound]) -> None:
    run = experiment(OPTIONS)
    last = rounds[-1]
    flat = DeviceEnvironment(run, torch.device("cpu")).full
    task = make_run(
        run.setting,
        flat,
        random_data(4, (1, 8, 8), 10),
        received=last.received[0],
        state=last.jobs[0].client_state,
    )
    run.algorithm.personal(task)
    assert torch.equal(task.values, last.before.params * last.jobs[0].client_state.mask)
    assert run.algorithm.has_client_models is False  # the traits of this method are not personal


def test_explicit_densities_are_rejected() -> None:
    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 2)))
    sparsity = {"allocation": "explicit", "layer_density": {"1.weight": 0.5}}
    setting = make_setting(flat, (1, 3, 3), sparsity=sparsity)
    with rejects("sparsity.allocation", "explicit"):
        Halving(Halving.Config(name="halving"), setting)


def test_returned_mask_must_keep_weights_and_all_entries_that_cannot_be_masked() -> None:
    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 2)))
    setting = make_setting(flat, (1, 3, 3))
    method = Halving(Halving.Config(name="halving"), setting)
    layout = setting.layout
    one_weight, without_biases = torch.zeros(layout.num_maskable, dtype=torch.bool), layout.full_mask()
    one_weight[7] = True
    without_biases[layout.expand(torch.zeros_like(one_weight))] = False
    method.check_client_state(ClientMask(mask=layout.expand(one_weight)))
    with pytest.raises(ValueError, match="no weight"):
        method.check_client_state(ClientMask(mask=layout.expand(torch.zeros_like(one_weight))))
    with pytest.raises(ValueError, match="cannot be masked"):
        method.check_client_state(ClientMask(mask=without_biases))

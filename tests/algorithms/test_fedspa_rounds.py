"""FedSpa over whole rounds: equality with simpler methods, masks, constant weights, and messages."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from orchestrator.config.sections import AlgorithmConfig
from orchestrator.contract.rounds import RecordedRound, play
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.bases.client_masks import ClientMask
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.seeds import stream
from orchestrator.sparsity.masks import random_mask
from orchestrator.sparsity.wire import section_bytes
from tests.support.fakes import (
    assert_same_params,
    experiment,
    normalised_net,
    seeded,
)

Options = Mapping[str, Any]
#: mlp on digits: 64 x 200 + 200 x 100 + 100 x 10 weights, 310 biases
NUM_WEIGHTS, NUM_BIASES = 33_800, 310


def spa(options: Options | None = None) -> list[RecordedRound]:
    return play(experiment({"algorithm.name": "fedspa", **(options or {})}))


def test_weights_outside_all_masks_keep_their_values_and_the_server_is_dense() -> None:
    for played in spa():
        union = torch.stack([m.mask for m in played.models if m and m.mask is not None]).any(dim=0)
        before, after = played.before.params, played.after.params
        assert int((~union).sum()) > 0
        assert torch.equal(after[~union], before[~union])
        assert played.after.mask is None
        assert int(after.count_nonzero()) >= int(before.count_nonzero())


class UpdateForm(Algorithm[ServerState, None]):
    """FedAvg whose server adds the plain mean of the clients' changes."""

    capabilities = Capabilities(aggregation="dmean")

    def weight(self, num_examples: int) -> float:
        return 1.0


@pytest.mark.parametrize("model", ["mlp", "tests.support.fakes:normalised_net"])
@pytest.mark.parametrize("variant", ["dst", "rsm"])
def test_dense_fedspa_equals_fedavg_in_update_form(variant: str, model: str) -> None:
    dense = spa({"algorithm.variant": variant, "sparsity.level": 0, "model.name": model})
    plain = experiment({"model.name": model})
    fedavg = replace(plain, algorithm=UpdateForm(AlgorithmConfig(), plain.setting))
    assert_same_params(dense, play(fedavg))


def test_alpha_of_zero_equals_the_static_variant() -> None:
    frozen = spa({"algorithm.alpha": 0})
    static = spa({"algorithm.variant": "rsm", "algorithm.mask_seed": "shared"})
    assert_same_params(frozen, static)
    for one, other in zip(frozen, static, strict=True):
        assert [u.buffer.tobytes() for u in one.updates] == [u.buffer.tobytes() for u in other.updates]
    assert not torch.equal(spa()[-1].after.params, frozen[-1].after.params)


def test_static_masks_come_from_the_seed_and_never_change() -> None:
    run = experiment(
        {"algorithm.name": "fedspa", "algorithm.variant": "rsm", "sparsity.allocation": "uniform"}
    )
    counts = {"fc1.weight": 6400, "fc2.weight": 10_000, "fc3.weight": 500}
    for played in play(run):
        for update, model in zip(played.updates, played.models, strict=True):
            k = update.client_id
            drawn = random_mask(run.setting.layout, counts, stream(run.setting.seed, "client", k, "mask"))
            assert model is not None
            assert torch.equal(model.mask, drawn)  # type: ignore[arg-type]
            assert torch.equal(update.client_state.mask, drawn)


def test_single_client_equals_sparse_local_training() -> None:
    """S = K = 1 and alpha = 0: in each round the weights inside the mask continue from their last values."""
    options = {"fleet.num_clients": 1, "training.clients_per_round": 1, "training.rounds": 3}
    run = experiment({"algorithm.name": "fedspa", "algorithm.alpha": 0, **options})
    mask = run.algorithm.init_client(0).mask
    start = torch.from_numpy(run.initial.copy())
    for played in play(run):
        (model,), (received,) = played.models, played.received
        assert model is not None
        assert received is not None
        assert torch.equal(received.values, start * mask)
        assert torch.allclose(played.after.params[mask], model.values[mask], rtol=1e-7, atol=0)
        assert torch.equal(played.after.params[~mask], start[~mask])
        start = played.after.params


def test_density_is_constant_and_only_participants_change_their_masks() -> None:
    """A grown weight starts with the server's value."""
    known: dict[int, Tensor] = {}
    num_returned = 0
    for played in spa({"sparsity.allocation": "erk", "training.rounds": 6}):
        states: dict[int, ClientMask] = played.client_states
        taking_part = {u.client_id for u in played.updates}
        for k, mask in known.items():
            assert k in taking_part or torch.equal(states[k].mask, mask)
        for update, received in zip(played.updates, played.received, strict=True):
            k = update.client_id
            assert received is not None
            assert received.mask is not None
            if k in known:
                num_returned += 1
                assert torch.equal(received.mask, known[k])
                assert torch.equal(received.values, played.before.params * known[k])
            assert int(states[k].mask.sum()) == int(received.mask.sum())
            assert not torch.equal(states[k].mask, received.mask)
        known = {k: state.mask for k, state in states.items()}
    assert num_returned > 3


@pytest.mark.parametrize("variant", ["dst", "rsm"])
def test_messages_have_values_in_both_directions_and_a_new_mask_up(variant: str) -> None:
    """12 + (16 + 8) + 4 (nnz + U) bytes down. The upload with DST has 16 + 12 + ceil(W / 8) more."""
    kept = (NUM_WEIGHTS // 2) + NUM_BIASES
    for played in spa({"algorithm.variant": variant, "sparsity.allocation": "uniform"}):
        for update, down in zip(played.updates, played.download_bytes, strict=True):
            sections = section_bytes(update.buffer)
            bitmap = [4225] if variant == "dst" else []
            assert (sections[0].value_bytes, sections[0].mask_bytes) == (4 * kept, 0)
            assert [s.mask_bytes for s in sections[1:]] == bitmap
            assert down == 36 + 4 * kept
            assert update.buffer.nbytes == 36 + 4 * kept + sum(28 + n for n in bitmap)


def test_personal_model_is_the_global_model_inside_the_next_mask() -> None:
    rounds = spa({"training.rounds": 2})
    run = experiment({"algorithm.name": "fedspa", "training.rounds": 2})
    assert run.algorithm.has_client_models
    state = rounds[-1].client_states[rounds[-1].updates[0].client_id]
    (sent,) = run.algorithm.unicast(rounds[-1].after, rounds[-1].jobs[0].task, state)
    model = run.algorithm.unpack((sent,), rounds[-1].jobs[0].task, state)
    assert model is not None
    assert torch.equal(model.values, rounds[-1].after.params * state.mask)
    assert torch.equal(run.algorithm.shared_mask(state), state.mask)  # type: ignore[arg-type]


def test_running_statistics_are_averaged_without_masks() -> None:
    flat = seeded(lambda: normalised_net((1, 8, 8), 10))
    played = spa({"model.name": "tests.support.fakes:normalised_net", "training.rounds": 1})[0]
    statistics = slice(flat.layout.num_trainable, None)
    sent = torch.stack([m.values[statistics].double() for m in played.models if m])
    assert torch.allclose(played.after.params[statistics].double(), sent.mean(dim=0), rtol=1e-6)


def test_every_device_has_its_own_density() -> None:
    run = experiment(
        {
            "algorithm.name": "fedspa",
            "fleet.name": "five-tier",
            "sparsity.level": 0.5,
            "sparsity.allocation": "uniform",
            "sparsity.device_levels.tier-1-1": 0.25,
        }
    )
    names = [run.setting.profile_of(k, 0).name for k in range(8)]
    assert len(set(names)) > 1
    for played in play(run):
        for update, model in zip(played.updates, played.models, strict=True):
            level = 0.25 if names[update.client_id] == "tier-1-1" else 0.5
            assert model is not None
            assert int(model.mask.sum()) == (1 - level) * NUM_WEIGHTS + NUM_BIASES  # type: ignore[union-attr]

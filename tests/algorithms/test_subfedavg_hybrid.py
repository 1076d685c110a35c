"""Sub-FedAvg (Hybrid): removed channels, pruned weights, the conditions, messages and bytes."""

from dataclasses import replace
from math import ceil

import pytest
import torch
from torch import Tensor

from algorithms.subfedavg_hybrid import HybridClient, SubFedAvgHybrid
from orchestrator.contract.rounds import RecordedRound, play
from orchestrator.errors import WireError
from orchestrator.federation.exchange import find_bits
from orchestrator.federation.plan import ClientTask
from orchestrator.sparsity.payload import Bits, Dense
from tests.support.fakes import assert_same_params, experiment
from tests.support.methods import PlainMean

#: on digits of 8 x 8: a convolution of 4 channels with 40 parameters, their scales, and 1440 weights to 10 classes
SHORT = {"model.name": "tests.support.fakes:normalised_net", "data.validation_fraction": 0.3}
OPTIONS = {
    "algorithm.name": "subfedavg_hybrid",
    "algorithm.min_accuracy": 0.0,
    "algorithm.min_distance": 0.0,
    "algorithm.min_channel_distance": 0.0,
    "training.clients_per_round": 8,
    **SHORT,
}
TASK = ClientTask(round_idx=0, position=0, client_id=0)


def method(**options: object) -> SubFedAvgHybrid:
    algorithm = experiment({**OPTIONS, **options}).algorithm
    assert isinstance(algorithm, SubFedAvgHybrid)
    return algorithm


def states(played: list[RecordedRound]) -> list[tuple[HybridClient, HybridClient]]:
    """The states before and after every task."""
    return [
        (job.client_state, update.client_state)
        for one in played
        for job, update in zip(one.jobs, one.updates, strict=True)
    ]


def alive(algorithm: SubFedAvgHybrid, client: HybridClient) -> Tensor:
    return algorithm.entries(algorithm.kept(client), client.mask)


def connected_weights(algorithm: SubFedAvgHybrid, client: HybridClient) -> int:
    return int((alive(algorithm, client) & algorithm.is_connected()).sum())


def test_channels_are_ranked_by_their_scale() -> None:
    algorithm = method()
    model = torch.zeros(algorithm.setting.layout.size)
    algorithm.setting.layout.views(model)["1.weight"].copy_(torch.tensor([0.5, -2.0, 0.0, 1.0]))
    algorithm.setting.layout.views(model)["0.weight"].fill_(7.0)
    (ranks,) = algorithm.channel_ranks(model).values()
    assert ranks.tolist() == [0.5, 2.0, 0.0, 1.0]


def test_channels_without_a_scale_are_ranked_by_the_norm_of_their_weights() -> None:
    """Weights of 5 x 5 and the bias of each channel; the units of fully connected layers are no channels."""
    algorithm = method(**{"model.name": "lenet_mnist", "data.image_size": 28})
    model = torch.randn(algorithm.setting.layout.size, generator=torch.Generator().manual_seed(0))
    views = algorithm.setting.layout.views(model)
    ranks = algorithm.channel_ranks(model)
    weights = {name: views[f"{name}.weight"] for name in ranks}
    assert all(weight.ndim == 4 for weight in weights.values())
    assert len(ranks) == 2
    for name, weight in weights.items():
        expected = weight.abs().sum(dim=(1, 2, 3)) + views[f"{name}.bias"].abs()
        assert torch.allclose(ranks[name], expected)


def test_clients_remove_channels_once_and_prune_a_tenth_of_the_weights_each_time() -> None:
    """Two of 4 channels: floor(.45 x 4) + 1. Of n weights, ceil(.1 (n - 1)), counted before the channels go."""
    algorithm = method(**{"sparsity.level": 0.9})
    seen = set()
    for before, after in states(play(experiment({**OPTIONS, "sparsity.level": 0.9}), 3)):
        removed = int(before.units.sum()) - int(after.units.sum())
        assert removed in (0, 2)
        seen.add(removed)
        assert int(after.units.sum()) >= 2
        assert not bool((after.units & ~before.units).any())
        assert not bool((after.mask & ~before.mask).any())
        num_weights = connected_weights(algorithm, before)
        own = replace(after, units=before.units)
        assert num_weights - connected_weights(algorithm, own) in (0, ceil(0.1 * (num_weights - 1)))
    assert seen == {0, 2}


def test_removed_channels_take_their_inputs_of_the_next_layer_with_them() -> None:
    algorithm = method()
    client = algorithm.init_client(0)
    client = replace(client, units=torch.tensor([True, False, False, True]))
    views = algorithm.setting.layout.views(alive(algorithm, client))
    for name in ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"):
        assert views[name].reshape(4, -1).any(1).tolist() == [True, False, False, True]
    columns = views["4.weight"].reshape(10, 4, 36)
    assert columns.all(dim=(0, 2)).tolist() == [True, False, False, True]
    assert not bool(columns[:, 1:3].any())


def test_last_pruning_removes_the_missing_share() -> None:
    """A target of 4 % of 1476 weights is below p: .04 of the 1440 connected ones, 58, and no more afterwards."""
    options = {"sparsity.level": 0.04, "algorithm.min_ratio": 1.0}
    algorithm = method(**options)
    counts = {
        connected_weights(algorithm, after)
        for _, after in states(play(experiment({**OPTIONS, **options}), 3))
    }
    assert counts <= {1440, 1440 - 58, 1440 - 58 - 2}
    assert 1440 - 58 in counts


@pytest.mark.parametrize(
    "closed",
    [
        {"algorithm.min_accuracy": 1.0},
        {"algorithm.min_distance": 1.0, "algorithm.min_channel_distance": 1.0},
        {"sparsity.level": 0.0, "algorithm.min_ratio": 1.0},
    ],
)
def test_method_that_never_prunes_equals_fedavg_with_equal_weights(closed: dict[str, object]) -> None:
    short = {**SHORT, "training.clients_per_round": 8, "training.rounds": 2}
    never = play(experiment({**OPTIONS, "training.rounds": 2, **closed}))
    plain = experiment(short)
    plain = replace(plain, algorithm=PlainMean(plain.algorithm.config, plain.setting))
    assert_same_params(never, play(plain))
    assert not torch.equal(
        never[-1].after.params, play(experiment({**OPTIONS, "training.rounds": 2}))[-1].after.params
    )


@pytest.mark.parametrize(
    ("closed", "channels", "weights"),
    [
        ({"algorithm.min_distance": 1.0}, True, False),
        ({"algorithm.min_channel_distance": 1.0}, False, True),
        ({"sparsity.level": 0.0}, True, False),
        ({"algorithm.min_ratio": 1.0}, False, True),
    ],
)
def test_channels_and_weights_have_their_own_conditions(
    closed: dict[str, object], channels: bool, weights: bool
) -> None:
    pairs = states(play(experiment({**OPTIONS, **closed}), 2))
    assert any(not bool(after.units.all()) for _, after in pairs) is channels
    assert any(not bool(after.mask.all()) for _, after in pairs) is weights


def test_server_averages_what_clients_have_and_keeps_the_rest() -> None:
    """Each entry is the mean over the uploads that contain it."""
    for played in play(experiment(OPTIONS), 2):
        total, count = (
            torch.zeros_like(played.after.params, dtype=torch.float64),
            torch.zeros(len(played.after.params)),
        )
        for model in played.models:
            assert model is not None
            assert model.mask is not None
            total += model.values.double() * model.mask
            count += model.mask
        expected = torch.where(count > 0, total / count.clamp(min=1), played.before.params.double())
        assert torch.allclose(played.after.params.double(), expected, atol=1e-6)


def test_client_receives_and_uploads_the_entries_of_its_model() -> None:
    algorithm = method()
    for played in play(experiment(OPTIONS), 3):
        for job, received, model, update in zip(
            played.jobs, played.received, played.models, played.updates, strict=True
        ):
            assert received is not None
            assert model is not None
            assert received.mask is not None
            assert model.mask is not None
            assert torch.equal(received.mask, alive(algorithm, job.client_state))
            assert torch.equal(received.values, played.before.params * received.mask)
            assert torch.equal(model.mask, alive(algorithm, update.client_state))


def test_bytes_of_every_message() -> None:
    """4 bytes an entry, headers of 36 or 84 bytes, and at most the bits of 1440 weights and 4 channels."""
    algorithm = method()
    for played in play(experiment(OPTIONS), 2):
        for job, update, down in zip(played.jobs, played.updates, played.download_bytes, strict=True):
            received, sent = (
                int(alive(algorithm, client).sum()) for client in (job.client_state, update.client_state)
            )
            assert down - 4 * received <= 60
            assert 0 < update.buffer.nbytes - 4 * sent <= 84 + 1440 // 8 + 1


def test_payload_with_wrong_bits_is_rejected() -> None:
    algorithm = method()
    client = algorithm.init_client(0)
    values = torch.zeros(algorithm.setting.layout.size).numpy()
    units, weights = Bits("units", client.units.numpy()), Bits("weights", client.mask[:1440].numpy())
    whole = algorithm.unpack((Dense("theta", values), units, weights), TASK, client)
    assert whole is not None
    assert torch.equal(torch.as_tensor(whole.mask), client.mask)
    for wrong in (
        (Dense("theta", values), units, Bits("weights", client.mask[:1439].numpy())),
        (Dense("theta", values[1:]), units, weights),
        (Dense("theta", values), Bits("units", client.units[:3].numpy()), weights),
        (Dense("theta", values[1:]),),
    ):
        with pytest.raises(WireError):
            algorithm.unpack(wrong, TASK, client)


def test_uploads_have_the_bits_of_all_clients_weights() -> None:
    for played in play(experiment(OPTIONS), 2):
        for payload, update in zip(played.payloads, played.updates, strict=True):
            assert torch.equal(torch.tensor(find_bits(payload, "units")), update.client_state.units)

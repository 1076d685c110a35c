"""FedBN: which entries clients keep, their training, and the average of the others."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from algorithms.fedbn import FedBN, FedBNConfig
from orchestrator.contract.checks import CHECKS
from orchestrator.contract.rounds import play
from orchestrator.federation.bases.personal_part import PersonalPart
from orchestrator.federation.plan import ClientTask
from tests.support.fakes import assert_same_params, experiment, make_run, make_setting, random_data, seeded
from tests.support.nets import batch_norm_mlp

SHAPE = (1, 3, 3)
TASK = ClientTask(round_idx=0, position=0, client_id=0)
#: 9 x 4 weights and 4 biases, then scale and shift, 4 x 3 weights and 3 biases, and the running statistics
SCALE, SHIFT, STATISTICS = slice(40, 44), slice(44, 48), slice(63, 71)
MODEL = {"model.name": "tests.support.models:normalised_maps"}


def _made(**options: object) -> FedBN:
    flat = seeded(batch_norm_mlp)
    setting = make_setting(flat, SHAPE, training={"batch_size": 4, "local_epochs": 2, "lr": 0.1})
    return FedBN(FedBNConfig.model_validate({"name": "fedbn", **options}), setting)


@pytest.mark.parametrize(
    ("local", "kept"), [("layers", (SCALE, SHIFT, STATISTICS)), ("statistics", (STATISTICS,))]
)
def test_clients_keep_batch_norm_and_nothing_else(local: str, kept: tuple[slice, ...]) -> None:
    expected = torch.ones(71, dtype=torch.bool)
    for entries in kept:
        expected[entries] = False
    assert torch.equal(_made(local=local).body_mask, expected)


def test_other_norms_are_averaged() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True, track_running_stats=True)
    )
    net.extend([nn.Flatten(), nn.LayerNorm(36), nn.Linear(36, 3)])
    flat = seeded(lambda: copy.deepcopy(net))
    algorithm = FedBN(FedBNConfig(name="fedbn"), make_setting(flat, SHAPE))
    assert bool(algorithm.body_mask.all())


def test_client_trains_all_entries_from_its_own_batch_norm() -> None:
    """Plain PyTorch: SGD with momentum on all parameters, from the server's layers and the client's batch norm."""
    algorithm, flat, oracle = _made(), seeded(batch_norm_mlp), seeded(batch_norm_mlp)
    own = torch.arange(16, dtype=torch.float32) / 8 + 0.5
    run = make_run(
        algorithm.setting,
        flat,
        random_data(8, SHAPE, 3),
        received=algorithm.unpack(
            algorithm.broadcast(algorithm.init(flat.values.clone())), TASK, algorithm.init_client(0)
        ),
        state=PersonalPart(values=own),
    )
    batches = [batch for epoch in run.batches() for batch in epoch]
    algorithm.client_update(run)
    for entries, values in ((SCALE, own[:4]), (SHIFT, own[4:8]), (STATISTICS, own[8:])):
        oracle.values[entries] = values
    oracle.module.train()
    training = algorithm.setting.training
    optimizer = torch.optim.SGD(oracle.module.parameters(), lr=0.1, momentum=training.momentum)
    for images, labels in batches:
        oracle.grad.zero_()
        torch.autograd.backward(cross_entropy(oracle.module(images), labels))
        optimizer.step()
    assert torch.allclose(run.values, oracle.values, rtol=1e-5, atol=1e-6)
    kept = torch.cat([run.values[SCALE], run.values[SHIFT], run.values[STATISTICS]])
    assert torch.equal(run.state.values, kept)


@pytest.mark.parametrize("local", ["layers", "statistics"])
def test_server_averages_the_body_by_samples_and_keeps_its_batch_norm(local: str) -> None:
    run = experiment({"algorithm.name": "fedbn", "algorithm.local": local, **MODEL})
    played = play(run, 2)[-1]
    assert isinstance(run.algorithm, FedBN)
    body, total, num = run.algorithm.body_mask, torch.zeros(run.setting.layout.size).double(), 0
    for update, model in zip(played.updates, played.models, strict=True):
        assert model is not None
        total += update.num_examples * model.values.double()
        num += update.num_examples
    assert torch.allclose(played.after.params[body], (total / num).float()[body], rtol=1e-6)
    initial: Tensor = torch.from_numpy(run.setting.initial)
    assert torch.equal(played.after.params[~body], initial[~body])
    states = [state.values for state in played.client_states.values()]
    assert len({values.numpy().tobytes() for values in states}) == len(states)


def test_model_without_batch_norm_gives_fedavg_and_a_warning() -> None:
    runs = [experiment({"algorithm.name": name}) for name in ("fedbn", "fedavg")]
    assert_same_params(play(runs[0], 3), play(runs[1], 3))
    (line,) = runs[0].warnings
    assert line == "the model has no batch norm: fedbn gives the same model as fedavg"
    assert experiment({"algorithm.name": "fedbn", **MODEL}).warnings == ()


@pytest.mark.parametrize("check", CHECKS)
def test_contract_with_batch_norm(check: str) -> None:
    CHECKS[check](experiment({"algorithm.name": "fedbn", **MODEL}))

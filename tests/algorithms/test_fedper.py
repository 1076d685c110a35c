"""FedPer: body and head train together, and the server averages the bodies by samples."""

import torch
from torch.nn.functional import cross_entropy

from algorithms.fedper import FedPer
from orchestrator.contract.rounds import play
from orchestrator.federation.bases.personal_head import PersonalHeadConfig
from tests.support.fakes import experiment, make_run, make_setting, random_data, seeded
from tests.support.nets import batch_norm_mlp

SHAPE = (1, 3, 3)


def test_client_trains_body_and_head_together() -> None:
    """Plain PyTorch: SGD with momentum on all parameters, two epochs in batches of 4."""
    flat, oracle = seeded(batch_norm_mlp), seeded(batch_norm_mlp)
    setting = make_setting(
        flat, SHAPE, training={"batch_size": 4, "local_epochs": 2, "lr": 0.1, "momentum": 0.9}
    )
    algorithm = FedPer(PersonalHeadConfig(name="fedper"), setting)
    run = make_run(setting, flat, random_data(8, SHAPE, 3), state=algorithm.init_client(0))
    batches = [batch for epoch in run.batches() for batch in epoch]
    algorithm.client_update(run)
    oracle.module.train()
    optimizer = torch.optim.SGD(oracle.module.parameters(), lr=0.1, momentum=0.9)
    for images, labels in batches:
        oracle.grad.zero_()
        torch.autograd.backward(cross_entropy(oracle.module(images), labels))
        optimizer.step()
    assert torch.allclose(run.values, oracle.values, rtol=1e-5, atol=1e-7)


def test_server_averages_bodies_by_samples() -> None:
    (played,) = play(experiment({"algorithm.name": "fedper"}), 1)
    algorithm = experiment({"algorithm.name": "fedper"}).algorithm
    assert isinstance(algorithm, FedPer)
    total, num_samples = torch.zeros(played.before.params.numel(), dtype=torch.float64), 0
    for update, model in zip(played.updates, played.models, strict=True):
        assert model is not None
        total += update.num_examples * model.values.double()
        num_samples += update.num_examples
    body = algorithm.body_mask
    assert torch.allclose(played.after.params[body], (total / num_samples).float()[body], rtol=1e-6)

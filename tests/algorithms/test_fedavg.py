"""FedAvg: the server's mean by hand, and its clients against plain PyTorch."""

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from orchestrator.contract.rounds import play
from orchestrator.federation.seeds import stream
from orchestrator.models.parameters import FlatModule
from tests.support.fakes import experiment


def test_server_takes_the_mean_weighted_by_samples() -> None:
    for played in play(experiment(), 2):
        sizes = [update.num_examples for update in played.updates]
        assert len(set(sizes)) == 3
        total = torch.zeros(played.before.params.numel(), dtype=torch.float64)
        for size, model in zip(sizes, played.models, strict=True):
            assert model is not None
            total += size * model.values.double()
        assert torch.equal(played.after.params, (total / sum(sizes)).float())


def test_client_trains_its_epochs_with_plain_sgd() -> None:
    """Two epochs over the client's own samples, in batches of 20, with momentum 0.9 at a rate of 0.05."""
    chosen = experiment()
    (played,) = play(chosen, 1)
    task = played.jobs[0].task
    rows, dataset = chosen.partition.train[task.client_id], chosen.dataset
    flat = FlatModule(chosen.build())
    flat.load(played.before.params)
    flat.module.train()
    optimizer = torch.optim.SGD(flat.module.parameters(), lr=0.05, momentum=0.9)
    rng = stream(chosen.config.seed, "client", 0, task.client_id, "batches")
    for _ in range(2):
        order = rows[rng.permutation(len(rows))]
        for batch in np.split(order, range(20, len(order), 20)):
            flat.grad.zero_()
            logits = flat.module(dataset.to_tensor(dataset.train_inputs[batch]))
            torch.autograd.backward(cross_entropy(logits, torch.from_numpy(dataset.train_labels[batch])))
            optimizer.step()
    model = played.models[0]
    assert model is not None
    assert torch.equal(model.values, flat.values)


def test_clients_keep_no_state_and_use_the_global_model() -> None:
    algorithm = experiment().algorithm
    assert algorithm.init_client(3) is None
    assert not algorithm.has_client_models
    assert not algorithm.traits.personal

"""The workload of the benchmarks of a round on pfl-research, in one process.

`python -m tests.benchmarks.peers` runs this file with the Python of an environment that has `pfl[pytorch]`. It prints
the seconds of each round as one JSON line.
"""

import itertools
import json
import os
import sys
import time

os.environ.setdefault("PFL_PYTORCH_DEVICE", "cpu")

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tests.benchmarks.plain_loop import PER_ROUND, SAMPLES, WORKLOAD, make_net
from tests.benchmarks.workload import BATCH, EPOCHS, LR, MOMENTUM, NUM_CLIENTS


class Net(nn.Module):
    """The network with the methods that pfl calls."""

    def __init__(self) -> None:
        super().__init__()
        self.net = make_net()

    def loss(self, images: Tensor, labels: Tensor, eval: bool = False) -> Tensor:
        """The mean cross-entropy."""
        self.train(not eval)
        return cross_entropy(self.net(images), labels)

    def metrics(self, images: Tensor, labels: Tensor) -> dict:
        """Nothing: the benchmark evaluates nothing."""
        return {}


class Clock(TrainingProcessCallback):
    """Notes when each round ends."""

    def __init__(self) -> None:
        self.marks = [time.perf_counter()]

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: PyTorchModel, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        """See TrainingProcessCallback."""
        self.marks.append(time.perf_counter())
        return False, Metrics()


def main() -> None:
    """Run the rounds that the first argument asks for, with as many torch threads as the second one."""
    num_rounds = int(sys.argv[1])
    torch.set_num_threads(int(sys.argv[2]))
    images, labels = (torch.from_numpy(array) for array in WORKLOAD.make_images())
    rng = np.random.default_rng(1)
    cohorts = (rng.choice(NUM_CLIENTS, PER_ROUND, replace=False).tolist() for _ in range(num_rounds))
    sampled = itertools.chain.from_iterable(cohorts)

    def samples_of(client: int) -> Dataset:
        rows = slice(int(client) * SAMPLES, (int(client) + 1) * SAMPLES)
        return Dataset(raw_data=[images[rows], labels[rows]])

    net, clock = Net(), Clock()
    model = PyTorchModel(
        model=net,
        local_optimizer_create=lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=MOMENTUM),
        central_optimizer=torch.optim.SGD(net.parameters(), lr=1.0),
    )
    backend = SimulatedBackend(
        training_data=FederatedDataset(make_dataset_fn=samples_of, user_sampler=lambda: next(sampled)),
        val_data=None,
    )
    FederatedAveraging().run(
        NNAlgorithmParams(
            central_num_iterations=num_rounds,
            evaluation_frequency=10**6,
            train_cohort_size=PER_ROUND,
            val_cohort_size=0,
        ),
        backend,
        model,
        NNTrainHyperParams(local_num_epochs=EPOCHS, local_learning_rate=LR, local_batch_size=BATCH),
        None,
        [clock],
    )
    print(json.dumps(np.diff(clock.marks).tolist()), flush=True)


if __name__ == "__main__":
    main()

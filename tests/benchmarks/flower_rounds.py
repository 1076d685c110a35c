"""The workload of the benchmarks of a round on Flower's simulation engine, with one core for each client.

`python -m tests.benchmarks.peers` runs this file with the Python of an environment that has `flwr[simulation]`. It
prints the seconds of each round as one JSON line.
"""

import json
import sys
import time

import numpy as np
import torch
from flwr.client import ClientApp, NumPyClient
from flwr.common import Context, ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.simulation import run_simulation

from tests.benchmarks.plain_loop import PER_ROUND, SAMPLES, WORKLOAD, make_net, train_plainly
from tests.benchmarks.workload import NUM_CLIENTS

IMAGES: list[torch.Tensor] = []
MARKS: list[float] = []


def arrays(net: torch.nn.Module) -> list[np.ndarray]:
    """The parameters of a module, as Flower sends them."""
    return [tensor.detach().numpy() for tensor in net.state_dict().values()]


class PlainClient(NumPyClient):
    """A client that trains as the plain loop does."""

    def __init__(self, client: int) -> None:
        if not IMAGES:
            torch.set_num_threads(1)
            IMAGES.extend(torch.from_numpy(array) for array in WORKLOAD.make_images())
        rows = slice(client * SAMPLES, (client + 1) * SAMPLES)
        self._images, self._labels, self._net = IMAGES[0][rows], IMAGES[1][rows], make_net()

    def fit(self, parameters: list[np.ndarray], config: dict) -> tuple[list[np.ndarray], int, dict]:
        """See NumPyClient."""
        names = self._net.state_dict()
        tensors = [torch.from_numpy(np.array(values)) for values in parameters]
        self._net.load_state_dict(dict(zip(names, tensors, strict=True)))
        train_plainly(self._net, self._images, self._labels)
        return arrays(self._net), SAMPLES, {}


class TimedFedAvg(FedAvg):
    """FedAvg that notes when each round starts and ends."""

    def configure_fit(self, *arguments: object, **options: object) -> list:
        """See FedAvg."""
        MARKS.append(time.perf_counter())
        return super().configure_fit(*arguments, **options)

    def aggregate_fit(self, *arguments: object, **options: object) -> tuple:
        """See FedAvg."""
        result = super().aggregate_fit(*arguments, **options)
        MARKS.append(time.perf_counter())
        return result


def main() -> None:
    """Run the rounds that the first argument asks for, on as many cores as the second one."""
    num_rounds, num_cores = int(sys.argv[1]), int(sys.argv[2])

    def server(context: Context) -> ServerAppComponents:
        strategy = TimedFedAvg(
            fraction_fit=PER_ROUND / NUM_CLIENTS,
            min_fit_clients=PER_ROUND,
            min_available_clients=NUM_CLIENTS,
            fraction_evaluate=0.0,
            initial_parameters=ndarrays_to_parameters(arrays(make_net())),
        )
        return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=num_rounds))

    def client(context: Context) -> object:
        return PlainClient(int(context.node_config["partition-id"])).to_client()

    run_simulation(
        ServerApp(server_fn=server),
        ClientApp(client_fn=client),
        num_supernodes=NUM_CLIENTS,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": num_cores},
        },
    )
    print(json.dumps([end - start for start, end in zip(MARKS[::2], MARKS[1::2], strict=True)]), flush=True)


if __name__ == "__main__":
    main()

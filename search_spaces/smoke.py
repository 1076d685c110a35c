"""Two short trials, FedDST and FedAvg, to check that sweeps work on this machine."""

from ray import tune

SPACE = {
    "algorithm.name": tune.grid_search(["feddst", "fedavg"]),
    "model.name": "mlp",
    "fleet.num_clients": 8,
    "training.clients_per_round": 4,
    "training.local_epochs": 2,
    "training.rounds": 6,
}

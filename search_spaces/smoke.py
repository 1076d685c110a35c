"""Two short trials, FedDST and FedAvg, to see that sweeps work here."""

from ray import tune

SPACE = {
    "algorithm.name": tune.grid_search(["feddst", "fedavg"]),
    "model.name": "mlp",
    "fleet.num_clients": 8,
    "training.clients_per_round": 4,
    "training.local_epochs": 2,
    "training.rounds": 6,
}

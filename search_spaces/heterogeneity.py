"""Methods on equal and unequal devices, with more and less equal data partitions (Dirichlet alpha)."""

from ray import tune

SPACE = {
    "algorithm.name": tune.grid_search(["fedavg", "feddst", "fedlps", "heterofl"]),
    "fleet.name": tune.grid_search(["uniform", "five-tier"]),
    "data.partition.kind": "dirichlet",
    "data.partition.alpha": tune.grid_search([0.1, 0.5, 5.0]),
}

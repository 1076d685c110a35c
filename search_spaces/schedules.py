"""Dynamic masks by sparsity schedule, readjustment interval and replaced fraction (alpha)."""

from ray import tune

#: FedSpa readjusts its masks in every round, FedDST at intervals
SPACE = {
    "algorithm": tune.grid_search(
        [
            {"name": "feddst", "readjust_every": 2},
            {"name": "feddst", "readjust_every": 5},
            {"name": "fedspa"},
        ]
    ),
    "algorithm.alpha": tune.grid_search([0.05, 0.2]),
    "training.lr": 0.05,
    "sparsity.level": 0.5,
    "sparsity.schedule": tune.grid_search(
        [
            {"kind": "constant"},
            {"kind": "linear", "final_level": 0.9},
            {"kind": "cubic", "final_level": 0.9},
            {"kind": "step", "final_level": 0.9},
        ]
    ),
}

MUTATIONS = {
    "training.lr": tune.loguniform(0.005, 0.2),
    "algorithm.alpha": tune.uniform(0.01, 0.5),
}

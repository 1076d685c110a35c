"""FedDST's learning rate, replaced fraction, readjustment interval and final sparsity."""

from ray import tune

SPACE = {
    "algorithm.name": "feddst",
    "training.lr": tune.loguniform(0.005, 0.2),
    "algorithm.alpha": tune.uniform(0.01, 0.5),
    "algorithm.readjust_every": tune.choice([1, 2, 5, 10]),
    "sparsity.level": 0.5,
    "sparsity.schedule.kind": tune.choice(["linear", "cosine", "cubic"]),
    "sparsity.schedule.final_level": tune.uniform(0.6, 0.95),
}

MUTATIONS = {
    "training.lr": tune.loguniform(0.005, 0.2),
    "sparsity.schedule.final_level": tune.uniform(0.6, 0.95),
    "sparsity.schedule.kind": ["linear", "cosine", "cubic"],
}

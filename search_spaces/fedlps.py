"""FedLPS's importance learning rate and decay, on unequal devices with fixed or learned keep ratios."""

from ray import tune

SPACE = {
    "algorithm.name": "fedlps",
    "fleet.name": "five-tier",
    "training.lr": tune.loguniform(0.01, 0.2),
    "algorithm.ratio_policy": tune.choice(["p_ucbv", "capability"]),
    "algorithm.importance_lr": tune.loguniform(0.1, 10.0),
    "algorithm.importance_decay": tune.uniform(0.0, 0.5),
    "algorithm.prior": tune.choice([0.0, 0.5, 1.0]),
}

MUTATIONS = {
    "training.lr": tune.loguniform(0.01, 0.2),
    "algorithm.importance_lr": tune.loguniform(0.1, 10.0),
}

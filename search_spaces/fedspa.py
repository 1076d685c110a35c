"""FedSpa's sparsity level, replaced fraction, growth rule and learning rate."""

from ray import tune

SPACE = {
    "algorithm.name": "fedspa",
    "training.lr": tune.loguniform(0.005, 0.2),
    "algorithm.alpha": tune.uniform(0.05, 0.6),
    "algorithm.growth": tune.choice(["gradient", "random"]),
    "algorithm.agg_weight": tune.choice(["uniform", "samples"]),
    "sparsity.level": tune.choice([0.3, 0.5, 0.7, 0.9]),
}

MUTATIONS = {"training.lr": tune.loguniform(0.005, 0.2), "algorithm.alpha": tune.uniform(0.05, 0.6)}

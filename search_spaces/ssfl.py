"""SSFL's mask variant, sparsity level, saliency options and learning rate."""

from ray import tune

SPACE = {
    "algorithm.name": "ssfl",
    "training.lr": tune.loguniform(0.005, 0.2),
    "algorithm.variant": tune.choice(["saliency", "random_global", "random_layerwise"]),
    "algorithm.warmup_rounds": tune.choice([0, 2]),
    "algorithm.saliency_batches": tune.choice([1, 4]),
    "sparsity.level": tune.choice([0.5, 0.7, 0.9]),
}

MUTATIONS = {"training.lr": tune.loguniform(0.005, 0.2)}

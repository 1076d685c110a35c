"""Sparse methods by sparsity level and by the allocation of the density to the layers."""

from ray import tune

SPACE = {
    "algorithm.name": tune.grid_search(["feddst", "fedspa", "randommask"]),
    "sparsity.level": tune.grid_search([0.5, 0.8, 0.9, 0.95]),
    "sparsity.allocation": tune.grid_search(["uniform", "erk", "erk_rescaled"]),
}

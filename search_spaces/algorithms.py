"""Every method at its defaults, over three seeds."""

from ray import tune

SPACE = {
    "algorithm.name": tune.grid_search(["fedavg", "fedavgm", "fedprox", "randommask", "feddst"]),
    "seed": tune.grid_search([0, 1, 2]),
}

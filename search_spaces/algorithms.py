"""All methods with their default options."""

from ray import tune

SPACE = {
    "algorithm.name": tune.grid_search(
        [
            "feddst",
            "fedspa",
            "ssfl",
            "fedlps",
            "fedlps_as_coded",
            "fedavg",
            "fedavg_ft",
            "fedavgm",
            "fedprox",
            "ditto",
            "local",
            "randommask",
            "snip",
            "prunefl",
            "lotteryfl",
            "subfedavg",
            "fedpm",
            "topk",
            "heterofl",
            "fedrolex",
            "fjord",
        ]
    ),
}

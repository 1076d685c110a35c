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
            "fedadam",
            "fedyogi",
            "scaffold",
            "feddyn",
            "ditto",
            "fedrep",
            "fedper",
            "perfedavg",
            "pfedme",
            "apfl",
            "local",
            "randommask",
            "snip",
            "grasp",
            "prunefl",
            "lotteryfl",
            "subfedavg",
            "fedpm",
            "flash",
            "feddip",
            "compsparse",
            "dispfl",
            "topk",
            "stc",
            "hermes",
            "fedmp",
            "heterofl",
            "fedrolex",
            "fjord",
        ]
    ),
}

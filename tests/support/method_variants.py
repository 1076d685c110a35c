"""Every registered method, and variants of methods with other options than the defaults."""

from collections.abc import Mapping

from orchestrator.experiment.methods import algorithm_names

NAMES = sorted(algorithm_names())
#: method and options of each variant
VARIANTS: dict[str, tuple[str, Mapping[str, object]]] = {
    **{name: (name, {}) for name in NAMES},
    "randommask, random": ("randommask", {"algorithm.criterion": "random", "sparsity.level": 0.95}),
    "feddst, as the public code": (
        "feddst",
        {
            "algorithm.adjust_after_epoch": 2,
            "algorithm.grow_over_all": True,
            "algorithm.constant_alpha": True,
        },
    ),
    "feddst, schedule": (
        "feddst",
        {"sparsity.schedule.kind": "cubic", "sparsity.schedule.final_level": 0.95, "algorithm.alpha": 0.3},
    ),
    "feddst, vision transformer": ("feddst", {"model.name": "vit"}),
    "grasp, vision transformer": ("grasp", {"model.name": "vit"}),
    "heterofl, attention heads": ("heterofl", {"model.name": "vit", "fleet.name": "five-tier"}),
    "fedlps, attention heads": ("fedlps", {"model.name": "vit", "fleet.name": "five-tier"}),
    "feddst, running statistics": ("feddst", {"model.name": "tests.support.fakes:normalised_net"}),
    "fedavgm, running statistics": ("fedavgm", {"model.name": "tests.support.fakes:normalised_net"}),
    "perfedavg, hessian-free": ("perfedavg", {"algorithm.meta_gradient": "hessian_free"}),
    "pfedme, running statistics": ("pfedme", {"model.name": "tests.support.fakes:normalised_net"}),
    "fedrep, running statistics": ("fedrep", {"model.name": "tests.support.fakes:normalised_net"}),
    "lotteryfl": ("lotteryfl", {"data.validation_fraction": 0.3}),
    "lotteryfl, device levels": (
        "lotteryfl",
        {
            "data.validation_fraction": 0.3,
            "algorithm.min_accuracy": 0.0,
            "algorithm.prune_share": 0.5,
            "fleet.name": "five-tier",
            "sparsity.device_levels.tier-1-1": 0.2,
            "model.name": "tests.support.fakes:normalised_net",
        },
    ),
    "subfedavg": ("subfedavg", {"data.validation_fraction": 0.3}),
    "subfedavg, one epoch": (
        "subfedavg",
        {
            "data.validation_fraction": 0.3,
            "training.local_epochs": 1,
            "algorithm.min_accuracy": 0.1,
            "algorithm.count_all": True,
        },
    ),
    "prunefl": ("prunefl", {"algorithm.initial_iterations": 20, "algorithm.initial_adjust_every": 5}),
    "prunefl, stale and capped": (
        "prunefl",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "algorithm.initial_pruning": False,
            "algorithm.adjust_every": 1,
            "algorithm.regrow": "stale",
            "sparsity.level": 0.2,
            "sparsity.schedule.kind": "linear",
            "sparsity.schedule.final_level": 0.6,
        },
    ),
    "prunefl, mask alone": (
        "prunefl",
        {
            "algorithm.initial_iterations": 10,
            "algorithm.initial_adjust_every": 2,
            "algorithm.initial_weights": "initial",
            "algorithm.adjust_every": 2,
        },
    ),
    "heterofl, five tiers": ("heterofl", {"fleet.name": "five-tier", "training.weight_decay": 0.01}),
    "heterofl, running statistics": (
        "heterofl",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "fleet.name": "five-tier",
            "algorithm.masked_loss": False,
            "algorithm.agg_weight": "samples",
        },
    ),
    "heterofl, bandit": (
        "heterofl",
        {
            "algorithm.ratio_policy": "p_ucbv",
            "algorithm.smallest_ratio": 0.1,
            "training.clients_per_round": 6,
        },
    ),
    "fedrolex, fixed ratio": ("fedrolex", {"algorithm.ratio_policy": "fixed", "algorithm.ratio": 0.3}),
    "fedrolex, random": (
        "fedrolex",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "algorithm.offset": "random",
            "fleet.name": "five-tier",
            "training.with_replacement": True,
            "training.clients_per_round": 6,
        },
    ),
    "fjord, five tiers": ("fjord", {"fleet.name": "five-tier", "algorithm.widths": "[0.25, 0.5, 1.0]"}),
    "fjord, distilled": (
        "fjord",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "algorithm.distill": True,
            "algorithm.temperature": 2.0,
        },
    ),
    "fedspa, static masks": (
        "fedspa",
        {
            "algorithm.variant": "rsm",
            "algorithm.agg_weight": "samples",
            "fleet.name": "five-tier",
            "sparsity.device_levels.tier-1-1": 0.2,
        },
    ),
    "fedspa, schedule": (
        "fedspa",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "algorithm.growth": "random",
            "algorithm.mask_seed": "per_client",
            "algorithm.mu": 0.1,
            "sparsity.schedule.kind": "linear",
            "sparsity.schedule.final_level": 0.8,
        },
    ),
    "fedspa, sampled twice": (
        "fedspa",
        {
            "algorithm.growth_batches": 2,
            "sparsity.allocation": "erk",
            "training.with_replacement": True,
            "training.clients_per_round": 6,
        },
    ),
    "ssfl, after a warm-up": (
        "ssfl",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "algorithm.warmup_rounds": 2,
            "algorithm.saliency_batches": 2,
            "algorithm.score_weight": "uniform",
            "algorithm.score_mode": "train",
        },
    ),
    "ssfl, random": ("ssfl", {"algorithm.variant": "random_global", "algorithm.warmup_rounds": 1}),
    "ssfl, random in each layer": ("ssfl", {"algorithm.variant": "random_layerwise"}),
    "ssfl, random for each client": (
        "ssfl",
        {"algorithm.variant": "random_clientwise", "model.name": "tests.support.fakes:normalised_net"},
    ),
    "snip, first round": ("snip", {"algorithm.score_from": "first_round"}),
    "snip, all clients": (
        "snip",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "algorithm.score_from": "all_clients",
            "algorithm.batches": 3,
            "sparsity.level": 0.95,
        },
    ),
    "fedlps, best of three epochs": (
        "fedlps",
        {
            "fleet.name": "five-tier",
            "training.local_epochs": 3,
            "algorithm.importance_lr": 30.0,
            "algorithm.importance_decay": 0.5,
        },
    ),
    "fedlps, magnitude": (
        "fedlps",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "fleet.name": "five-tier",
            "algorithm.pattern": "magnitude",
            "algorithm.ratio_policy": "capability",
            "algorithm.average": "mean_delta",
            "algorithm.keep": "last",
        },
    ),
    "fedlps, ordered": (
        "fedlps",
        {"algorithm.pattern": "ordered", "algorithm.ratio_policy": "fixed", "algorithm.ratio": 0.2},
    ),
    "fedlps, random": (
        "fedlps",
        {"algorithm.pattern": "random", "fleet.name": "five-tier", "algorithm.smallest_ratio": 0.25},
    ),
    "fedlps, residual": (
        "fedlps",
        {"model.name": "tests.support.nets:residual", "algorithm.average": "mean_delta"},
    ),
    "fedlps, recurrent": (
        "fedlps",
        {
            "model.name": "tests.support.nets:row_lstm",
            "fleet.name": "five-tier",
            "training.with_replacement": True,
            "training.clients_per_round": 6,
        },
    ),
    "fedlps_as_coded, without noise": (
        "fedlps_as_coded",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "fleet.name": "five-tier",
            "algorithm.noise": 0.0,
        },
    ),
    "fedlps_as_coded, recurrent": (
        "fedlps_as_coded",
        {
            "model.name": "tests.support.nets:row_lstm",
            "algorithm.penalty": 0.1,
            "training.with_replacement": True,
            "training.clients_per_round": 6,
        },
    ),
    "local, sampled": ("local", {"algorithm.participation": "sampled"}),
    "ditto, running statistics": (
        "ditto",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "algorithm.personal_epochs": 1,
            "algorithm.lam": 0.5,
        },
    ),
    "fedmask, running statistics": (
        "fedmask",
        {"model.name": "tests.support.fakes:normalised_net", "sparsity.level": 0.25},
    ),
    "fedpm, running statistics": (
        "fedpm",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "algorithm.estimator": "straight_through",
            "algorithm.reset_every": 2,
        },
    ),
    "topk, layer by layer": (
        "topk",
        {
            "algorithm.scope": "layer",
            "algorithm.residual": "discount",
            "sparsity.level": 0.9,
            "sparsity.schedule.kind": "linear",
            "sparsity.schedule.final_level": 0.5,
        },
    ),
    "topk, running statistics": (
        "topk",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "algorithm.residual": "drop",
            "algorithm.max_missed": 0,
        },
    ),
    "stc, layer by layer": (
        "stc",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "algorithm.scope": "layer",
            "algorithm.agg_weight": "samples",
            "training.with_replacement": True,
            "training.clients_per_round": 6,
        },
    ),
    "stc, values": ("stc", {"algorithm.ternary": False, "wire.value_dtype": "float16"}),
    "grasp, all clients": (
        "grasp",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "algorithm.score_from": "all_clients",
            "algorithm.batches": 2,
        },
    ),
    "flash, masks that change": (
        "flash",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "algorithm.variant": "jmwst",
            "algorithm.update_interval": 2,
        },
    ),
    "flash, nested masks": (
        "flash",
        {
            "algorithm.variant": "jmwst",
            "training.local_epochs": 1,
            "fleet.name": "five-tier",
            "sparsity.device_levels.tier-1-16": 0.9,
        },
    ),
    "compsparse, schedule": (
        "compsparse",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "sparsity.schedule.kind": "linear",
            "sparsity.schedule.final_level": 0.8,
        },
    ),
    "feddip, growing sparsity": (
        "feddip",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "algorithm.interval": 2,
            "algorithm.num_steps": 2,
            "sparsity.schedule.kind": "cubic",
            "sparsity.schedule.final_level": 0.9,
        },
    ),
    "feddip, inside the mask": ("feddip", {"algorithm.feedback": False, "algorithm.interval": 1}),
    "hermes": (
        "hermes",
        {"data.validation_fraction": 0.3, "algorithm.min_accuracy": 0.1, "algorithm.min_ratio": 0.3},
    ),
    "subfedavg_hybrid": ("subfedavg_hybrid", {"data.validation_fraction": 0.3}),
    "subfedavg_hybrid, running statistics": (
        "subfedavg_hybrid",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "data.validation_fraction": 0.3,
            "algorithm.min_accuracy": 0.0,
            "algorithm.min_distance": 0.0,
        },
    ),
    "subfedavg_hybrid, vision transformer": (
        "subfedavg_hybrid",
        {"model.name": "vit", "data.validation_fraction": 0.3, "algorithm.min_accuracy": 0.0},
    ),
    "subfedavg_hybrid, one epoch, device levels": (
        "subfedavg_hybrid",
        {
            "data.validation_fraction": 0.3,
            "algorithm.min_accuracy": 0.0,
            "training.local_epochs": 1,
            "fleet.name": "five-tier",
            "sparsity.device_levels.tier-1-1": 0.2,
        },
    ),
    "hermes, running statistics": (
        "hermes",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "data.validation_fraction": 0.3,
            "algorithm.min_accuracy": 0.0,
            "algorithm.prune_share": 0.5,
            "algorithm.min_ratio": 0.25,
        },
    ),
    "zerofl, largest weights": (
        "zerofl",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "algorithm.rank": "weights",
            "algorithm.average": "covered",
            "sparsity.level": 0.7,
        },
    ),
    "sparsyfed, running statistics": (
        "sparsyfed",
        {"model.name": "tests.support.fakes:normalised_net", "algorithm.beta": 2.0},
    ),
    "spafl, running statistics": (
        "spafl",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "algorithm.penalty": 0.5,
            "training.clip_norm": 1.0,
        },
    ),
    "fedtiny, running statistics": (
        "fedtiny",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "algorithm.interval": 1,
            "algorithm.unit": "layer",
        },
    ),
    "fedtiny, mask that moves": ("fedtiny", {"algorithm.interval": 1, "algorithm.stop_round": 4}),
    "dispfl, ring": (
        "dispfl",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "fleet.name": "five-tier",
            "sparsity.device_levels.tier-1-1": 0.2,
            "algorithm.topology": "ring",
            "algorithm.growth": "random",
            "algorithm.same_masks": True,
        },
    ),
    "fedmp, sampled twice": (
        "fedmp",
        {
            "model.name": "tests.support.fakes:normalised_net",
            "fleet.name": "five-tier",
            "training.with_replacement": True,
            "training.clients_per_round": 6,
        },
    ),
    "fedprox, sampled twice": (
        "fedprox",
        {"training.with_replacement": True, "training.clients_per_round": 6},
    ),
}

"""FedDST on the nets of its paper: weights per layer at every stage, bytes and FLOPs, against published counts.

The counts were observed by running the authors' public code (github.com/bibikar/feddst).
"""

from collections.abc import Mapping
from functools import cache

import pytest
import torch
from torch import Tensor

from algorithms.fedavg import FedAvg
from algorithms.feddst import FedDST, FedDSTConfig
from orchestrator.config.sections import AlgorithmConfig
from orchestrator.federation.aggregate import Contribution
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.exchange import ModelValues, known_masks
from orchestrator.models.architectures.cnn import lenet_cifar, lenet_cifar100, lenet_mnist
from orchestrator.models.parameters import FlatModule
from orchestrator.sparsity.wire import encode, section_bytes
from tests.support.fakes import (
    make_run,
    make_setting,
    random_data,
    seeded,
)
from tests.support.masks import gaps_bytes

GREY, COLOUR = (1, 28, 28), (3, 32, 32)
NETS = {
    "MNIST": (lenet_mnist, GREY, 10),
    "CIFAR-10": (lenet_cifar, COLOUR, 10),
    "CIFAR-100": (lenet_cifar100, COLOUR, 100),
}
#: per layer: conv1, conv2, fc1, ...
COUNTS = {
    ("MNIST", 0.5): [138, 2478, 128021, 280],
    ("MNIST", 0.8): [65, 953, 51204, 143],
    ("MNIST", 0.9): [41, 445, 25599, 97],
    ("CIFAR-10", 0.5): [235, 1213, 383943, 5140, 469],
    ("CIFAR-10", 0.8): [103, 492, 153438, 2126, 240],
    ("CIFAR-10", 0.9): [59, 251, 76602, 1122, 164],
    ("CIFAR-10", 0.95): [37, 131, 38185, 619, 126],
    ("CIFAR-100", 0.5): [235, 1213, 383987, 6108],
}


@cache
def net(name: str) -> FlatModule:
    build, shape, num_classes = NETS[name]
    return seeded(lambda: build(shape, num_classes))


def method(name: str, level: float, alpha: float, epochs: int = 2) -> FedDST:
    setting = make_setting(
        net(name),
        NETS[name][1],
        training={"local_epochs": epochs, "batch_size": 2, "lr": 0.01, "rounds": 10},
        sparsity={"level": level},
    )
    options: Mapping[str, object] = {"name": "feddst", "alpha": alpha, "constant_alpha": True}
    return FedDST(FedDSTConfig.model_validate(options), setting)


def initial(name: str, algorithm: FedDST) -> tuple[ServerState, Tensor]:
    state = algorithm.init(seeded_values(name))
    assert state.mask is not None
    return state, state.mask


@cache
def seeded_values(name: str) -> Tensor:
    build, shape, num_classes = NETS[name]
    return seeded(lambda: build(shape, num_classes)).values


def readjusted(name: str, algorithm: FedDST, client_id: int) -> tuple[Tensor, Tensor]:
    """Values and mask that a client uploads in round 1, the first round that readjusts."""
    state, mask = initial(name, algorithm)
    data = random_data(2, NETS[name][1], NETS[name][2], seed=client_id)
    run = make_run(algorithm.setting, net(name), data, received=ModelValues(state.params, mask), round_idx=1)
    algorithm.client_update(run)
    assert run.mask is not None
    return run.values.clone(), run.mask


@pytest.mark.parametrize(("name", "level"), COUNTS)
def test_every_layer_has_its_count_after_init_readjustment_and_server(name: str, level: float) -> None:
    algorithm = method(name, level, alpha=0.05)
    layout, expected = algorithm.setting.layout, COUNTS[name, level]
    state, mask = initial(name, algorithm)
    assert list(layout.active(mask).values()) == expected

    aggregator = algorithm.aggregator()
    for client_id in range(2):
        values, own = readjusted(name, algorithm, client_id)
        assert list(layout.active(own).values()) == expected
        assert not torch.equal(own, mask)
        assert int(values[~own].count_nonzero()) == 0
        aggregator.add(contribution(client_id + 1, values, own, state.params))
    after = algorithm.server_update(state, aggregator.finish(state.params), 1)
    assert after.mask is not None
    assert list(layout.active(after.mask).values()) == expected


def contribution(weight: float, values: Tensor, mask: Tensor, start: Tensor) -> Contribution:
    return Contribution(client_id=0, weight=weight, values=values, mask=mask, start=start)


@pytest.mark.parametrize(
    ("name", "level", "alpha", "expected", "total"),
    [
        ("CIFAR-10", 0.8, 0.01, [1, 5, 1537, 20, 1], 1564),
        ("MNIST", 0.8, 0.05, [2, 50, 2560, 5], 2617),
        ("MNIST", 0.8, 0.01, [0, 10, 512, 1], 523),
        ("CIFAR-10", 0.5, 0.01, [2, 12, 3841, 50, 4], 3909),
    ],
)
def test_share_alpha_of_each_layer_is_dropped_and_grown(
    name: str, level: float, alpha: float, expected: list[int], total: int
) -> None:
    """After the last epoch, grown weights are those that are 0 inside the mask.

    They are a share alpha of the active weights, to within one a layer.
    """
    algorithm = method(name, level, alpha, epochs=1)
    values, mask = readjusted(name, algorithm, 0)
    _, before = initial(name, algorithm)
    layout = algorithm.setting.layout
    grown = mask & (values == 0) & ~layout.expand(torch.zeros(layout.num_maskable, dtype=torch.bool))
    assert [int(grown[s.slice].sum()) for s in layout.maskable] == expected
    survived = before & mask & (values != 0)
    dropped = [
        n - int(survived[s.slice].sum()) for n, s in zip(COUNTS[name, level], layout.maskable, strict=True)
    ]
    assert dropped == expected
    assert sum(dropped) == total
    assert abs(total - alpha * sum(COUNTS[name, level])) < len(expected)


@pytest.mark.parametrize(
    ("name", "level", "dense_bytes", "sparse_bytes", "bitmap_bytes"),
    [
        ("MNIST", 0.8, 1_047_360, 209_820, None),
        ("CIFAR-10", 0.8, 3_128_024, 626_540, None),
        ("CIFAR-100", 0.5, 3_132_368, 1_567_140, 97_857),
    ],
)
def test_bytes_per_client(
    name: str, level: float, dense_bytes: int, sparse_bytes: int, bitmap_bytes: int | None
) -> None:
    """4 bytes for each weight inside the mask and each bias.

    A mask that the client does not have has ceil(W / 8) bytes, or the bytes of its gaps at a density of 0.2.
    """
    algorithm = method(name, level, alpha=0.05)
    state, mask = initial(name, algorithm)
    known = {"theta": algorithm.setting.layout.restrict(mask).numpy()}
    (dense,) = section_bytes(encode(algorithm.broadcast(ServerState(params=state.params))))
    (first,) = section_bytes(encode(algorithm.broadcast(state)))
    (later,) = section_bytes(encode(algorithm.broadcast(state), known_masks=known))
    assert (dense.value_bytes, dense.mask_bytes) == (dense_bytes, 0)
    mask_bytes = gaps_bytes(known["theta"]) if bitmap_bytes is None else bitmap_bytes
    assert (first.value_bytes, first.mask_bytes) == (sparse_bytes, mask_bytes)
    assert first.mask_coding == ("gaps" if bitmap_bytes is None else "bitmap")
    assert (later.value_bytes, later.mask_bytes) == (sparse_bytes, 0)


def uploaded_value_bytes(algorithm: Algorithm[ServerState, None], name: str) -> int:
    """Value bytes of an upload in round 0, in which FedDST does not readjust."""
    state = algorithm.init(seeded_values(name))
    data = random_data(2, NETS[name][1], NETS[name][2])
    run = make_run(algorithm.setting, net(name), data, received=ModelValues(state.params, state.mask))
    known = known_masks(algorithm.setting.layout, state.mask)
    (sections,) = section_bytes(encode(algorithm.client_update(run).payload, known_masks=known))
    assert sections.mask_bytes == 0
    return sections.value_bytes


@pytest.mark.parametrize(
    ("name", "level", "megabytes", "gibibytes", "rounds_within"),
    [
        (
            "MNIST",
            0.8,
            (20.947, 4.196),
            (7.803, 1.563),
            {1: (51, 256), 2: (103, 512), 4: (205, 1023)},
        ),
        (
            "CIFAR-10",
            0.8,
            (62.560, 12.531),
            (23.306, 4.668),
            {4: (69, 343), 8: (137, 686), 12: (206, 1028), 16: (275, 1371)},
        ),
        (
            "CIFAR-100",
            0.5,
            (62.647, 31.343),
            (23.338, 11.676),
            {4: (69, 137), 8: (137, 274), 12: (206, 411), 16: (274, 548)},
        ),
    ],
)
def test_uploads_of_whole_runs(
    name: str,
    level: float,
    megabytes: tuple[float, float],
    gibibytes: tuple[float, float],
    rounds_within: Mapping[int, tuple[int, int]],
) -> None:
    """Bytes of values, dense and sparse.

    MB a round of 20 clients, GiB in 400 rounds, and the nearest round to a GiB cap.
    """
    feddst = method(name, level, alpha=0.05)
    dense = FedAvg(AlgorithmConfig(name="fedavg"), make_setting(net(name), NETS[name][1]))
    for i, algorithm in enumerate((dense, feddst)):
        round_bytes = 20 * uploaded_value_bytes(algorithm, name)
        assert round(round_bytes / 1e6, 3) == megabytes[i]
        assert round(400 * round_bytes / 2**30, 3) == gibibytes[i]
        for cap_gib, rounds in rounds_within.items():
            assert round(cap_gib * 2**30 / round_bytes) == rounds[i]


def test_very_sparse_mask_costs_less_than_a_bitmap() -> None:
    """At a density of 0.05 the mean gap is 19, so that each gap has at least 5 bits."""
    algorithm = method("CIFAR-10", 0.95, alpha=0.05)
    state, _ = initial("CIFAR-10", algorithm)
    (sections,) = section_bytes(encode(algorithm.broadcast(state)))
    nnz = sum(COUNTS["CIFAR-10", 0.95])
    assert sections.mask_coding == "gaps"
    assert 5 * nnz / 8 <= sections.mask_bytes < 97_722 / 3


@pytest.mark.parametrize(
    ("name", "level", "dense_macs", "sparse_macs", "percent"),
    [
        ("MNIST", 0.8, 2_020_500, 397_559, 19.7),
        ("CIFAR-10", 0.8, 2_293_320, 474_684, 20.7),
        ("CIFAR-100", 0.5, 2_294_400, 1_161_427, 50.6),
    ],
)
def test_flops_per_sample(name: str, level: float, dense_macs: int, sparse_macs: int, percent: float) -> None:
    algorithm = method(name, level, alpha=0.05)
    _, mask = initial(name, algorithm)
    cost = algorithm.setting.cost
    assert cost.forward_flops() == 2 * dense_macs
    assert cost.forward_flops(algorithm.setting.layout.active(mask)) == 2 * sparse_macs
    assert round(100 * sparse_macs / dense_macs, 1) == percent

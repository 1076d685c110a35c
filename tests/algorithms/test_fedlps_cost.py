"""FedLPS's cost model: what its code counts for its nets, from this project's counts, and how cost follows the ratio.

Its code counts a step as three forward passes of two operations a multiply-accumulate, as here, but adds one
operation for each output of a layer with a bias, and takes a last partial batch for a full one. Seconds are at 744,448
MFLOP/s and 14 MiB/s up, the five-tier fleet's first tier.
"""

from itertools import pairwise
from math import ceil

import pytest

from orchestrator.contract.rounds import play
from orchestrator.fleet.clock import client_time
from orchestrator.fleet.registry import get_fleet
from orchestrator.models.cost import measure_cost
from orchestrator.models.parameters import ParameterLayout
from orchestrator.models.registry import resolve_builder
from orchestrator.models.shapes import TextShape
from tests.support.fakes import experiment
from tests.support.published_nets import reddit_lstm

NETS = "tests.support.published_nets"
RATIOS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)


def is_printed_as(value: float, printed: str) -> bool:
    """Whether the value, rounded to the printed digits, is that number."""
    return f"{value:.{len(printed.partition('.')[2])}f}" == printed


@pytest.mark.parametrize(
    ("net", "num_images", "batch_size", "num_parameters", "size_mib", "mflop", "compute_s", "upload_s"),
    [
        (("cnn_mnist", (1, 28, 28), 10), 180, 32, 21_840, "0.0833", "2788.128000", "0.0037", "0.006"),
        (("vgg11", (3, 32, 32), 10), 180, 20, 9_231_114, "35.21", "825365", "1.109", "2.52"),
        ((f"{NETS}:vgg13", (3, 32, 32), 100), 180, 20, 9_462_180, "36.10", "1233566", "1.657", "2.58"),
        ((f"{NETS}:vgg16", (3, 64, 64), 200), 720, 20, 15_132_936, "57.73", "27080975", "36.4", "4.12"),
    ],
)
def test_dense_round_of_fedlps_nets(
    net: tuple[str, tuple[int, ...], int],
    num_images: int,
    batch_size: int,
    num_parameters: int,
    size_mib: str,
    mflop: str,
    compute_s: str,
    upload_s: str,
) -> None:
    """Five epochs over the training images: 6 batches of 32, 9 of 20, or 36 of 20."""
    name, shape, num_classes = net
    module = resolve_builder(name)(shape, num_classes)
    layout = ParameterLayout.of(module)
    cost = measure_cost(module, layout, shape)
    with_bias = {s.name.removesuffix("bias") + "weight": s.size for s in layout.segments if s.kind == "bias"}
    bias_additions = sum(size * cost.positions[weight] for weight, size in with_bias.items())
    per_image = 3 * (cost.forward_flops() + bias_additions)
    round_flops = 5 * ceil(num_images / batch_size) * batch_size * per_image
    assert layout.size == num_parameters
    assert is_printed_as(4 * layout.size / 2**20, size_mib)
    assert is_printed_as(round_flops / 1e6, mflop)
    time = client_time(
        get_fleet("five-tier").profiles[0],
        download_bytes=0,
        train_flops=round_flops,
        unmasked_flops=round_flops,
        upload_bytes=4 * layout.size,
    )
    assert is_printed_as(time.compute_s, compute_s)
    assert is_printed_as(time.upload_s, upload_s)


def test_batch_of_fedlps_net_for_reddit() -> None:
    """Five sentences of 9 words. Here every weight is used once a word, the table only as the tied decoder.

    Its code counts one of the 9 steps of an LSTM layer, one sentence and step of the decoder, and charges the table
    for 9 products, whatever the number of sentences: 145.04 MFLOP instead of 764.57.
    """
    module = reddit_lstm(TextShape((9,)), 10_000)
    layout = ParameterLayout.of(module)
    cost = measure_cost(module, layout, TextShape((9,)))
    assert is_printed_as(5 * cost.training_flops() / 1e6, "764.57")
    biases = {s.name: s.size for s in layout.segments if s.kind == "bias"}
    decoder_bias = biases.pop("decoder.bias")
    table = 2 * cost.sizes["embedding.weight"]
    lstm_step = cost.forward_flops() / 9 - table + sum(biases.values())
    forward = 5 * lstm_step + 9 * table + (table + decoder_bias)
    assert is_printed_as(3 * forward / 1e6, "145.04")
    assert layout.size == 2_845_392
    assert is_printed_as(4 * layout.size / 2**20, "10.85")
    fastest = get_fleet("five-tier").profiles[0]
    time = client_time(
        fastest, download_bytes=0, train_flops=0, unmasked_flops=0, upload_bytes=4 * layout.size
    )
    assert is_printed_as(time.upload_s, "0.78")


def test_fedlps_devices() -> None:
    """MFLOP/s by capability, in equal shares. MiB/s up and down."""
    fleet = get_fleet("five-tier")
    mflop_per_s = {profile.capability: profile.flops_per_s / 1e6 for profile in fleet.profiles}
    assert mflop_per_s == dict(zip(RATIOS, (46_528, 93_056, 186_112, 372_224, 744_448), strict=True))
    assert len(fleet.shares) == len(RATIOS)
    assert len(set(fleet.shares)) == 1
    for profile in fleet.profiles:
        time = client_time(profile, download_bytes=2**20, train_flops=0, unmasked_flops=0, upload_bytes=2**20)
        assert (1 / time.upload_s, 1 / time.download_s) == pytest.approx((14.0, 110.6))


def test_cost_increases_with_the_ratio() -> None:
    """Bytes and FLOPs of one client's round. At ratio 1 the FLOPs are those of the dense model."""
    costs = []
    for ratio in RATIOS:
        options = {"algorithm.name": "fedlps", "algorithm.ratio_policy": "fixed", "algorithm.ratio": ratio}
        update = play(experiment(options), 1)[0].updates[0]
        costs.append((update.buffer.nbytes, update.train_flops))
    assert update.train_flops == update.train_flops_dense
    for fewer, more in pairwise(costs):
        assert fewer[0] < more[0]
        assert fewer[1] < more[1]


def test_time_of_the_public_code_hardly_depends_on_the_capability() -> None:
    """Its masked rows are in proportion to the device's speed, save the one too few and what the bandit saves.

    So is the time, less the classifier's 1,000 weights: at s = 1/16 it keeps 12 - 1 rows of 200 and 6 - 1 of 100.
    """
    run = experiment(
        {
            "algorithm.name": "fedlps_as_coded",
            "algorithm.penalty": 0.0,
            "fleet.name": "five-tier",
            "training.clients_per_round": 8,
        }
    )
    relative = {}
    for update in play(run, 1)[0].updates:
        z, ratio = (
            run.setting.profile_of(update.client_id, 0).capability,
            update.client_state.bandit.last_ratio,
        )
        classifier = 2 * update.num_examples * 6 * 1_000
        share = (update.train_flops - classifier) / (update.train_flops_dense - classifier)
        relative[z] = share / ratio
    assert relative[1 / 16] == pytest.approx(16 * (11 * 64 + 5 * 200) / (200 * 64 + 100 * 200))
    assert sorted(relative) == list(RATIOS)
    assert all(0.8 < value < 1.0 for value in relative.values())

"""FedLPS's cost model: what its code counts for its nets, from this project's counts, and how cost follows the ratio.

Its code counts a step as three forward passes of two operations a multiply-accumulate, as here, but adds one
operation for each output of a layer with a bias, and takes a last partial batch for a full one. Seconds are at 744,448
MFLOP/s and 14 MiB/s up, the five-tier fleet's first tier.
"""

from itertools import pairwise
from math import ceil

import pytest

from orchestrator.fleet.clock import client_time
from orchestrator.fleet.profiles import get_fleet
from orchestrator.models.cost import measure_cost
from orchestrator.models.parameters import ParameterLayout
from orchestrator.models.registry import resolve_builder
from tests.fakes import experiment, play

RATIOS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)


@pytest.mark.parametrize(
    ("name", "shape", "batch_size", "num_parameters", "size_mib", "flops", "compute_s", "upload_s"),
    [
        ("cnn_mnist", (1, 28, 28), 32, 21_840, 0.0833, (2_788_128_000, 0), 0.0037, 0.006),
        ("vgg11", (3, 32, 32), 20, 9_231_114, 35.21, (825_365e6, 0.5e6), 1.109, 2.52),
    ],
)
def test_a_dense_round_of_fedlps_nets(
    name: str,
    shape: tuple[int, int, int],
    batch_size: int,
    num_parameters: int,
    size_mib: float,
    flops: tuple[float, float],
    compute_s: float,
    upload_s: float,
) -> None:
    """Five epochs over 180 training images: 6 batches of 32, or 9 of 20; VGG's FLOPs are known to the MFLOP."""
    module = resolve_builder(name)(shape, 10)
    layout = ParameterLayout.of(module)
    cost = measure_cost(module, layout, shape)
    with_bias = {s.name.removesuffix("bias") + "weight": s.size for s in layout.segments if s.kind == "bias"}
    bias_additions = sum(size * cost.positions[weight] for weight, size in with_bias.items())
    per_image = 3 * (cost.forward_flops() + bias_additions)
    round_flops = 5 * ceil(180 / batch_size) * batch_size * per_image
    assert layout.size == num_parameters
    assert 4 * layout.size / 2**20 == pytest.approx(size_mib, rel=5e-4)
    assert abs(round_flops - flops[0]) <= flops[1]
    time = client_time(
        get_fleet("five-tier").profiles[0],
        download_bytes=0,
        train_flops=round_flops,
        upload_bytes=4 * layout.size,
    )
    assert time.compute_s == pytest.approx(compute_s, abs=6e-5 if compute_s < 1 else 6e-4)
    assert time.upload_s == pytest.approx(upload_s, rel=0.01)


def test_cost_rises_with_the_ratio() -> None:
    """Bytes and FLOPs of one client's round; at ratio 1 the FLOPs are the dense ones."""
    costs = []
    for ratio in RATIOS:
        options = {"algorithm.name": "fedlps", "algorithm.ratio_policy": "fixed", "algorithm.ratio": ratio}
        update = play(experiment(options), 1)[0].updates[0]
        costs.append((update.buffer.nbytes, update.train_flops))
    assert update.train_flops == update.train_flops_dense
    for fewer, more in pairwise(costs):
        assert fewer[0] < more[0]
        assert fewer[1] < more[1]


def test_the_public_code_takes_about_as_long_on_a_device_of_any_capability() -> None:
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
        z, ratio = run.setting.profile_of(update.client_id).capability, update.client_state.bandit.last_ratio
        classifier = 2 * update.num_examples * 6 * 1_000
        share = (update.train_flops - classifier) / (update.train_flops_dense - classifier)
        relative[z] = share / ratio
    assert relative[1 / 16] == pytest.approx(16 * (11 * 64 + 5 * 200) / (200 * 64 + 100 * 200))
    assert sorted(relative) == list(RATIOS)
    assert all(0.8 < value < 1.0 for value in relative.values())

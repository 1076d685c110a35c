"""FedDST's bytes: 4 (nnz + U) for the values, and the gaps of a mask that is sent, compared with the sent buffers."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from orchestrator.contract.rounds import RecordedRound, play
from orchestrator.execution.executor import InProcessExecutor
from orchestrator.fleet.client_sampler import ClientSampler
from orchestrator.rounds.driver import Driver
from orchestrator.sparsity.wire import section_bytes
from orchestrator.storage.run_store import RunStore
from tests.support.fakes import experiment
from tests.support.masks import changes_bytes, gaps_bytes

#: R_end = 4, so that rounds 1 and 3 readjust, and the mask is constant from round 4 on
OPTIONS: Mapping[str, object] = {
    "algorithm.name": "feddst",
    "algorithm.readjust_every": 2,
    "training.rounds": 8,
    "training.local_epochs": 2,
    "training.clients_per_round": 8,
    "training.with_replacement": True,
}
READJUSTED = {1, 3}
#: 12 of the message, 16 of the item, 8 of the name "theta" padded to a multiple of 4
HEADER_BYTES = 36
#: mlp on digits: 64 x 200 + 200 x 100 + 100 x 10 weights, 310 biases
NUM_WEIGHTS, NUM_BIASES = 33_800, 310


@pytest.fixture(scope="module")
def rounds() -> list[RecordedRound]:
    return play(experiment(OPTIONS))


def nnz(mask: Tensor | None) -> int:
    """Number of kept weights, without biases."""
    assert mask is not None
    return int(mask.sum()) - NUM_BIASES


def sent_mask_bytes(mask: Tensor | None) -> int:
    """Bytes of a mask that the receiver does not have."""
    assert mask is not None
    return gaps_bytes(experiment(OPTIONS).setting.layout.restrict(mask).numpy())


def sent_change_bytes(mask: Tensor | None, received: Tensor | None) -> int:
    """Bytes of a readjusted mask: its changes, or its gaps if it has more than half as many changes as entries."""
    assert mask is not None
    assert received is not None
    assert int((mask != received).sum()) > 0
    restrict = experiment(OPTIONS).setting.layout.restrict
    bits, known = restrict(mask).numpy(), restrict(received).numpy()
    changes = changes_bytes(bits, known) if 2 * int((bits != known).sum()) <= int(known.sum()) else 1 << 30
    return min(gaps_bytes(bits), changes)


def test_model_has_the_sizes_that_the_tests_use() -> None:
    layout = experiment(OPTIONS).setting.layout
    assert (layout.num_maskable, layout.size) == (NUM_WEIGHTS, NUM_WEIGHTS + NUM_BIASES)


def test_upload_contains_a_mask_only_in_readjustment_rounds(rounds: list[RecordedRound]) -> None:
    for played in rounds:
        for update, model in zip(played.updates, played.models, strict=True):
            value_bytes = 4 * (nnz(model.mask) + NUM_BIASES)
            mask_bytes = (
                sent_change_bytes(model.mask, played.before.mask) if played.round_idx in READJUSTED else 0
            )
            (sections,) = section_bytes(update.buffer)
            assert (sections.value_bytes, sections.mask_bytes) == (value_bytes, mask_bytes)
            assert update.buffer.nbytes == HEADER_BYTES + value_bytes + mask_bytes


def test_download_contains_the_mask_only_for_clients_without_it(rounds: list[RecordedRound]) -> None:
    """The test follows the masks of all clients. A client that is sampled twice pays once."""
    latest: dict[int, list[bool]] = {}
    with_mask = 0
    for played in rounds:
        assert played.before.mask is not None
        mask = played.before.mask.tolist()
        value_bytes = 4 * (nnz(played.before.mask) + NUM_BIASES)
        mask_bytes = sent_mask_bytes(played.before.mask)
        for update, downloaded in zip(played.updates, played.download_bytes, strict=True):
            needs_mask = latest.get(update.client_id) != mask
            assert downloaded == HEADER_BYTES + value_bytes + (mask_bytes if needs_mask else 0)
            latest[update.client_id] = mask
            with_mask += needs_mask
    draws = [u.client_id for r in rounds for u in r.updates]
    assert len({u.client_id for u in rounds[0].updates}) < 8  # a client is sampled twice before it has a mask
    assert len(set(draws)) < with_mask < len(draws)


def test_totals_are_sums_over_tasks(rounds: list[RecordedRound], tmp_path: Path) -> None:
    """A client that is sampled twice in a round counts twice."""
    run = experiment(OPTIONS)
    records = list(Driver(run, InProcessExecutor(run), RunStore(tmp_path / "run")).run())
    uploaded = sum(u.buffer.nbytes for r in rounds for u in r.updates)
    downloaded = sum(sum(r.download_bytes) for r in rounds)
    assert records[-1].metrics["comm/upload_bytes_total"] == uploaded
    assert records[-1].metrics["comm/download_bytes_total"] == downloaded


def test_sampling_with_replacement_repeats_a_fifth_of_the_clients() -> None:
    """Ten rounds of 20 of 400 clients with replacement sample 157 clients.

    The public code counts each once, 21 % too few.
    """
    expected = 400 * (1 - (1 - 1 / 400) ** 200)
    assert int(expected) == 157
    assert round(1 - expected / 200, 2) == 0.21
    urn, rng = ClientSampler(400), np.random.default_rng(0)
    hit = [
        len({k for _ in range(10) for k in urn.sample(20, rng, with_replacement=True)}) for _ in range(500)
    ]
    # one run's standard deviation is 4.7
    assert np.mean(hit) == pytest.approx(expected, abs=5 * 4.7 / 500**0.5)

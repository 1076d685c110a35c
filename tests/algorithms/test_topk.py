"""Top-k with error feedback: sent entries, the residual, and the server's step."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from algorithms.topk import TopK, TopKClient, TopKConfig
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.contract.rounds import play
from orchestrator.errors import WireError
from orchestrator.federation.aggregate import Contribution
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.item_form import require_forms
from orchestrator.federation.plan import ClientTask
from orchestrator.sparsity.payload import Masked, Payload
from orchestrator.sparsity.sparse_sum import Entries
from orchestrator.sparsity.wire import encode, section_bytes
from tests.support.errors import rejects
from tests.support.fakes import (
    DEVICE,
    experiment,
    make_run,
    make_setting,
    random_data,
    seeded,
)
from tests.support.masks import gaps_bytes

SHAPE = (1, 1, 2)


def net() -> nn.Module:
    """Weights 2 x 2, biases 2, weights 2 x 2, biases 2: D = 12."""
    return nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.Linear(2, 2))


def method(
    level: float,
    options: Mapping[str, object] | None = None,
    *,
    sparsity: Mapping[str, object] | None = None,
    num_profiles: int = 1,
) -> TopK:
    setting = make_setting(
        seeded(net),
        SHAPE,
        training={"batch_size": 4, "rounds": 8},
        sparsity={"level": level, **(sparsity or {})},
        profiles=tuple(replace(DEVICE, name=f"p{i}") for i in range(num_profiles)),
    )
    return TopK(TopKConfig.model_validate({"name": "topk", **(options or {})}), setting)


def upload(
    algorithm: TopK, change: Sequence[float], state: TopKClient, round_idx: int = 0, client_id: int = 0
) -> tuple[Masked, TopKClient]:
    """The upload and the residual of a client whose model changed by float[12] `change`.

    w_r is 0, so that sums are exact.
    """
    flat = seeded(net)
    flat.values.zero_()
    run = make_run(
        algorithm.setting,
        flat,
        random_data(4, SHAPE, 2),
        state=state,
        round_idx=round_idx,
        client_id=client_id,
    )
    algorithm.load(run)
    run.values.add_(torch.tensor(change))
    (item,) = algorithm.pack(run)
    assert isinstance(item, Masked)
    assert isinstance(run.state, TopKClient)
    return item, run.state


def placed(item: Masked) -> Tensor:
    values = torch.zeros(item.mask.size)
    values[torch.from_numpy(item.mask)] = torch.from_numpy(item.values)
    return values


def test_largest_entries_of_all_tensors_are_sent_and_others_kept() -> None:
    """k = 12 / 4 = 3: -9, 8 and the first of the two 7s."""
    change = [1, -9, 7, 0, 0.5, 8, 7, -2, 3, 0, 0, 4]
    algorithm = method(0.75)
    item, state = upload(algorithm, change, algorithm.init_client(0))
    assert np.flatnonzero(item.mask).tolist() == [1, 2, 5]
    assert item.values.tolist() == [-9, 7, 8]
    assert state.residual.tolist() == [1, 0, 0, 0, 0.5, 0, 7, -2, 3, 0, 0, 4]


def test_each_tensor_sends_its_share_under_scope_layer() -> None:
    """Half of 4, 2, 4 and 2 entries are 2, 1, 2 and 1. A tensor sends at least one entry."""
    change = [1, -9, 7, 0, 0.5, 8, 7, -2, 3, 0, 0, 4]
    algorithm = method(0.5, {"scope": "layer"})
    item, _ = upload(algorithm, change, algorithm.init_client(0))
    assert np.flatnonzero(item.mask).tolist() == [1, 2, 5, 6, 8, 11]
    sparse = method(0.95, {"scope": "layer"})
    assert np.flatnonzero(upload(sparse, change, sparse.init_client(0))[0].mask).tolist() == [1, 5, 6, 11]


def test_residual_grows_until_it_is_sent() -> None:
    """Changes 3, 1, 1 in every round and k = 1, by hand. Equal entries are sent by index."""
    algorithm = method(0.95)
    state, sent = algorithm.init_client(0), []
    for round_idx in range(5):
        item, state = upload(algorithm, [3, 1, 1, *[0] * 9], state, round_idx)
        sent.append((int(np.flatnonzero(item.mask)[0]), item.values.tolist()))
    assert sent == [(0, [3]), (0, [3]), (0, [3]), (1, [4]), (0, [6])]
    assert state.residual[:3].tolist() == [0, 1, 5]
    assert state.last_round == 4


def test_sent_and_residual_add_up_to_change_and_old_residual() -> None:
    """Exactly, for each entry.

    Over the rounds, all sent entries and the last residual add up to all changes.
    """
    rng, algorithm = np.random.default_rng(0), method(0.7)
    state, all_sent, all_changes = algorithm.init_client(0), torch.zeros(12), torch.zeros(12)
    for round_idx in range(10):
        change = torch.from_numpy(rng.standard_normal(12).astype(np.float32))
        item, after = upload(algorithm, change.tolist(), state, round_idx)
        assert torch.equal(placed(item) + after.residual, change + state.residual)
        assert not bool((placed(item) * after.residual).any())
        state, all_sent, all_changes = after, all_sent + placed(item), all_changes + change
    assert torch.allclose(all_sent + state.residual, all_changes, rtol=1e-6, atol=1e-6)


def trained(algorithm: TopK, state: TopKClient, round_idx: int) -> tuple[CheckedRun, Payload]:
    run = make_run(
        algorithm.setting, seeded(net), random_data(20, SHAPE, 2), state=state, round_idx=round_idx
    )
    return run, algorithm.client_update(run).payload


def test_change_is_that_of_training() -> None:
    algorithm, state = method(0.7), TopKClient(residual=torch.linspace(-1, 1, 12), last_round=0)
    run, (item,) = trained(algorithm, state, 1)
    assert isinstance(item, Masked)
    change = run.values - run.start
    assert bool(change.any())
    assert torch.equal(placed(item) + run.state.residual, change + state.residual)


@pytest.mark.parametrize(
    ("options", "factors"),
    [
        ({}, [1, 1, 1]),
        ({"residual": "discount", "discount": 0.5}, [1, 0.5, 0.125]),
        ({"residual": "discount", "discount": 0.0}, [1, 0, 0]),
        ({"residual": "drop", "max_missed": 1}, [1, 1, 0]),
        ({"residual": "drop", "max_missed": 0}, [1, 0, 0]),
    ],
)
def test_missed_rounds_change_the_residual(options: dict[str, object], factors: list[float]) -> None:
    """The client took part in round 2 and again in round 3, 4 or 6: no, one or three rounds missed."""
    algorithm = method(0.5, options)
    client = TopKClient(residual=torch.full((12,), 8.0), last_round=2)
    for round_idx, factor in zip((3, 4, 6), factors, strict=True):
        assert algorithm.decayed_residual(client, round_idx).tolist() == [8 * factor] * 12


def test_server_adds_mean_with_0_for_unsent_entries() -> None:
    """Examples 1 and 3: (4 + 0) / 4, (8 + 3 * 4) / 4 and (0 + 3 * -4) / 4, added to 10."""
    algorithm = method(0.5)
    state, aggregator = ServerState(params=torch.full((3,), 10.0)), algorithm.aggregator()
    for k, (weight, values, mask) in enumerate([(1.0, [4, 8], [1, 1, 0]), (3.0, [4, -4], [0, 1, 1])]):
        item = Masked("update", np.array(values, np.float32), np.array(mask, np.bool_))
        aggregator.add(
            Contribution(client_id=k, weight=weight, values=None, mask=None, start=None, items=(item,))
        )
    after = algorithm.server_update(state, aggregator.finish(state.params), 0)
    assert after.params.tolist() == [11, 15, 7]
    assert after.mask is None
    assert state.params.tolist() == [10, 10, 10]


def test_upload_has_4_bytes_a_value_and_the_shortest_positions() -> None:
    """D = 34,110: k = ceil(341.1) at the default level. Its gaps are shorter than a bitmap of 4,264 bytes."""
    run = experiment({"algorithm.name": "topk"})
    for played in play(run, 2):
        assert played.after.mask is None
        for update, (item,), down in zip(played.updates, played.payloads, played.download_bytes, strict=True):
            (sections,) = section_bytes(update.buffer)
            assert isinstance(item, Masked)
            positions = gaps_bytes(item.mask)
            assert positions < 4264
            assert (sections.value_bytes, sections.mask_bytes) == (4 * 342, positions)
            assert update.buffer.nbytes == 12 + (16 + 8) + 4 * 342 + positions
            assert down == 12 + (16 + 8) + 4 * 34_110
    dense = experiment({"algorithm.name": "topk", "sparsity.level": 0})
    (payload, *_) = play(dense, 1)[0].payloads
    assert len(encode(payload)) == 12 + (16 + 8) + 4 * 34_110


def one_layer(size: int) -> TopK:
    """1 % of this number of weights."""
    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(size, 1, bias=False)))
    setting = make_setting(flat, (1, 1, size), sparsity={"level": 0.99})
    return TopK(TopKConfig(name="topk"), setting)


@pytest.mark.parametrize(
    ("size", "count"), [(1626, 17), (1600, 16), (1601, 17), (1, 1), (100, 1), (101, 2), (34_110, 342)]
)
def test_k_is_the_ceiling_of_the_share(size: int, count: int) -> None:
    """In floating point, 1 - .99 is above .01. 1 % of 1600 are 16 all the same."""
    algorithm = one_layer(size)
    update = torch.arange(1.0, size + 1.0)
    assert int(algorithm.largest(update, 1.0 - 0.99).sum()) == count
    assert algorithm.counts(1.0 - 0.99) == (count,)


@pytest.mark.parametrize(("level", "counts"), [(0.7, (2, 1, 2, 1)), (0.5, (2, 1, 2, 1)), (0.4, (3, 2, 3, 2))])
def test_each_tensor_has_its_own_ceiling_under_scope_layer(level: float, counts: tuple[int, ...]) -> None:
    """Of 4, 2, 4 and 2 entries: .3 are 1.2 and .6, .6 are 2.4 and 1.2."""
    assert method(level, {"scope": "layer"}).counts(1.0 - level) == counts


@pytest.mark.parametrize(("num_sent", "fits"), [(17, True), (18, False)])
def test_upload_of_more_than_k_entries_is_rejected(num_sent: int, fits: bool) -> None:
    algorithm = one_layer(1626)
    item = Masked("update", np.ones(num_sent, dtype=np.float32), np.arange(1626) < num_sent)
    task = ClientTask(round_idx=0, position=0, client_id=0)
    with nullcontext() if fits else pytest.raises(WireError, match=r"18 values.* 17$"):
        require_forms((item,), algorithm.upload_items(task))


def test_k_follows_the_schedule() -> None:
    schedule = {"schedule": {"kind": "linear", "final_level": 0.25, "end_round": 2}}
    algorithm, change = method(0.75, sparsity=schedule), list(range(12))
    counts = [int(upload(algorithm, change, algorithm.init_client(0), r)[0].mask.sum()) for r in (0, 1, 2, 3)]
    assert counts == [3, 6, 9, 9]


def test_k_follows_the_device() -> None:
    """Clients take the two profiles in turn."""
    algorithm = method(0.75, sparsity={"device_levels": {"p1": 0.5}}, num_profiles=2)
    change = list(range(12))
    counts = [int(upload(algorithm, change, algorithm.init_client(k), 0, k)[0].mask.sum()) for k in range(3)]
    assert counts == [3, 6, 3]


def test_explicit_densities_are_rejected() -> None:
    with rejects("sparsity.allocation", "explicit"):
        method(0.5, sparsity={"allocation": "explicit", "layer_density": {"1.weight": 0.5}})


@pytest.mark.parametrize(("dtype", "half"), [("float16", torch.float16), ("bfloat16", torch.bfloat16)])
def test_residual_keeps_the_rounding_error_of_the_message(dtype: str, half: torch.dtype) -> None:
    """The sent values + e_k are still the whole update, to the last bit of float32."""
    rounded = experiment({"algorithm.name": "topk", "sparsity.level": 0.5, "wire.value_dtype": dtype})
    (played,) = play(rounded, 1)
    for job, update, payload in zip(played.jobs, played.updates, played.payloads, strict=True):
        (item,) = payload
        assert isinstance(item, Masked)
        values = torch.from_numpy(item.values.copy())
        assert torch.equal(values, values.to(half).to(torch.float32))
        sent = torch.zeros(rounded.setting.layout.size)
        sent[torch.from_numpy(np.array(item.mask))] = torch.from_numpy(np.array(item.values))
        exact = play(
            experiment({"algorithm.name": "topk", "sparsity.level": 0.0, "wire.value_dtype": dtype}), 1
        )[0]
        (complete,) = exact.payloads[job.task.position]
        assert isinstance(complete, Masked)
        values = Entries(complete.indices, complete.values, complete.width).full()
        whole = exact.updates[job.task.position].client_state.residual + values
        assert torch.equal(sent + update.client_state.residual, whole)

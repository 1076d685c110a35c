"""Models of asynchronous runs, compared with slow references: FedBuff, FedAsync and updates that are too stale."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.algorithm import ServerState
from tests.support.runs import (
    REMEMBERING,
    committed,
    drive,
    initial_state,
    new_driver,
    prepared,
)
from tests.support.timing import (
    FEDASYNC,
    FEDBUFF,
    SMALL,
    brief,
    events,
    metrics,
    models_of,
    trained,
    trained_from,
    with_durations,
)


def _with_repeats(log: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each event with the number of earlier tasks of its client on the same model."""
    begun: Counter[tuple[int, int]] = Counter()
    found = []
    for event in log:
        key = event["round_idx"] - event["staleness"], event["client_id"]
        found.append({**event, "repeat": begun[key]})
        begun[key] += 1
    return found


class TestFedBuff:
    """The mean of the discounted changes of a buffer."""

    @staticmethod
    def _step(
        experiment: Experiment,
        models: Sequence[Tensor],
        mine: Sequence[dict[str, Any]],
        weights: Sequence[float],
    ) -> NDArray[np.float64]:
        """w + sum a s(tau) (w_k - w_k0) / sum a, with s = (1 + tau)^-1/2."""
        now: NDArray[np.float64] = models[mine[0]["round_idx"]].numpy().astype(float)
        total = np.zeros_like(now)
        for event, weight in zip(mine, weights, strict=True):
            version = event["round_idx"] - event["staleness"]
            change = trained_from(experiment, models[version], version, event["client_id"], event["repeat"])
            change = change - models[version].numpy()
            total += weight * change / (1 + event["staleness"]) ** 0.5
        return now + total / sum(weights)

    @pytest.mark.parametrize("weight", ["uniform", "method"])
    def test_fedbuff_equals_a_slow_reference(self, tmp_path: Path, weight: str) -> None:
        experiment = with_durations((1.0, 2.0, 4.0), *FEDBUFF, f"asynchrony.weight={weight}")
        models = models_of(experiment, tmp_path)
        sizes = experiment.partition.train.sizes()
        for round_idx in range(4):
            mine = [e for e in _with_repeats(events(tmp_path)) if e["round_idx"] == round_idx]
            weights = [1.0 if weight == "uniform" else float(sizes[e["client_id"]]) for e in mine]
            expected = self._step(experiment, models, mine, weights)
            np.testing.assert_allclose(models[round_idx + 1].numpy(), expected, rtol=0, atol=2e-7)

    @pytest.mark.parametrize("method", ["fedavg", "fedavgm", "fedspa"])
    def test_equal_devices_and_a_full_buffer_equal_synchronous_rounds(
        self, tmp_path: Path, method: str
    ) -> None:
        """Bit for bit: 20 clients with 54 images each, of which five are at work and five make a round."""
        equal = (
            *SMALL,
            f"algorithm.name={method}",
            "data.partition.kind=shards",
            "data.partition.shard_size=30",
            "fleet.num_clients=20",
            "training.clients_per_round=5",
        )
        plain = prepared(*equal)
        assert set(plain.partition.train.sizes()) == {54}
        buffered = prepared(
            *equal, "asynchrony.kind=fedbuff", "asynchrony.buffer_size=5", "asynchrony.weight=method"
        )
        models = models_of(plain, tmp_path / "plain")
        found = models_of(buffered, tmp_path / "buffered")
        assert all(torch.equal(a, b) for a, b in zip(models, found, strict=True))
        assert [row["fleet/staleness_max"] for row in metrics(tmp_path / "buffered")] == [0] * 4
        pairs = zip(metrics(tmp_path / "plain"), metrics(tmp_path / "buffered"), strict=True)
        assert all(a["time/emulated_s"] == pytest.approx(b["time/emulated_s"], rel=1e-12) for a, b in pairs)

    def test_stale_sparse_update_changes_only_its_own_mask(self, tmp_path: Path) -> None:
        """FedDST's masks move. covmean divides each weight by its clients and does not change the other weights."""
        experiment = with_durations(
            (1.0, 2.0, 8.0),
            *FEDBUFF,
            "algorithm.name=feddst",
            "algorithm.readjust_every=1",
            "algorithm.end_round=100",
            "training.rounds=5",
        )
        states = [initial_state(experiment)]
        for _ in new_driver(experiment, tmp_path).run():
            states.append(committed(experiment, tmp_path).server_state)
        stale = [e for e in events(tmp_path) if e["staleness"] >= 2]
        assert stale, "or nothing is shown"
        for round_idx in {e["round_idx"] for e in stale}:
            mine = [e for e in events(tmp_path) if e["round_idx"] == round_idx]
            expected = _covmean_then_prune(experiment, states, mine, events(tmp_path))
            np.testing.assert_allclose(states[round_idx + 1].params.numpy(), expected, rtol=0, atol=2e-7)


def _covmean_then_prune(
    experiment: Experiment,
    states: Sequence[ServerState],
    mine: Sequence[dict[str, Any]],
    everything: Sequence[dict[str, Any]],
) -> NDArray[np.float64]:
    """float64[D]: FedDST's server step, entry by entry."""
    round_idx = mine[0]["round_idx"]
    now = states[round_idx].params.numpy().astype(float)
    values, held = np.zeros_like(now), np.zeros_like(now)
    for event in mine:
        version, tau = round_idx - event["staleness"], event["staleness"]
        earlier = [e for e in everything if e["start_s"] < event["start_s"]]
        same = [(e["round_idx"] - e["staleness"], e["client_id"]) for e in earlier]
        repeat = same.count((version, event["client_id"]))
        model = trained(experiment, states[version], version, event["client_id"], repeat)
        assert model.mask is not None
        mask, sent = model.mask.numpy(), model.values.numpy().astype(float)
        start = states[version].params.numpy()
        moved = sent if tau == 0 else now + (sent - start) / (1 + tau) ** 0.5
        values += np.where(mask, moved, 0.0)
        held += mask
    average = np.where(held > 0, values / np.maximum(held, 1), now)
    after = states[round_idx + 1].mask
    assert after is not None
    assert bool((held[after.numpy()] > 0).all()), "it keeps only what somebody holds"
    kept: NDArray[np.float64] = average * after.numpy()
    return kept


class TestFedAsync:
    """The server mixes each model in when it arrives."""

    @pytest.mark.parametrize(
        ("options", "share"),
        [
            ((), lambda tau: 0.6 / (1 + tau) ** 0.5),
            (("asynchrony.staleness=constant", "asynchrony.mixing=0.9"), lambda tau: 0.9),
            (
                ("asynchrony.staleness=hinge", "asynchrony.hinge=2", "asynchrony.exponent=10"),
                lambda tau: 0.6 if tau <= 2 else 0.6 / (10 * (tau - 2) + 1),
            ),
        ],
    )
    def test_fedasync_equals_a_slow_reference(
        self, tmp_path: Path, options: tuple[str, ...], share: Any
    ) -> None:
        experiment = with_durations((1.0, 4.0, 5.0), *FEDASYNC, "training.rounds=9", *options)
        models = models_of(experiment, tmp_path)
        mine = _with_repeats(events(tmp_path))
        assert [e["round_idx"] for e in mine] == list(range(9))
        assert max(e["staleness"] for e in mine) > 2
        for event in mine:
            round_idx, tau = event["round_idx"], event["staleness"]
            version = round_idx - tau
            theirs = trained_from(experiment, models[version], version, event["client_id"], event["repeat"])
            now = models[round_idx].numpy().astype(float)
            expected = now + share(tau) * (theirs - now)
            np.testing.assert_allclose(models[round_idx + 1].numpy(), expected, rtol=0, atol=2e-7)

    def test_full_mixing_takes_the_last_model(self, tmp_path: Path) -> None:
        experiment = with_durations(
            (1.0, 1.5),
            *FEDASYNC,
            "training.clients_per_round=2",
            "asynchrony.mixing=1",
            "asynchrony.exponent=0",
        )
        models = models_of(experiment, tmp_path)
        for event in events(tmp_path):
            version = event["round_idx"] - event["staleness"]
            theirs = trained_from(experiment, models[version], version, event["client_id"])
            assert np.array_equal(models[event["round_idx"] + 1].numpy(), theirs)


class TestStaleness:
    """Updates that are too stale are left out."""

    def _drive(self, tmp_path: Path, *options: str) -> list[dict[str, Any]]:
        experiment = with_durations(
            (1.0, 8.0), *FEDASYNC, "training.clients_per_round=2", "training.rounds=9", REMEMBERING, *options
        )
        drive(experiment, tmp_path)
        self.states = committed(experiment, tmp_path).client_states
        return events(tmp_path)

    def test_too_stale_updates_are_billed_but_not_folded(self, tmp_path: Path) -> None:
        """The slow client's update arrives at 8 s, seven server steps after its task started."""
        mine = self._drive(tmp_path, "asynchrony.max_staleness=6", "sparsity.level=0")
        slow = [e for e in mine if e["client_id"] == 1]
        assert [(brief(e), e["outcome"]) for e in slow] == [((7, 1, 0.0, 8.0, 7), "stale")]
        assert slow[0]["upload_bytes"] > 0
        assert [row["fleet/stale"] for row in metrics(tmp_path)] == [0] * 7 + [1, 0]
        assert [row["fleet/participants"] for row in metrics(tmp_path)] == [1] * 9
        assert 1 not in self.states, "what it trained is lost to it too"
        assert self.states[0].num_tasks == 9

    def test_updates_at_the_limit_are_folded(self, tmp_path: Path) -> None:
        mine = self._drive(tmp_path, "asynchrony.max_staleness=7", "sparsity.level=0")
        assert [e["outcome"] for e in mine if e["client_id"] == 1] == ["used"]
        assert self.states[1].num_tasks == 1


def test_fedbuff_averages_updates_without_a_model(tmp_path: Path) -> None:
    """`Voting`: the discount is the weight. At 4 s client 2 is two steps old and client 1 one."""
    experiment = with_durations(
        (1.0, 2.0, 4.0), *FEDBUFF, "algorithm.name=tests.support.message_methods:Voting", "training.rounds=3"
    )
    drive(experiment, tmp_path)
    state = committed(experiment, tmp_path).server_state
    two, one = 3**-0.5, 2**-0.5
    assert float(state.ids) == pytest.approx((two * 2 + one * 1) / (two + one), rel=1e-12)
    assert np.array_equal(state.params.numpy(), experiment.initial)

"""Sparse ternary compression: sent entries, residuals, what a client downloads, and the server's step."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from algorithms.stc import STC, STCClient, STCConfig, STCState
from orchestrator.contract.rounds import play
from orchestrator.errors import WireError
from orchestrator.federation.aggregate import Aggregate, Contribution
from orchestrator.federation.plan import ClientTask
from orchestrator.sparsity.payload import Bits, Dense, Masked, Payload
from orchestrator.sparsity.wire import section_bytes
from orchestrator.tracking.record import read_records
from tests.support.errors import rejects
from tests.support.fakes import experiment, make_run, make_setting, random_data, seeded
from tests.support.masks import gaps_bytes
from tests.support.runs import drive, prepared

SHAPE = (1, 1, 2)
CHANGE = [1, -9, 7, 0, 0.5, 8, 7, -2, 3, 0, 0, 4]
TASK = ClientTask(round_idx=3, position=0, client_id=0)


def net() -> nn.Module:
    """Weights 2 x 2, biases 2, weights 2 x 2, biases 2: D = 12."""
    return nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.Linear(2, 2))


def method(level: float = 0.75, **options: object) -> STC:
    setting = make_setting(seeded(net), SHAPE, sparsity={"level": level})
    return STC(STCConfig.model_validate({"name": "stc", **options}), setting)


def upload(algorithm: STC, change: Sequence[float], residual: Sequence[float]) -> tuple[Payload, STCClient]:
    """The upload and the next state of a client whose model changed by float[12] `change`; W is 0."""
    flat = seeded(net)
    flat.values.zero_()
    state = STCClient(residual=torch.tensor(residual), model=torch.zeros(12))
    run = make_run(algorithm.setting, flat, random_data(4, SHAPE, 2), state=state, round_idx=3)
    algorithm.load(run)
    run.values.add_(torch.tensor(change))
    payload = algorithm.pack(run)
    assert isinstance(run.state, STCClient)
    return payload, run.state


def test_largest_entries_are_sent_with_their_mean_size() -> None:
    """k = 3: -9, 7 and 8, whose mean size is 8. The residual is u minus what was sent."""
    algorithm = method()
    payload, state = upload(algorithm, CHANGE, [0.0] * 12)
    assert algorithm.decoded(payload, "mu").tolist() == [0, -8, 8, 0, 0, 8, 0, 0, 0, 0, 0, 0]
    assert state.residual.tolist() == [1, -1, -1, 0, 0.5, 0, 7, -2, 3, 0, 0, 4]
    assert state.num_rounds == 3


def test_residual_is_added_before_the_choice() -> None:
    """u = change + residual: 10 and -6 at positions 0 and 3 are now the largest with -9; their mean size is 25 / 3."""
    payload, state = upload(method(), CHANGE, [9.0, 0, -7, -6, 0, -8, -7, 0, 0, 0, 0, 0])
    decoded = method().decoded(payload, "mu")
    assert decoded.nonzero().squeeze(1).tolist() == [0, 1, 3]
    assert decoded[[0, 1, 3]].tolist() == pytest.approx([25 / 3, -25 / 3, -25 / 3])
    assert state.residual[[0, 1, 3]].tolist() == pytest.approx([5 / 3, -2 / 3, 7 / 3])


def test_each_tensor_has_its_own_mean_under_scope_layer() -> None:
    """Half of 4, 2, 4 and 2 entries: -9 and 7; 8; 7 and 3; 4."""
    algorithm = method(0.5, scope="layer")
    payload, _ = upload(algorithm, CHANGE, [0.0] * 12)
    assert algorithm.decoded(payload, "mu").tolist() == [0, -8, 8, 0, 0, 8, 5, 0, 5, 0, 0, 4]


def test_values_are_sent_when_ternary_is_off() -> None:
    (item,), state = upload(method(ternary=False), CHANGE, [0.0] * 12)
    assert isinstance(item, Masked)
    assert item.values.tolist() == [-9, 7, 8]
    assert state.residual.tolist() == [1, 0, 0, 0, 0.5, 0, 7, -2, 3, 0, 0, 4]


def server(algorithm: STC, update: Sequence[float], residual: Sequence[float]) -> STCState:
    """The state after round 3, from W = 10 and this mean of the clients' changes."""
    state = STCState(params=torch.full((12,), 10.0), residual=torch.tensor(residual), sent=torch.zeros(12))
    mean = torch.tensor(update, dtype=torch.float64)
    aggregate = Aggregate(state.params, None, 2.0, {"update": mean}, 2)
    return algorithm.server_update(state, aggregate, 3)


def test_server_compresses_the_mean_with_a_residual_of_its_own() -> None:
    """U = mean + residual = -9, 7 and 8 at the largest, so that W changes by -8, 8 and 8."""
    after = server(method(), [1.0, -8, 7, 0, 0, 8, 0, 0, 0, 0, 0, 0], [0.0, -1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0])
    assert after.sent.tolist() == [0, -8, 8, 0, 0, 8, 0, 0, 0, 0, 0, 0]
    assert after.params.tolist() == [10, 2, 18, 10, 10, 18, *[10] * 6]
    assert after.residual.tolist() == [1, -1, -1, 2, *[0] * 8]
    assert after.num_rounds == 4


def test_client_with_the_previous_model_downloads_signs_and_others_values() -> None:
    algorithm, zeros = method(), torch.zeros(12)
    after = server(algorithm, CHANGE, [0.0] * 12)
    current = STCClient(residual=zeros, model=torch.full((12,), 10.0), num_rounds=3)
    older = STCClient(residual=zeros, model=torch.full((12,), 18.0), num_rounds=2)
    short, values = (algorithm.unicast(after, TASK, client) for client in (current, older))
    assert [item.name for item in short] == ["positions", "signs", "server_mu"]
    (changed,) = values
    assert isinstance(changed, Masked)
    assert changed.values.tolist() == [10, 2, *[10] * 8]  # all but the two entries that are 18 at both ends
    for payload, client in ((short, current), (values, older)):
        model = algorithm.unpack(payload, TASK, client)
        assert model is not None
        assert torch.equal(model.values, after.params)


@pytest.mark.parametrize("options", [{}, {"algorithm.ternary": False}, {"algorithm.scope": "layer"}])
def test_every_client_trains_from_the_model_of_the_server(options: dict[str, object]) -> None:
    for played in play(experiment({"algorithm.name": "stc", **options})):
        for received in played.received:
            assert received is not None
            assert torch.equal(received.values, played.before.params)


def test_sent_and_residual_add_up_over_rounds() -> None:
    """All that a client has sent, and its last residual, are all its changes."""
    rng, algorithm = np.random.default_rng(0), method(0.7)
    residual, sent, changes = torch.zeros(12), torch.zeros(12), torch.zeros(12)
    for _ in range(10):
        change = torch.from_numpy(rng.standard_normal(12).astype(np.float32))
        payload, state = upload(algorithm, change.tolist(), residual.tolist())
        residual, changes = state.residual, changes + change
        sent += algorithm.decoded(payload, "mu")
    assert torch.allclose(sent + residual, changes, rtol=0, atol=1e-5)


def test_upload_has_gaps_signs_and_one_value() -> None:
    """D = 34,110 and k = ceil(341.1): gaps, at most 43 bytes of signs, and 4 bytes of mu."""
    for played in play(experiment({"algorithm.name": "stc"}), 2):
        for update, payload in zip(played.updates, played.payloads, strict=True):
            positions, signs, _ = payload
            assert isinstance(positions, Bits)
            assert isinstance(signs, Bits)
            assert (int(positions.bits.sum()), signs.bits.size) == (342, 342)
            sections = section_bytes(update.buffer)
            assert sections[0].mask_bytes == gaps_bytes(positions.bits) < 400
            assert sections[1].mask_bytes <= 43
            assert sections[2].value_bytes == 4
            headers = 12 + (16 + 12) + (16 + 8) + (16 + 4)
            assert update.buffer.nbytes == headers + sum(s.mask_bytes + s.value_bytes for s in sections)


def test_all_entries_without_ternary_equal_fedavg() -> None:
    """Equal to 1e-6: the server adds the mean change, and FedAvg takes the mean of the models."""
    options = {"algorithm.ternary": False, "algorithm.agg_weight": "samples", "sparsity.level": 0}
    ours, fedavg = play(experiment({"algorithm.name": "stc", **options})), play(experiment())
    for left, right in zip(ours, fedavg, strict=True):
        assert torch.allclose(left.after.params, right.after.params, rtol=0, atol=1e-6)
    ternary = play(experiment({"algorithm.name": "stc", **options, "algorithm.ternary": True}))
    assert not torch.allclose(ternary[-1].after.params, fedavg[-1].after.params, rtol=0, atol=1e-3)


def test_upload_with_another_number_of_signs_than_positions_is_rejected() -> None:
    algorithm = method()
    bits = np.zeros(12, np.bool_)
    payload = (Bits("positions", bits), Bits("signs", bits[:3]), Dense("mu", np.ones(1, np.float32)))
    with pytest.raises(WireError, match="0 positions, got 3"):
        algorithm.unpack(payload, TASK, algorithm.init_client(0))


def test_explicit_densities_are_rejected() -> None:
    setting = make_setting(
        seeded(net), SHAPE, sparsity={"allocation": "explicit", "layer_density": {"1.weight": 0.5}}
    )
    with rejects("sparsity.allocation", "explicit"):
        STC(STCConfig(name="stc"), setting)


def test_weights_are_equal_unless_samples_are_asked_for() -> None:
    assert [method(agg_weight=kind).weight(7) for kind in ("uniform", "samples")] == [1.0, 7.0]


def test_mean_is_over_the_decoded_changes() -> None:
    """Clients send +-8 at the first and +-4 at the last entry, with equal weight."""
    algorithm = method()
    aggregator = algorithm.aggregator()
    for change in ([8.0] * 3 + [0.0] * 9, [0.0] * 9 + [-4.0] * 3):
        payload, _ = upload(algorithm, change, [0.0] * 12)
        aggregator.add(
            Contribution(client_id=0, weight=1.0, values=None, mask=None, start=None, items=payload)
        )
    mean = aggregator.finish(torch.zeros(12)).extras["update"]
    assert mean.tolist() == [4, 4, 4, 0, 0, 0, 0, 0, 0, -2, -2, -2]


def test_losses_of_candidates_do_not_need_the_average_of_the_method(tmp_path: Path) -> None:
    """An answer to the question for the loss has no entries of a change."""
    run = prepared("algorithm.name=stc", "selection.kind=power_of_choice", "training.rounds=2")
    drive(run, tmp_path)
    assert len(read_records(tmp_path / "metrics.jsonl")) == 2

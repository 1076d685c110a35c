"""HeteroFL: prefixes of units by capability, costs, and the average of each coordinate."""

from math import ceil
from pathlib import Path

import pytest
import torch

from algorithms.heterofl import HeteroFL
from orchestrator.contract.closed_form import closed_form_bytes
from orchestrator.contract.rounds import play
from orchestrator.federation.bases.structured import ClientRatio
from orchestrator.federation.exchange import find_bits
from orchestrator.federation.plan import ClientTask
from tests.support.fakes import experiment
from tests.support.runs import committed, drive, prepared
from tests.support.scores import last_metrics, part, spread_by_hand

TIERS = {"algorithm.name": "heterofl", "fleet.name": "five-tier"}
#: hidden units of the digits' perceptron
UNITS = {"fc1": 200, "fc2": 100}


def size_of(ratio: float) -> int:
    """Entries of the perceptron 64-200-100-10 with this share of its hidden units."""
    first, second = (ceil(ratio * num) for num in UNITS.values())
    return 65 * first + (first + 1) * second + (second + 1) * 10


def method(**options: object) -> HeteroFL:
    algorithm = experiment({**TIERS, **options}).algorithm
    assert isinstance(algorithm, HeteroFL)
    return algorithm


def test_units_are_the_first_ones_in_every_round() -> None:
    algorithm = method()
    for client_id in range(8):
        capability = algorithm.setting.profile_of(client_id, 0).capability
        for round_idx in (0, 5):
            task = ClientTask(round_idx=round_idx, position=0, client_id=client_id)
            kept = algorithm.kept(task, ClientRatio())
            assert {name: units.tolist() for name, units in kept.items()} == {
                name: list(range(ceil(capability * num))) for name, num in UNITS.items()
            }


def test_default_options_are_the_public_codes() -> None:
    config = method().config
    assert (config.scaler, config.masked_loss, config.agg_weight) == (True, True, "uniform")
    assert config.ratio_policy == "capability"


def test_bytes_of_every_message_by_the_closed_form() -> None:
    """4 bytes an entry in both directions, and the 10 classes up: 2 bytes, or 1 for a client that has all.

    Headers are 12 + 24 bytes, and 24 more with the bits.
    """
    run = experiment(TIERS)
    for played in play(run):
        for position, job in enumerate(played.jobs):
            size = size_of(run.setting.profile_of(job.task.client_id, 0).capability)
            empty = closed_form_bytes(played.broadcast.payload, {})
            assert played.download_bytes[position] == empty + 36 + 4 * size
            classes = 1 if find_bits(played.payloads[position], "classes").all() else 2
            assert played.updates[position].buffer.nbytes == 36 + 4 * size + 24 + classes


def test_flops_of_every_client_equal_those_of_its_submodel() -> None:
    run = experiment(TIERS)
    for played in play(run):
        for update in played.updates:
            ratio = run.setting.profile_of(update.client_id, 0).capability
            macs = size_of(ratio) - sum(ceil(ratio * num) for num in UNITS.values()) - 10
            assert update.train_flops == update.num_examples * 2 * 6 * macs
            assert update.train_flops_dense == update.num_examples * 2 * 6 * (64 * 200 + 200 * 100 + 1000)


@pytest.mark.parametrize("masked_loss", [True, False])
def test_each_coordinate_of_a_round_is_the_mean_of_its_clients(masked_loss: bool) -> None:
    """The plain mean over the clients whose model has the coordinate.

    A coordinate without clients keeps its bits.
    """
    run = experiment({**TIERS, "algorithm.masked_loss": masked_loss, "training.clients_per_round": 2})
    num_kept = 0
    for played in play(run):
        models = [(model.values.double(), model.mask) for model in played.models if model]
        total = torch.zeros(run.setting.layout.size, dtype=torch.float64)
        holders = torch.zeros(run.setting.layout.size)
        for values, mask in models:
            assert mask is not None
            total[mask] += values[mask]
            holders += mask
        held = holders > 0
        assert torch.equal(played.after.params[held], (total[held] / holders[held]).float())
        assert torch.equal(played.after.params[~held], played.before.params[~held])
        num_kept += int((~held).sum())
    assert num_kept > 0


def test_all_clients_train_the_first_block_and_full_clients_the_last() -> None:
    run = experiment({**TIERS, "algorithm.masked_loss": False, "training.clients_per_round": 8})
    played = play(run, 1)[0]
    coverage = played.aggregate.coverage
    assert coverage is not None
    views = run.setting.layout.views(coverage)
    capabilities = [run.setting.profile_of(k, 0).capability for k in range(8)]
    assert float(views["fc2.weight"][0, 0]) == 8
    assert float(views["fc2.weight"][99, 199]) == capabilities.count(1.0) > 0
    rows = views["fc1.weight"][:, 0].tolist()
    assert rows == [sum(j < ceil(c * 200) for c in capabilities) for j in range(200)]
    assert views["fc3.bias"].tolist() == [8] * 10


@pytest.mark.parametrize("scored_model", ["global", "submodel"])
@pytest.mark.parametrize("masked", [True, False])
def test_clients_are_scored_without_the_classes_that_they_do_not_have(
    tmp_path: Path, scored_model: str, masked: bool
) -> None:
    """The oracle runs a plain perceptron of the client's width, and sets the logits of absent classes to 0."""
    options = {"scored_model": scored_model, "masked_scores": masked, "scaler": False}
    run = prepared(
        *(f"{key}={value}" for key, value in TIERS.items()),
        *(f"algorithm.{key}={value}" for key, value in options.items()),
        "data.partition.kind=shards",
        "data.partition.classes_per_client=2",
        "training.rounds=2",
    )
    drive(run, tmp_path)
    params = committed(run, tmp_path).server_state.params
    w1, b1, w2, b2, w3, b3 = (
        params[s.slice].view(s.shape) for s in sorted(run.setting.layout.segments, key=lambda s: s.offset)
    )
    inputs = run.dataset.to_tensor(run.dataset.test_inputs).flatten(1)
    scores = []
    for k, rows in enumerate(run.partition.test):
        ratio = 1.0 if scored_model == "global" else run.setting.profile_of(k, 0).capability
        n1, n2 = (ceil(ratio * num) for num in UNITS.values())
        hidden = (inputs[rows] @ w1[:n1].T + b1[:n1]).relu()
        logits = (hidden @ w2[:n2, :n1].T + b2[:n2]).relu() @ w3[:, :n2].T + b3
        classes = set(run.dataset.train_labels[run.partition.train[k]].tolist())
        if masked:
            logits[:, [c for c in range(10) if c not in classes]] = 0.0
        correct = logits.argmax(dim=1).numpy() == run.dataset.test_labels[rows]
        scores.append(float(correct.mean()))
    metrics = part(last_metrics(tmp_path), "personal/")
    assert metrics == pytest.approx(spread_by_hand(scores, "personal/accuracy"), rel=1e-12)


def test_clients_fine_tune_the_submodel_of_their_device_whatever_is_scored(tmp_path: Path) -> None:
    found = {}
    for scored_model in ("global", "submodel"):
        run = prepared(
            *(f"{key}={value}" for key, value in TIERS.items()),
            f"algorithm.scored_model={scored_model}",
            "training.rounds=2",
            "evaluation.finetune_epochs=1",
        )
        drive(run, tmp_path / scored_model)
        found[scored_model] = last_metrics(tmp_path / scored_model)
    tuned, personal = (
        [part(metrics, name) for metrics in found.values()] for name in ("finetuned/", "personal/")
    )
    assert tuned[0] == tuned[1]
    assert personal[0] != personal[1]

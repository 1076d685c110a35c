"""Clients that never train: who they are, and which models are scored on their data."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from algorithms import ALGORITHMS
from orchestrator.errors import ConfigError, PartitionError
from orchestrator.execution.client import ClientRunner
from orchestrator.federation.plan import RoundPlan
from orchestrator.federation.update import ClientScore, ClientUpdate
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.rounds.evaluator import Evaluator
from orchestrator.rounds.sampler import CohortSampler
from orchestrator.storage.client_scores import CLIENT_SCORES
from tests.support.runs import drive, fresh, prepared
from tests.support.scores import last_metrics

UNSEEN = "fleet.unseen_clients=3"


@pytest.mark.parametrize("kind", ["uniform", "samples", "available", "power_of_choice", "oort", "refl"])
def test_unseen_clients_are_never_sampled(kind: str) -> None:
    sampler = CohortSampler(prepared(UNSEEN, f"selection.kind={kind}"))
    sampled = {k for round_idx in range(30) for k in sampler.cohort(round_idx)}
    assert sampled == set(range(6))


def test_methods_see_the_population_without_unseen_clients() -> None:
    experiment = prepared(UNSEEN)
    assert experiment.setting.num_clients == 6
    assert experiment.partition.num_clients == len(experiment.setting.population) == 9


def test_every_participant_of_a_run_belongs_to_the_population(tmp_path: Path) -> None:
    drive(prepared(UNSEEN, "algorithm.name=ssfl", "sparsity.level=0.5"), tmp_path)
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert {event["client_id"] for event in events if event["kind"] == "probe"} == set(range(6))
    assert {event["client_id"] for event in events} == set(range(6))


def test_global_model_is_scored_on_each_unseen_client(tmp_path: Path) -> None:
    """The same accuracies as those of the clients' own rows of all predictions on the test set."""
    experiment = prepared(UNSEEN, "data.partition.kind=shards")
    params = torch.from_numpy(experiment.initial * np.float32(2))
    found = Evaluator(experiment).evaluate(params)
    flat = experiment.new_model()
    flat.load(params)
    flat.module.eval()
    dataset = experiment.dataset
    with torch.no_grad():
        predicted = flat(dataset.to_tensor(dataset.test_inputs)).argmax(1).numpy()
    means = [
        float((predicted[rows] == dataset.test_labels[rows]).mean()) for rows in experiment.partition.test
    ]
    for name in ("eval/unseen_accuracy", "personal/unseen_accuracy"):
        assert found[f"{name}_mean"] == pytest.approx(sum(means[6:]) / 3, rel=1e-12)
        assert found[f"{name}_min"] == min(means[6:])
    assert found["eval/client_accuracy_mean"] == pytest.approx(sum(means[:6]) / 6, rel=1e-12)


def test_validation_samples_of_unseen_clients_choose_nothing() -> None:
    """The score is that of the six clients' own samples, computed by hand."""
    experiment = prepared(UNSEEN)
    params = torch.from_numpy(experiment.initial.copy())
    flat = experiment.new_model()
    flat.load(params)
    flat.module.eval()
    rows = np.concatenate(list(experiment.partition.validation)[:6])
    dataset = experiment.dataset
    with torch.no_grad():
        predicted = flat(dataset.to_tensor(dataset.train_inputs[rows])).argmax(1).numpy()
    expected = float((predicted == dataset.train_labels[rows]).mean())
    assert Evaluator(experiment).evaluate(params)["validation/accuracy"] == expected


def test_unseen_client_uses_the_state_that_one_participation_leaves() -> None:
    """Ditto's personal model of such a client is the one that its first training gives."""
    experiment = prepared(UNSEEN, "algorithm.name=ditto")
    algorithm = experiment.algorithm
    state = algorithm.init(torch.from_numpy(experiment.initial.copy()))
    runner, scores = ClientRunner(experiment), []
    broadcast = Broadcast.of(experiment, state)
    (train,) = RoundPlan.of(2, (7,)).tasks
    (evaluate,) = RoundPlan.of(2, (7,), "evaluate").tasks
    for task in (train, evaluate):
        request = broadcast.request(task, algorithm.init_client(7))
        scores.append(runner.run(task, broadcast.message.buffer, request.unicast, request.client_state))
    update, score = scores
    assert isinstance(update, ClientUpdate)
    assert isinstance(score, ClientScore)
    flat = experiment.new_model()
    flat.load(update.client_state.personal)
    rows, dataset = experiment.partition.test[7], experiment.dataset
    flat.module.eval()
    with torch.no_grad():
        predicted = flat(dataset.to_tensor(dataset.test_inputs[rows])).argmax(1).numpy()
    assert score.scores["personal/accuracy"] == float((predicted == dataset.test_labels[rows]).mean())


_REJECTED = ("dispfl", "local", "local_submodel")


@pytest.mark.parametrize("method", sorted(set(ALGORITHMS) - set(_REJECTED)))
def test_every_method_with_a_server_model_scores_unseen_clients(method: str, tmp_path: Path) -> None:
    experiment = fresh(
        UNSEEN, f"algorithm.name={method}", "training.rounds=2", "evaluation.finetune_epochs=1"
    )
    drive(experiment, tmp_path)
    metrics = last_metrics(tmp_path)
    for name in (
        "eval/unseen_accuracy_mean",
        "personal/unseen_accuracy_mean",
        "finetuned/unseen_accuracy_mean",
    ):
        assert 0.0 <= metrics[name] <= 1.0
    scores = json.loads((tmp_path / CLIENT_SCORES).read_text())["scores"]
    assert set(scores["personal/unseen_accuracy"]) == {"6", "7", "8"}
    assert set(scores["personal/accuracy"]) == {"0", "1", "2", "3", "4", "5"}


@pytest.mark.parametrize("method", _REJECTED)
def test_method_without_a_server_model_rejects_unseen_clients(method: str) -> None:
    with pytest.raises(ConfigError, match="so that unseen clients would get no trained model") as caught:
        fresh(UNSEEN, f"algorithm.name={method}")
    assert caught.value.field == "fleet.unseen_clients"
    assert "\n" not in str(caught.value)


def test_largest_number_of_scored_clients_holds_for_unseen_ones_too() -> None:
    plan = Evaluator(prepared(UNSEEN, "algorithm.name=ditto", "evaluation.max_clients=2")).plan(0, last=True)
    scored = [task.client_id for task in plan.tasks]
    assert len([k for k in scored if k < 6]) == 2
    assert scored[2:] == [6, 7]


def test_repeated_parts_reject_unseen_clients() -> None:
    with pytest.raises(ConfigError, match="samples on which other clients train"):
        fresh(UNSEEN, "data.partition.distinct_clients=6")
    assert fresh(UNSEEN, "data.partition.distinct_clients=9").partition.num_distinct == 9


def test_too_many_clients_name_the_unseen_ones() -> None:
    with pytest.raises(PartitionError, match=r"with fleet\.unseen_clients=2000 these are 2006 clients"):
        fresh("fleet.unseen_clients=2000")


def test_runs_without_unseen_clients_keep_their_partition() -> None:
    before, after = prepared(), prepared("fleet.unseen_clients=0")
    assert before.partition.fingerprint() == after.partition.fingerprint()

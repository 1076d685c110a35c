"""Local training: no messages, and every client trains alone, for any sample of clients."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from algorithms.local import Local, LocalClient, LocalConfig
from orchestrator.contract.rounds import play
from orchestrator.execution.client import ClientRunner
from orchestrator.execution.executor import InProcessExecutor
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientScore
from orchestrator.rounds.driver import Driver
from orchestrator.storage.run_store import RunStore
from tests.support.fakes import (
    experiment,
    make_run,
    make_setting,
    random_data,
    seeded,
)
from tests.support.nets import batch_norm_mlp as net

SHAPE = (1, 3, 3)


def test_no_bytes_are_sent_and_the_server_keeps_the_initial_model(tmp_path: Path) -> None:
    run = experiment({"algorithm.name": "local"})
    driver = Driver(run, InProcessExecutor(run), RunStore(tmp_path / "run"))
    records = list(driver.run())
    for record in records:
        assert record.metrics["comm/upload_bytes_total"] == 0
        assert record.metrics["comm/download_bytes_total"] == 0
        assert record.metrics["compute/train_flops"] > 0
        assert record.metrics["eval/accuracy"] == records[0].metrics["eval/accuracy"]
    assert records[-1].metrics["personal/accuracy_mean"] > records[-1].metrics["eval/accuracy"] + 0.3
    for played in play(run):
        assert torch.equal(played.after.params, torch.from_numpy(run.initial))


def test_all_clients_train_in_every_round_by_default() -> None:
    one, other = (
        play(experiment({"algorithm.name": "local", "training.clients_per_round": n})) for n in (1, 3)
    )
    for few, many in zip(one, other, strict=True):
        assert [u.client_id for u in few.updates] == list(range(8))
        for k in range(8):
            assert torch.equal(few.client_states[k].params, many.client_states[k].params)


def test_sampled_clients_train_the_same_way_and_others_do_not_train() -> None:
    sampled = play(experiment({"algorithm.name": "local", "algorithm.participation": "sampled"}), 1)[0]
    everyone = play(experiment({"algorithm.name": "local"}), 1)[0]
    drawn = play(experiment(), 1)[0]
    assert [u.client_id for u in sampled.updates] == [u.client_id for u in drawn.updates]
    assert sorted(sampled.client_states) == sorted({u.client_id for u in drawn.updates})
    for k, state in sampled.client_states.items():
        assert torch.equal(state.params, everyone.client_states[k].params)


def test_clients_model_equals_plain_pytorch() -> None:
    """Three rounds: a new optimiser each, at lr .1, .05 and .025, with momentum .9."""
    flat, oracle = seeded(net), seeded(net)
    setting = make_setting(
        flat, SHAPE, training={"batch_size": 4, "local_epochs": 2, "lr": 0.1, "lr_decay": 0.5}
    )
    algorithm = Local(LocalConfig(name="local"), setting)
    state, parameters = algorithm.init_client(0), list(oracle.module.parameters())
    oracle.module.train()
    for round_idx in range(3):
        run = make_run(setting, flat, random_data(8, SHAPE, 3), round_idx=round_idx, state=state)
        run.received = None
        batches = [batch for epoch in run.batches() for batch in epoch]
        result = algorithm.client_update(run)
        assert result.payload == ()
        state = result.client_state
        optimizer = torch.optim.SGD(parameters, lr=0.1 * 0.5**round_idx, momentum=0.9)
        for images, labels in batches:
            oracle.grad.zero_()
            torch.autograd.backward(cross_entropy(oracle.module(images), labels))
            optimizer.step()
        assert torch.allclose(state.params, oracle.values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("trained", [False, True])
def test_clients_score_their_own_model(trained: bool) -> None:
    """The running statistics are the client's own too."""
    flat = seeded(net)
    setting = make_setting(flat, SHAPE)
    algorithm = Local(LocalConfig(name="local"), setting)
    own = torch.rand(setting.layout.size)
    state = LocalClient(params=own) if trained else algorithm.init_client(3)
    run = make_run(setting, flat, random_data(4, SHAPE, 3), state=state, kind="evaluate")
    algorithm.personal(run)
    assert torch.equal(run.values, own if trained else torch.from_numpy(setting.initial))


def test_clients_score_different_models() -> None:
    run = experiment({"algorithm.name": "local"})
    last = play(run)[-1]
    host, scores = ClientRunner(run), []
    for k in range(8):
        task = ClientTask(round_idx=3, position=k, client_id=0, kind="evaluate")
        job = last.broadcast.request(task, last.client_states[k])
        score = host.run(task, last.broadcast.message.buffer, job.unicast, job.client_state)
        assert isinstance(score, ClientScore), score
        scores.append(score.scores["personal/accuracy"])
    assert max(scores) == scores[0]
    assert len(set(scores)) > 2

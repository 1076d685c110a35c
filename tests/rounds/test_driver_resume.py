"""A run that is killed or stopped anywhere ends where the undisturbed run ends, bit for bit."""

import json
from pathlib import Path

import pytest

from orchestrator.experiment.experiment import Experiment
from orchestrator.tracking.record import RoundRecord, read_records
from tests.support.runs import (
    REMEMBERING,
    Forgetful,
    committed,
    comparable,
    drive,
    new_driver,
    prepared,
)

METHODS = {
    "dense": ("algorithm.name=fedavg",),
    "server state": ("algorithm.name=fedavgm",),
    "moving mask": ("algorithm.name=feddst", "algorithm.readjust_every=1", "algorithm.end_round=4"),
    "client state": (REMEMBERING,),
    "half precision": (REMEMBERING, "wire.value_dtype=float16"),
    "probes": ("algorithm.name=tests.support.probing_methods:Asking",),
    "messages to one client": (
        "algorithm.name=tests.support.message_methods:Tailored",
        "algorithm.renew_every=2",
    ),
    "no model in updates": ("algorithm.name=tests.support.message_methods:Voting",),
    "clients' own models": (
        "algorithm.name=tests.support.probing_methods:Stubborn",
        "evaluation.personal_every=1",
    ),
    "unseen clients": ("algorithm.name=ditto", "fleet.unseen_clients=2"),
    "rates of local steps": (
        "algorithm.name=ditto",
        "training.lr_schedule.name=CosineAnnealingLR",
        "training.lr_schedule.options.T_max=15",
        "training.lr_schedule.per=step",
    ),
    "sampling by a function": (
        "selection.kind=tests.support.sampling_rules:largest_losses",
        "selection.options.share=0.7",
    ),
    "rule by a function": (
        "aggregation.rule=tests.support.aggregation_rules:clipped_mean",
        "aggregation.options.limit=0.2",
        "algorithm.name=feddst",
    ),
    "guided sampling": ("selection.kind=oort",),
    "messages between clients": ("algorithm.name=dispfl", "algorithm.num_neighbours=2"),
    "rule and attack": (
        "aggregation.rule=multi_krum",
        "aggregation.attacker_share=0",
        "attack.kind=gaussian",
        "algorithm.name=feddst",
    ),
    "privacy": ("privacy.clip_norm=0.5", "privacy.noise_multiplier=0.3", "attack.kind=label_flip"),
    "fixed batches": ("training.reshuffle=false", "training.with_replacement=true"),
}


def _records(folder: Path) -> list[RoundRecord]:
    return read_records(folder / "metrics.jsonl")


def _events(folder: Path) -> list[str]:
    return (folder / "events.jsonl").read_text().splitlines()


def _assert_same_run(folder: Path, undisturbed: Path) -> None:
    """Each round once, with the same metrics, the same events and the same commits."""
    assert [r.round_idx for r in _records(folder)] == list(range(len(_records(undisturbed))))
    assert comparable(_records(folder)) == comparable(_records(undisturbed))
    assert _events(folder) == _events(undisturbed)
    for path in (undisturbed / "commits").glob("*.safetensors"):
        assert (folder / "commits" / path.name).read_bytes() == path.read_bytes(), path.name
    model = "model/model.safetensors"
    assert (folder / model).read_bytes() == (undisturbed / model).read_bytes()


@pytest.mark.parametrize("name", METHODS)
def test_killed_after_every_round_in_turn(tmp_path: Path, name: str) -> None:
    """Each round has its own process, which restores the checkpoint of the process before."""
    experiment = prepared(*METHODS[name])
    undisturbed = drive(experiment, tmp_path / "undisturbed")
    for _ in range(4):
        drive(experiment, tmp_path / "killed", killed_after=1)
    driver = drive(experiment, tmp_path / "killed")
    assert driver.params_sha256() == undisturbed.params_sha256()
    _assert_same_run(tmp_path / "killed", tmp_path / "undisturbed")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("num_rounds", [1, 2, 3])
def test_stopped_after_some_rounds(tmp_path: Path, name: str, num_rounds: int) -> None:
    experiment = prepared(*METHODS[name])
    undisturbed = drive(experiment, tmp_path / "undisturbed")
    stopped = drive(experiment, tmp_path / "stopped", stopped_after=num_rounds)
    done = len(_records(tmp_path / "stopped"))
    assert num_rounds <= done <= num_rounds + 1, "the round in progress is still committed, and no other"
    assert (tmp_path / "stopped" / "model").exists() == (done == 4 and num_rounds == 4)
    resumed = new_driver(experiment, tmp_path / "stopped")
    assert resumed.params_sha256() == stopped.params_sha256()
    assert [r.round_idx for r in resumed.run()] == list(range(done, 4))
    assert resumed.params_sha256() == undisturbed.params_sha256()
    _assert_same_run(tmp_path / "stopped", tmp_path / "undisturbed")


def test_killed_before_the_first_commit(tmp_path: Path) -> None:
    experiment = prepared(REMEMBERING)
    undisturbed = drive(experiment, tmp_path / "undisturbed")
    new_driver(experiment, tmp_path / "killed")
    for name in ("metrics.jsonl", "events.jsonl"):
        (tmp_path / "killed" / name).write_text('{"half a li')
    (tmp_path / "killed" / "commits").mkdir()
    (tmp_path / "killed" / "commits" / "server-000000.safetensors").write_bytes(b"torn")
    (tmp_path / "killed" / "commits" / "round-000000.json.tmp").write_bytes(b"torn")
    assert drive(experiment, tmp_path / "killed").params_sha256() == undisturbed.params_sha256()
    _assert_same_run(tmp_path / "killed", tmp_path / "undisturbed")


@pytest.mark.parametrize("num_rounds", [1, 2, 3])
def test_killed_in_the_middle_of_a_commit(tmp_path: Path, num_rounds: int) -> None:
    """The logs and the states of the next round are written, its pointer is not."""
    experiment = prepared(REMEMBERING)
    drive(experiment, tmp_path / "undisturbed")
    drive(experiment, tmp_path / "killed", killed_after=num_rounds)
    done = len(_records(tmp_path / "killed"))
    for kind in ("server", "clients"):
        (tmp_path / "killed" / "commits" / f"{kind}-{done:06d}.safetensors").write_bytes(
            b"written, not committed"
        )
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as file:
        file.write(RoundRecord(done, 1, {"eval/accuracy": 0.0}).to_line() + "\n")
    with (tmp_path / "killed" / "events.jsonl").open("a") as file:
        file.write('{"round_idx": 9')
    drive(experiment, tmp_path / "killed")
    _assert_same_run(tmp_path / "killed", tmp_path / "undisturbed")


def test_every_client_s_state_survives_and_not_only_the_last_round_s(tmp_path: Path) -> None:
    experiment = prepared(REMEMBERING, "training.clients_per_round=2", "training.rounds=5")
    drive(experiment, tmp_path)
    by_client: dict[int, dict[str, float]] = {}
    for event in (json.loads(line) for line in _events(tmp_path)):
        losses = by_client.setdefault(event["client_id"], {})
        losses[f"round {event['round_idx']}"] = event["train_loss"]
    assert len(by_client) > 2
    commit = committed(experiment, tmp_path)
    assert {k: memory.losses for k, memory in commit.client_states.items()} == by_client
    assert all(memory.num_tasks == len(memory.losses) for memory in commit.client_states.values())
    assert commit.shared_masks.keys() == by_client.keys()
    assert commit.totals.items() <= _records(tmp_path)[-1].metrics.items()


def test_lost_client_state_changes_the_result(tmp_path: Path) -> None:
    """The tests above rely on this: without the clients' states, the run ends with other parameters."""
    experiment = prepared(REMEMBERING, "training.clients_per_round=6", "training.rounds=2")
    undisturbed = drive(experiment, tmp_path / "undisturbed")
    forgetful = drive(experiment, tmp_path / "forgetful", executor=Forgetful(experiment))
    assert forgetful.params_sha256() != undisturbed.params_sha256()


class TestExtending:
    """`training.rounds` may be raised; the longer run is the same run."""

    @staticmethod
    def _extended(experiment: Experiment, longer: Experiment, folder: Path) -> str:
        drive(experiment, folder)
        return drive(longer, folder).params_sha256()

    @pytest.mark.parametrize("name", ["fedavg", "fedavgm", "tests.support.methods:Remembering"])
    def test_extended_run_equals_the_longer_run(self, tmp_path: Path, name: str) -> None:
        short, longer = (prepared(f"algorithm.name={name}", f"training.rounds={n}") for n in (2, 5))
        expected = drive(longer, tmp_path / "longer").params_sha256()
        assert self._extended(short, longer, tmp_path / "extended") == expected
        _assert_same_run(tmp_path / "extended", tmp_path / "longer")

    def test_totals_run_on(self, tmp_path: Path) -> None:
        short, longer = (prepared(f"training.rounds={n}") for n in (2, 5))
        self._extended(short, longer, tmp_path)
        uploads = [r.metrics["comm/upload_bytes_total"] for r in _records(tmp_path)]
        assert uploads == [uploads[0] * n for n in range(1, 6)]


def test_no_round_is_committed_twice(tmp_path: Path) -> None:
    experiment = prepared(REMEMBERING)
    drive(experiment, tmp_path, killed_after=2)
    drive(experiment, tmp_path)
    drive(experiment, tmp_path)
    assert len(list((tmp_path / "commits").glob("round-*.json"))) == 4
    commit = committed(experiment, tmp_path)
    assert (commit.round_idx, commit.server_state.history[0]) == (3, 4)

"""A newest commit that is torn: the one before counts, and what was wrong is said; two of them are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.errors import CheckpointError
from orchestrator.federation.plan import ClientTask
from orchestrator.storage.checkpoint import (
    Checkpoint,
    CheckpointStore,
    RestoredRun,
    Templates,
)
from orchestrator.storage.in_flight import InFlightTask
from orchestrator.storage.pointer import seal

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a bit": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :]
    ),
    "the first byte": lambda data: bytes([data[0] ^ 255]) + data[1:],
    "the last byte": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "its end": lambda data: data[: len(data) // 2],
    "everything": lambda data: b"",
    "more than it had": lambda data: data + b" {}",
}
TEMPLATES = Templates(server={"w": torch.zeros(3)}, client={"seen": torch.zeros(2)})


def _commit(round_idx: int, **changes: Any) -> Checkpoint:
    content: dict[str, Any] = {
        "round_idx": round_idx,
        "server_state": {"w": torch.full((3,), float(round_idx))},
        "client_states": {round_idx: {"seen": torch.full((2,), float(round_idx))}},
        "shared_masks": {round_idx: f"mask {round_idx}"},
        "totals": {"rounds": round_idx + 1},
        "log_bytes": {},
    }
    return Checkpoint(**(content | changes))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three commits: each round's client is another one, so that all of the clients' files count."""
    folder = CheckpointStore(tmp_path / "commits")
    for round_idx in range(3):
        folder.write(_commit(round_idx))
    return tmp_path / "commits"


def _assert_is_round(restored: RestoredRun | None, round_idx: int) -> None:
    assert restored is not None
    assert restored.round_idx == round_idx
    assert restored.server_state["w"].tolist() == [round_idx] * 3
    states = {k: state["seen"].tolist() for k, state in restored.client_states.items()}
    assert states == {k: [k, k] for k in range(round_idx + 1)}
    assert restored.shared_masks == {k: f"mask {k}" for k in range(round_idx + 1)}
    assert restored.totals == {"rounds": round_idx + 1}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "name", ["round-000002.json", "server-000002.safetensors", "clients-000002.safetensors"]
)
def test_the_commit_before_counts(path: Path, name: str, damage: str) -> None:
    file = path / name
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    before = {p.name: p.read_bytes() for p in path.iterdir()}
    folder = CheckpointStore(path)
    _assert_is_round(folder.last(TEMPLATES), 1)
    assert {p.name: p.read_bytes() for p in path.iterdir()} == before
    (line,) = str(folder.skipped_checkpoint).splitlines()
    assert line.startswith(f"the commit of round 2 cannot be used: {file} is corrupt")
    assert line.endswith("the run goes on after round 1, and that commit's pointer is now torn-000002.json")
    folder.set_aside()
    assert (path / "torn-000002.json").read_bytes() == before["round-000002.json"]
    assert not (path / "round-000002.json").exists()
    again = CheckpointStore(path)
    _assert_is_round(again.last(TEMPLATES), 1)
    assert again.skipped_checkpoint is None
    again.write(_commit(2))
    _assert_is_round(CheckpointStore(path).last(TEMPLATES), 2)


def test_a_commit_that_is_torn_again_is_set_aside_beside_the_first(path: Path) -> None:
    for _ in range(3):
        (path / "server-000002.safetensors").write_bytes(b"")
        folder = CheckpointStore(path)
        _assert_is_round(folder.last(TEMPLATES), 1)
        folder.set_aside()
        folder.write(_commit(2))
    names = ["torn-000002-2.json", "torn-000002-3.json", "torn-000002.json"]
    assert sorted(file.name for file in path.glob("torn-*")) == names
    _assert_is_round(CheckpointStore(path).last(TEMPLATES), 2)


@pytest.mark.parametrize("name", ["server-000002.safetensors", "clients-000002.safetensors"])
def test_a_file_that_is_gone_is_damage(path: Path, name: str) -> None:
    (path / name).unlink()
    folder = CheckpointStore(path)
    _assert_is_round(folder.last(TEMPLATES), 1)
    assert f"{path / name} cannot be read (No such file or directory)" in str(folder.skipped_checkpoint)


@pytest.mark.parametrize(
    "content", ["null", "[]", '"x"', "3", "{}", '{"sha256": "0"}', "{", "\x00", "[" * 100_000]
)
def test_a_pointer_that_is_none_is_damage(path: Path, content: str) -> None:
    (path / "round-000002.json").write_text(content)
    folder = CheckpointStore(path)
    _assert_is_round(folder.last(TEMPLATES), 1)
    assert "round-000002.json is corrupt" in str(folder.skipped_checkpoint)


def test_a_pointer_edited_by_hand_is_damage(path: Path) -> None:
    pointer = json.loads((path / "round-000002.json").read_text())
    pointer["totals"]["rounds"] += 1
    (path / "round-000002.json").write_text(json.dumps(pointer))
    folder = CheckpointStore(path)
    _assert_is_round(folder.last(TEMPLATES), 1)
    assert "its checksum differs" in str(folder.skipped_checkpoint)


@pytest.mark.parametrize("name", ["round-000000.json", "server-000000.safetensors"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_first_and_only_commit_is_begun_anew(tmp_path: Path, name: str, damage: str) -> None:
    CheckpointStore(tmp_path).write(_commit(0))
    (tmp_path / name).write_bytes(DAMAGE[damage]((tmp_path / name).read_bytes()))
    folder = CheckpointStore(tmp_path)
    assert folder.last(TEMPLATES) is None
    assert f"the commit of round 0 cannot be used: {tmp_path / name}" in str(folder.skipped_checkpoint)
    assert "the run begins anew" in str(folder.skipped_checkpoint)


@pytest.mark.parametrize(
    ("newest", "before"),
    [
        ("server-000002.safetensors", "server-000001.safetensors"),
        ("clients-000002.safetensors", "server-000001.safetensors"),
        ("round-000002.json", "clients-000001.safetensors"),
        ("round-000002.json", "clients-000000.safetensors"),
        ("clients-000000.safetensors", "clients-000000.safetensors"),
        ("round-000000.json", "round-000000.json"),
    ],
)
def test_two_damaged_commits_are_refused_by_name(path: Path, newest: str, before: str) -> None:
    for name in {newest, before}:
        (path / name).write_bytes((path / name).read_bytes()[:-1])
    files = sorted(p.name for p in path.iterdir())
    folder = CheckpointStore(path)
    with pytest.raises(CheckpointError) as caught:
        folder.last(TEMPLATES)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("neither the commit of round 2 nor the one of round 1 can be used: ")
    assert line.count(str(path / before)) == line.count(str(path / newest)) == 1
    assert "start a new run" in line
    folder.set_aside()
    assert sorted(p.name for p in path.iterdir()) == files


@pytest.mark.parametrize("name", ["round-000002.json", "server-000002.safetensors"])
def test_what_only_hinders_reading_is_no_damage(path: Path, name: str) -> None:
    """A link in a circle, as a mount that is stale: nothing is known of the commit, so that none is given up."""
    (path / name).unlink()
    (path / name).symlink_to(path / name)
    folder = CheckpointStore(path)
    with pytest.raises(
        CheckpointError, match=rf"{name} cannot be read \(Too many levels.*then resume the run"
    ):
        folder.last(TEMPLATES)
    assert folder.skipped_checkpoint is None


def test_damage_to_a_server_state_that_is_superseded_does_not_matter(path: Path) -> None:
    (path / "server-000001.safetensors").write_bytes(b"")
    folder = CheckpointStore(path)
    _assert_is_round(folder.last(TEMPLATES), 2)
    assert folder.skipped_checkpoint is None


def test_states_of_another_version_of_the_method_are_no_damage(path: Path) -> None:
    folder = CheckpointStore(path)
    with pytest.raises(CheckpointError, match=r"server-000002.*another version of the method"):
        folder.last(Templates(server=(torch.zeros(1),), client=TEMPLATES.client))
    assert folder.skipped_checkpoint is None


def test_the_server_states_that_flights_need_belong_to_the_commit(tmp_path: Path) -> None:
    """Round 1's commit needs the state after round 0 as round 0's does: neither can be used without it."""
    folder = CheckpointStore(tmp_path)
    flight = InFlightTask(
        task=ClientTask(round_idx=1, position=0, client_id=0), start_s=0.5, download_bytes=8
    )
    for round_idx, in_flight in enumerate([(), (flight,), (flight,)]):
        folder.write(_commit(round_idx, in_flight=in_flight))
    (tmp_path / "server-000002.safetensors").write_bytes(b"")
    restored = CheckpointStore(tmp_path).last(TEMPLATES)
    _assert_is_round(restored, 1)
    assert restored is not None
    assert restored.in_flight == (flight,)
    assert restored.earlier_states[0]["w"].tolist() == [0.0] * 3
    (tmp_path / "server-000000.safetensors").unlink()
    with pytest.raises(CheckpointError, match="neither the commit of round 2 nor the one of round 1"):
        CheckpointStore(tmp_path).last(TEMPLATES)


class TestLogs:
    """What a round added to the logs is part of its commit."""

    @pytest.fixture
    def run(self, tmp_path: Path) -> Path:
        from orchestrator.storage.run_store import RunStore

        store = RunStore(tmp_path)
        for round_idx in range(3):
            store.commit(_commit(round_idx), {"metrics.jsonl": [f"round {round_idx}"], "events.jsonl": ["x"]})
        return tmp_path

    @pytest.mark.parametrize("name", ["metrics.jsonl", "events.jsonl"])
    @pytest.mark.parametrize("damage", ["the last byte", "its last line", "its last byte", "itself"])
    def test_damage_to_the_newest_lines(self, run: Path, name: str, damage: str) -> None:
        log = run / name
        whole = log.read_bytes()
        if damage == "itself":
            log.unlink()
        else:
            log.write_bytes(
                {
                    "the last byte": whole[:-1] + b"?",
                    "its last line": whole[: whole[:-1].rindex(b"\n") + 1],
                    "its last byte": whole[:-1],
                }[damage]
            )
        folder = CheckpointStore(run / "commits")
        if damage == "itself":
            with pytest.raises(CheckpointError, match=f"{name} cannot be read"):
                folder.last(TEMPLATES, run)
        else:
            _assert_is_round(folder.last(TEMPLATES, run), 1)
            assert str(log) in str(folder.skipped_checkpoint)

    def test_lines_of_a_round_that_was_not_committed_do_not_matter(self, run: Path) -> None:
        with (run / "metrics.jsonl").open("a") as file:
            file.write("round 3\nroun")
        folder = CheckpointStore(run / "commits")
        _assert_is_round(folder.last(TEMPLATES, run), 2)
        assert folder.skipped_checkpoint is None


class TestForms:
    """A pointer whose checksum is right and whose form is not: of another release, or forged."""

    @pytest.mark.parametrize(
        "changes",
        [
            {"round_idx": 1},
            {"round_idx": "2"},
            {"round_idx": True},
            {"files": {}},
            {"files": []},
            {"files": {"server-000002.safetensors": 3, "clients-000002.safetensors": "0"}},
            {"files": {"../../elsewhere": "0"}},
            {"client_states": None},
            {"client_states": []},
            {"client_states": ["-1"]},
            {"client_states": [2]},
            {"held_masks": {"x": "0"}},
            {"held_masks": {"1": 0}},
            {"totals": {"rounds": "3"}},
            {"totals": None},
            {"log_bytes": {"metrics.jsonl": 1.5}},
            {"flights": [{}]},
            {"flights": [3]},
            {"flights": 3},
        ],
    )
    def test_are_refused(self, path: Path, changes: dict[str, Any]) -> None:
        file = path / "round-000002.json"
        content = json.loads(file.read_bytes())
        del content["sha256"]
        file.write_bytes(seal(content | changes))
        with pytest.raises(CheckpointError, match=r"round-000002\.json is not of the form") as caught:
            CheckpointStore(path).last(TEMPLATES)
        assert len(str(caught.value).splitlines()) == 1

    @pytest.mark.parametrize(
        "key", ["round_idx", "files", "client_states", "held_masks", "totals", "log_bytes"]
    )
    def test_lack_nothing(self, path: Path, key: str) -> None:
        file = path / "round-000002.json"
        content = json.loads(file.read_bytes())
        del content["sha256"], content[key]
        file.write_bytes(seal(content))
        with pytest.raises(CheckpointError, match=r"round-000002\.json is not of the form"):
            CheckpointStore(path).last(TEMPLATES)

    def test_of_a_release_that_noted_less_are_read(self, path: Path) -> None:
        for file in path.glob("round-*.json"):
            content = json.loads(file.read_bytes())
            del content["sha256"], content["log_sha256"], content["flights"]
            file.write_bytes(seal(content))
        _assert_is_round(CheckpointStore(path).last(TEMPLATES), 2)

    @pytest.mark.parametrize(
        "name", ["round-abc.json", "round-2 (copy).json", "server-x.safetensors", "notes"]
    )
    def test_strange_files_do_not_matter(self, path: Path, name: str) -> None:
        (path / name).write_bytes(b"")
        _assert_is_round(CheckpointStore(path).last(TEMPLATES), 2)

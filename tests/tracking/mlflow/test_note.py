"""The description of an MLflow run: written once, updated at the end, and left alone after a user's edit."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.tracking.mlflow.note import DIGEST_TAG, NOTE_TAG, update_note
from tests.support.memory_store import MemoryStore, commit, deliver, run_info, sink_on


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    store = MemoryStore()
    deliver(store, tmp_path / "r1", 0)
    return store


def _update(store: MemoryStore, run_dir: Path, summary: dict[str, float]) -> None:
    client: Any = store
    update_note(client, run_info(run_dir), "m0", summary, "FINISHED")


def test_result_replaces_the_description_of_a_run_in_progress(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    sink = sink_on(store)
    sink.start(run_info(run_dir))
    assert "in progress" in store.runs["m0"].tags[NOTE_TAG]
    sink.log(commit(run_dir, 0))
    sink.finish("FINISHED", {"accuracy": 0.5})
    assert "50.00%" in store.runs["m0"].tags[NOTE_TAG]


def test_description_that_a_user_edited_stays(store: MemoryStore, tmp_path: Path) -> None:
    store.runs["m0"].tags[NOTE_TAG] += " my words"
    edited = store.runs["m0"].tags[NOTE_TAG]
    _update(store, tmp_path / "r1", {"accuracy": 0.75})
    assert store.runs["m0"].tags[NOTE_TAG] == edited


def test_run_of_an_earlier_release_gets_a_description_when_it_ends(
    store: MemoryStore, tmp_path: Path
) -> None:
    del store.runs["m0"].tags[NOTE_TAG], store.runs["m0"].tags[DIGEST_TAG]
    _update(store, tmp_path / "r1", {"accuracy": 0.75})
    assert "75.00%" in store.runs["m0"].tags[NOTE_TAG]


def test_equal_description_is_not_sent_again(store: MemoryStore, tmp_path: Path) -> None:
    _update(store, tmp_path / "r1", {"accuracy": 0.75})
    num_calls = len(store.calls)
    _update(store, tmp_path / "r1", {"accuracy": 0.75})
    assert "log_batch" not in store.calls[num_calls:]

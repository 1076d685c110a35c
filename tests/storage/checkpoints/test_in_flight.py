"""Tasks in flight as JSON: every field survives, and damaged fields are rejected."""

import json
from typing import Any

import pytest

from orchestrator.federation.plan import ClientTask
from orchestrator.storage.checkpoints.in_flight import InFlightTask

TASK = InFlightTask(
    task=ClientTask(round_idx=4, position=2, client_id=17, score=True, repeat=1),
    start_s=0.1,
    download_bytes=1234,
    number=9,
)
CONTENT = {
    "round_idx": 4,
    "position": 2,
    "client_id": 17,
    "score": True,
    "repeat": 1,
    "start_s": 0.1,
    "download_bytes": 1234,
    "number": 9,
}


def test_to_dict_has_every_field_on_one_level() -> None:
    assert TASK.to_dict() == CONTENT


def test_from_dict_restores_the_task_from_json() -> None:
    assert InFlightTask.from_dict(json.loads(json.dumps(CONTENT))) == TASK


def test_earlier_releases_wrote_no_number_and_no_repeat() -> None:
    content = {name: value for name, value in CONTENT.items() if name not in ("number", "repeat")}
    task = InFlightTask.from_dict(content)
    assert (task.number, task.task.repeat) == (0, 0)
    assert (task.start_s, task.task.client_id) == (0.1, 17)


def test_whole_seconds_are_accepted() -> None:
    """JSON of other programs writes 3.0 as 3."""
    assert InFlightTask.from_dict(CONTENT | {"start_s": 3}).start_s == 3.0


@pytest.mark.parametrize("name", ["round_idx", "position", "client_id", "score", "start_s", "download_bytes"])
def test_missing_field_is_named(name: str) -> None:
    content = {key: value for key, value in CONTENT.items() if key != name}
    with pytest.raises(TypeError, match=name):
        InFlightTask.from_dict(content)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("round_idx", 4.0),
        ("round_idx", True),
        ("score", 1),
        ("client_id", "17"),
        ("start_s", None),
        ("number", [9]),
        ("attempt", 1),
    ],
)
def test_wrong_type_and_unknown_field_are_named(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=name):
        InFlightTask.from_dict(CONTENT | {name: value})

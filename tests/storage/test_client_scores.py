"""The accuracy of each client in the last evaluation."""

import json
from pathlib import Path

from orchestrator.storage.client_scores import CLIENT_SCORES, ClientScores


def test_last_evaluation_replaces_the_one_before_and_keeps_other_metrics(tmp_path: Path) -> None:
    """An evaluation without personal models does not forget them."""
    first, second = ClientScores(), ClientScores()
    first.add("eval/client_accuracy", [0, 2], [0.5, 0.25])
    first.add("personal/accuracy", [1, 2], [0.1, 0.2])
    first.write(tmp_path, 3)
    second.add_client(1, {"personal/accuracy": 0.75})
    second.add_client(4, {"personal/accuracy": 1.0})
    second.write(tmp_path, 5)
    assert json.loads((tmp_path / CLIENT_SCORES).read_text()) == {
        "round_idx": 5,
        "scores": {
            "eval/client_accuracy": {"0": 0.5, "2": 0.25},
            "personal/accuracy": {"1": 0.75, "4": 1.0},
        },
    }


def test_file_that_cannot_be_read_is_replaced(tmp_path: Path) -> None:
    (tmp_path / CLIENT_SCORES).write_text('{"scores": [')
    scores = ClientScores()
    scores.add_client(1, {"personal/accuracy": 0.75})
    scores.write(tmp_path, 5)
    assert json.loads((tmp_path / CLIENT_SCORES).read_text())["scores"] == {"personal/accuracy": {"1": 0.75}}


def test_round_without_an_evaluation_writes_nothing(tmp_path: Path) -> None:
    ClientScores().write(tmp_path, 0)
    assert not list(tmp_path.iterdir())

"""Broken rules raise AssertionError, also under `python -O`."""

import subprocess
import sys

import pytest

from orchestrator.contract.violation import require, scored, updated
from orchestrator.federation.update import ClientFailure, ClientScore
from tests.support.updates import client_update

FAILURE = ClientFailure(
    round_idx=0, position=0, client_id=3, stage="train", cause="OSError: gone", traceback="line 1\nline 2"
)
SCORE = ClientScore(round_idx=0, position=0, client_id=3, scores={"personal/accuracy": 0.5})


def test_false_condition_raises_with_the_message() -> None:
    require(True, "not this one")
    with pytest.raises(AssertionError, match=r"^weights differ$"):
        require(False, "weights differ")


def test_condition_is_checked_without_assert_statements() -> None:
    code = "from orchestrator.contract.violation import require\nrequire(False, 'weights differ')"
    found = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "AssertionError: weights differ" in found.stderr


def test_outcome_of_the_expected_type_is_returned() -> None:
    update = client_update()
    assert updated(update) is update
    assert scored(SCORE) is SCORE


def test_other_outcome_raises_and_a_failure_adds_its_traceback() -> None:
    with pytest.raises(AssertionError):
        updated(SCORE)
    with pytest.raises(AssertionError):
        scored(client_update())
    with pytest.raises(AssertionError, match="OSError: gone") as caught:
        updated(FAILURE)
    assert caught.value.__notes__ == ["line 1\nline 2"]

"""The results of a task: names of scores, and the text of a failure."""

import json

from orchestrator.federation.update import SCORES, ClientFailure

FAILURE = ClientFailure(
    round_idx=3, position=1, client_id=7, stage="train", cause="OSError: no file", traceback="line 1\nline 2"
)


def test_each_model_has_a_score_on_its_own_and_on_the_central_test_set() -> None:
    models = ("personal", "trained", "finetuned")
    scores = {f"{m}/{data}" for m in models for data in ("accuracy", "central_accuracy")}
    assert set(SCORES) == {*scores, "validation/personal_accuracy"}


def test_failure_is_one_line_of_json_with_all_fields() -> None:
    line = FAILURE.to_line()
    assert "\n" not in line
    assert ClientFailure(**json.loads(line)) == FAILURE


def test_text_of_a_failure_names_client_round_stage_and_cause() -> None:
    text = str(FAILURE)
    assert all(part in text for part in ("client 7", "round 3", "train", "OSError: no file"))
    assert "\n" not in text

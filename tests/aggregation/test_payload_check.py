"""The check of a payload by itself; tests/rounds/test_admission.py and the fuzzer check whole updates."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.aggregation.payload_check import decode_update, max_elements, rejected_payload
from orchestrator.contract.rounds import RecordedRound, play
from orchestrator.errors import WireError
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.exchange import MODEL_ITEM
from orchestrator.sparsity.payload import Dense, Scalar
from orchestrator.sparsity.wire import encode
from tests.support.fakes import experiment


@pytest.fixture(scope="module")
def dense() -> tuple[Experiment, RecordedRound]:
    made = experiment({"algorithm.name": "scaffold"})
    return made, play(made, 1)[-1]


def test_content_has_the_models_and_the_other_items(dense: tuple[Experiment, RecordedRound]) -> None:
    made, played = dense
    content = decode_update(made, played.jobs[0], played.updates[0].buffer, played.received[0])
    assert content.model is not None
    assert content.received is played.received[0]
    assert content.model.values.tolist() == played.models[0].values.tolist()  # type: ignore[union-attr]
    assert [item.name for item in content.items] == [
        item.name for item in played.payloads[0] if item.name != MODEL_ITEM
    ]


def test_answer_to_a_question_for_the_loss_has_no_model(dense: tuple[Experiment, RecordedRound]) -> None:
    made, played = dense
    request = replace(played.jobs[0], task=replace(played.jobs[0].task, kind="loss"))
    buffer = np.frombuffer(encode((Scalar("loss", 0.5),)), np.uint8)
    content = decode_update(made, request, buffer, played.received[0])
    assert (content.model, content.items) == (None, (Scalar("loss", 0.5),))


def test_payload_of_too_many_values_is_rejected_before_it_is_decoded(
    dense: tuple[Experiment, RecordedRound],
) -> None:
    made, played = dense
    limit = max_elements(made.setting.layout)
    assert limit == 16 * made.setting.layout.size + 65_536
    buffer = np.frombuffer(encode((Dense("x", np.zeros(limit + 1, np.float32)),)), np.uint8)
    with pytest.raises(WireError, match=f"at most {limit}"):
        decode_update(made, played.jobs[0], buffer, played.received[0])


@pytest.mark.parametrize(("error", "has_traceback"), [(WireError("x"), False), (KeyError("x"), True)])
def test_only_errors_of_a_method_keep_their_traceback(error: Exception, has_traceback: bool) -> None:
    try:
        raise error
    except Exception as raised:
        report = rejected_payload(raised)
    assert report.stage == "admission"
    assert report.cause.startswith(type(error).__name__)
    assert bool(report.traceback) == has_traceback


@pytest.mark.parametrize("options", [{"value_dtype": "float16"}, {"value_dtype": "bfloat16"}, {"version": 1}])
def test_another_wire_format_than_the_configs_is_rejected(
    dense: tuple[Experiment, RecordedRound], options: dict[str, object]
) -> None:
    made, played = dense
    buffer = np.frombuffer(encode(played.payloads[0], **options), np.uint8)  # type: ignore[arg-type]
    with pytest.raises(WireError):
        decode_update(made, played.jobs[0], buffer, played.received[0])


@pytest.mark.parametrize("buffer", [b"bytes", np.zeros(3, np.int64), np.zeros((2, 2), np.uint8), None])
def test_buffer_that_is_no_vector_of_bytes_is_rejected(
    dense: tuple[Experiment, RecordedRound], buffer: object
) -> None:
    made, played = dense
    with pytest.raises(WireError):
        decode_update(made, played.jobs[0], buffer, played.received[0])

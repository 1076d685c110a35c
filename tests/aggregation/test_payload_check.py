"""The check of an encoded payload gives the driver's and an aggregator's verdict."""

import numpy as np
import pytest

from orchestrator.aggregation.payload_check import decode_update, max_elements, rejected_payload
from orchestrator.contract.rounds import phases, play
from orchestrator.errors import WireError
from orchestrator.experiment.experiment import Experiment
from orchestrator.sparsity.payload import Dense
from orchestrator.sparsity.wire import decode, encode
from tests.support.fakes import experiment
from tests.support.shards import encoded_updates

FEDAVG: Experiment = experiment({"algorithm.name": "fedavg"})
RECORDED = phases(play(FEDAVG, 1))[-1]
ENCODED, RECEIVED = encoded_updates(RECORDED)[0], RECORDED.received[0]


def test_valid_payload_is_decoded_to_its_model() -> None:
    found = decode_update(FEDAVG, ENCODED.request, ENCODED.payload, RECEIVED)
    (item,) = decode(ENCODED.payload)
    assert isinstance(item, Dense)
    assert found.model is not None
    assert found.model.values.tolist() == item.values.tolist()
    assert found.items == ()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_value_that_is_not_finite_is_rejected(value: float) -> None:
    (item,) = decode(ENCODED.payload)
    assert isinstance(item, Dense)
    values = item.values.copy()
    values[7] = value
    payload = np.frombuffer(encode((Dense(item.name, values),)), np.uint8)
    with pytest.raises(WireError):
        decode_update(FEDAVG, ENCODED.request, payload, RECEIVED)


@pytest.mark.parametrize("options", [{"value_dtype": "float16"}, {"value_dtype": "bfloat16"}, {"version": 1}])
def test_another_wire_format_than_the_configs_is_rejected(options: dict[str, object]) -> None:
    payload = np.frombuffer(encode(decode(ENCODED.payload), **options), np.uint8)  # type: ignore[arg-type]
    with pytest.raises(WireError):
        decode_update(FEDAVG, ENCODED.request, payload, RECEIVED)


@pytest.mark.parametrize("buffer", [b"bytes", np.zeros(3, np.int64), np.zeros((2, 2), np.uint8), None])
def test_buffer_that_is_no_vector_of_bytes_is_rejected(buffer: object) -> None:
    with pytest.raises(WireError):
        decode_update(FEDAVG, ENCODED.request, buffer, RECEIVED)


def test_rejection_names_the_error_and_has_a_traceback_for_unexpected_errors() -> None:
    expected = rejected_payload(WireError("no mask"))
    assert (expected.stage, expected.cause, expected.traceback) == ("admission", "WireError: no mask", "")
    try:
        raise KeyError("theta")
    except KeyError as error:
        unexpected = rejected_payload(error)
    assert unexpected.cause == "KeyError: 'theta'"
    assert "Traceback" in unexpected.traceback


def test_limit_allows_several_vectors_of_the_models_size() -> None:
    layout = FEDAVG.setting.layout
    assert max_elements(layout) >= 2 * layout.size

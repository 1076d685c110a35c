"""An update as the server has it: its arrival, whether its message arrived at the client, and its contribution."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.aggregation.received_update import DecodedUpdate
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.update import PayloadReport, StoredUpdate
from orchestrator.sparsity.payload import Scalar
from tests.support.updates import client_update, received_update


def test_update_arrives_after_download_training_and_upload() -> None:
    """From 70 s: 4 s of download, 2.5 s of training and 4 s of upload."""
    update = received_update(start_s=70.0, download_s=4.0, compute_s=2.5, upload_s=4.0)
    assert update.arrival_s == 80.5
    assert update.client_id == 0


@pytest.mark.parametrize(
    ("event", "is_downloaded"),
    [
        ({"outcome": "vanished", "download_s": 3.0, "compute_s": 0.0, "upload_s": 0.0}, False),
        ({"outcome": "vanished", "download_s": 4.0, "compute_s": 0.5, "upload_s": 0.0}, True),
        ({"outcome": "vanished", "download_s": 4.0, "compute_s": 0.0, "upload_s": 0.5}, True),
        ({"outcome": "used", "download_s": 0.0, "compute_s": 0.0, "upload_s": 0.0}, True),
    ],
)
def test_message_of_a_device_that_vanished_during_the_download_is_lost(
    event: dict[str, Any], is_downloaded: bool
) -> None:
    assert received_update(**event).is_downloaded == is_downloaded


def test_contribution_has_the_sent_model_and_the_start() -> None:
    start, mask = torch.tensor([1.0, 2.0]), torch.tensor([True, False])
    sent = ModelValues(torch.tensor([5.0, 0.0]), mask)
    content = DecodedUpdate(received=ModelValues(start, None), model=sent, items=(Scalar("loss", 0.5),))
    found = content.contribution(3, 7.0)
    assert (found.client_id, found.weight, found.items) == (3, 7.0, (Scalar("loss", 0.5),))
    assert found.values is sent.values
    assert found.mask is mask
    assert found.start is start


def test_contribution_of_an_update_without_a_model_has_no_values() -> None:
    found = DecodedUpdate(received=None, model=None, items=()).contribution(0, 1.0)
    assert (found.values, found.mask, found.start) == (None, None, None)
    assert np.isfinite(found.weight)


@pytest.mark.parametrize("has_model", [True, False])
def test_stored_update_has_a_model_if_its_report_says_so(has_model: bool) -> None:
    report = PayloadReport(upload_bytes=8, has_model=has_model)
    stored = StoredUpdate(update=client_update(), encoded=None, report=lambda: report)
    assert replace(received_update(), content=stored).has_model == has_model

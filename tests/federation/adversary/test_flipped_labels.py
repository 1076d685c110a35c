"""Labels of an attacker, by hand."""

import numpy as np
import torch

from orchestrator.data.client_samples import ClientSamples
from orchestrator.federation.adversary.flipped_labels import FlippedLabels
from tests.support.runs import prepared


def test_labels_are_mirrored_and_the_samples_keep_their_order() -> None:
    dataset = prepared().dataset
    rows = np.arange(12)
    honest = ClientSamples(dataset, rows, augment=False, device=torch.device("cpu"))
    flipped = FlippedLabels(honest, 10)
    assert len(flipped) == 12
    assert (flipped.labels + honest.labels == 9).all()
    inputs, labels = flipped.epoch(np.random.default_rng(1))
    honest_inputs, honest_labels = honest.epoch(np.random.default_rng(1))
    assert torch.equal(inputs, honest_inputs)
    assert labels.tolist() == [9 - y for y in honest_labels.tolist()]

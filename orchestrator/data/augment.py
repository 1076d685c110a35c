"""Augments raw training images before normalisation, so that the padding is black."""

import numpy as np
from numpy.random import Generator

from orchestrator.data.dataset import Inputs


def crop_flip(images: Inputs, rng: Generator, padding: int = 4) -> Inputs:
    """Return a random crop of each zero-padded image, flipped left to right with probability 1/2.

    Input and output are [n, C, H, W] of the same dtype. The corner of each crop is uniform over the
    (2 * padding + 1)^2 positions, independently of other images.
    """
    num_images, channels, height, width = images.shape
    margin = (padding, padding)
    padded = np.pad(images, ((0, 0), (0, 0), margin, margin))
    corners = rng.integers(0, 2 * padding + 1, size=(num_images, 2))
    flipped = rng.random(num_images) < 0.5
    rows = corners[:, :1] + np.arange(height)  # [n, H]
    columns = corners[:, 1:] + np.arange(width)  # [n, W]
    columns[flipped] = columns[flipped, ::-1]
    cropped: Inputs = padded[
        np.arange(num_images)[:, None, None, None],
        np.arange(channels)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
    return cropped

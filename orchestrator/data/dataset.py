"""A data set in memory: plain numpy arrays, which Ray's object store can share without a copy.

Legend: N = samples of a part; C = channels, H, W = height and width of an image; F = features of a vector;
T = characters of a text.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.models.shapes import InputShape

Int64 = NDArray[np.int64]
Images = NDArray[np.uint8] | NDArray[np.float32]
Tokens = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.uint32]
Inputs = Images | Tokens


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """The training part and the central test part of a data set.

    - Images (`vocabulary` None): inputs are uint8 (0..255) or float32, [N, C, H, W]. `mean` and `std` have one number
      per channel; for uint8 images they refer to pixel / 255.
    - Vectors: inputs are float32, [N, F]. `mean` and `std` have one number per feature.
    - Texts: inputs are unsigned token ids, [N, T]. Token i is the character `vocabulary[i]`. The label is the next
      token. `mean` and `std` are empty.
    - Labels are int64[N].
    - Client ids are int64[N]: 0, 1, 2, ... in sorted order of the original ids (None: the data has no client ids).
      A test sample has the id -1 when its client has no training sample.
    - `notes` are lines for the user about the files. No result depends on them.
    """

    name: str
    input_shape: InputShape
    num_classes: int
    train_inputs: Inputs
    train_labels: Int64
    test_inputs: Inputs
    test_labels: Int64
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_client_ids: Int64 | None = None
    test_client_ids: Int64 | None = None
    vocabulary: str | None = None
    notes: tuple[str, ...] = ()

    def to_tensor(self, inputs: Inputs) -> Tensor:
        """Convert inputs to a model's input: normalised images, float32[n, C, H, W], or vectors, float32[n, F], or
        texts, int64[n, T].

        An image or vector becomes (x - mean) / std, where x of a uint8 image is pixel / 255. The result is a copy, so
        the inputs may be read-only.
        """
        if self.vocabulary is not None:
            return torch.from_numpy(inputs.astype(np.int64, order="C"))
        values = torch.from_numpy(inputs.astype(np.float32, order="C"))
        if inputs.dtype == np.uint8:
            values.div_(255.0)
        trailing = [1] * (inputs.ndim - 2)
        mean, std = (torch.tensor(c, dtype=torch.float32).view(-1, *trailing) for c in (self.mean, self.std))
        return values.sub_(mean).div_(std)

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of all data that a result can depend on: inputs, labels, client ids, constants."""
        meaning: tuple[object, ...] = (self.num_classes, self.mean, self.std)
        if self.vocabulary is not None:
            meaning += (self.vocabulary,)
        digest = hashlib.sha256(repr(meaning).encode())
        for array in (
            self.train_inputs,
            self.train_labels,
            self.train_client_ids,
            self.test_inputs,
            self.test_labels,
            self.test_client_ids,
        ):
            update_digest(digest, array)
        return digest.hexdigest()


def update_digest(digest: "hashlib._Hash", array: NDArray[np.generic] | None) -> None:
    """Add dtype, shape and content of an array to a hash; None adds a marker."""
    if array is None:
        digest.update(b"none")
        return
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)

"""A data set in memory: plain numpy arrays, so that a cluster's object store can share it without a copy.

Legend: N = images of a part, C = channels, H, W = height and width.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Int64 = NDArray[np.int64]
Images = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Training and central test part. Images are uint8 (0..255) or float32, [N, C, H, W]; labels int64[N].

    `mean` and `std` hold one number per channel, for uint8 images on the scale of pixel / 255. Client ids
    are dense int64[N] in sorted order of the original ids; None: the data says nothing about clients. A test
    image whose client has no training image carries -1.
    """

    name: str
    input_shape: tuple[int, int, int]
    num_classes: int
    train_inputs: Images
    train_labels: Int64
    test_inputs: Images
    test_labels: Int64
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_client_ids: Int64 | None = None
    test_client_ids: Int64 | None = None

    def normalise(self, images: Images) -> Tensor:
        """Raw images [n, C, H, W] -> float32[n, C, H, W]: (x - mean) / std, uint8 divided by 255 first.

        The result is new memory; the images may be read-only.
        """
        values = torch.from_numpy(images.astype(np.float32, order="C"))
        if images.dtype == np.uint8:
            values.div_(255.0)
        mean, std = (torch.tensor(c, dtype=torch.float32).view(-1, 1, 1) for c in (self.mean, self.std))
        return values.sub_(mean).div_(std)

    def fingerprint(self) -> str:
        """SHA-256 (hex) over everything a result can depend on: pixels, labels, client ids, normalisation."""
        digest = hashlib.sha256(repr((self.num_classes, self.mean, self.std)).encode())
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
    """Feed dtype, shape and content of an array (or its absence) to a hash."""
    if array is None:
        digest.update(b"none")
        return
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)

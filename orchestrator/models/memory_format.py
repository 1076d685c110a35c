"""The memory format of the images that a model computes on.

In channels-last format the channels of a pixel lie side by side. torch's kernels for few channels and for pooling are
faster in it, and those for many channels are slower (tests/benchmarks/memory_format.py). The format changes the order
of additions, and so the last bits of a result. Each model therefore has one format on every machine.
"""

from typing import Literal

import torch
from torch import Tensor

MemoryFormat = Literal["contiguous", "channels_last"]


def channels_last(images: Tensor) -> Tensor:
    """Return the images float32[B, C, H, W] with the strides of channels-last format.

    For torch, a tensor with one channel already is in channels-last format, and torch copies nothing. Its kernels,
    however, choose by the strides.
    """
    num_images, num_channels, height, width = images.shape
    if num_channels > 1:
        return images.contiguous(memory_format=torch.channels_last)
    return images.contiguous().as_strided((num_images, 1, height, width), (height * width, 1, width, 1))

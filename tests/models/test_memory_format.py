"""Images in channels-last format: the same values with other strides, and models that compute on them."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from orchestrator.models.memory_format import MemoryFormat, channels_last
from orchestrator.models.parameters import FlatModule
from orchestrator.models.seeding import preserved_generators


@pytest.mark.parametrize("num_channels", [1, 3])
def test_images_keep_their_values_and_their_channels_lie_side_by_side(num_channels: int) -> None:
    images = torch.randn(2, num_channels, 4, 5)
    found = channels_last(images)
    assert torch.equal(found, images)
    assert found.stride() == (num_channels * 20, 1, 5 * num_channels, num_channels)


def test_every_second_image_is_read_correctly() -> None:
    images = torch.randn(4, 1, 3, 3)
    assert torch.equal(channels_last(images[::2]), images[::2])


def _gradient(memory_format: MemoryFormat, num_channels: int) -> tuple[Tensor, Tensor]:
    """Return logits and gradient of a small net at the same weights and images."""
    with preserved_generators():
        torch.manual_seed(0)
        net = nn.Sequential(
            *(nn.Conv2d(num_channels, 4, 3), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(54, 3)),
        )
        images, labels = torch.randn(5, num_channels, 12, 12), torch.tensor([0, 1, 2, 0, 1])
    flat = FlatModule(net, memory_format=memory_format)
    logits = flat(images)
    cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
    return logits.detach(), flat.grad


@pytest.mark.parametrize("num_channels", [1, 3])
def test_both_formats_have_the_same_logits_and_gradients_but_for_rounding(num_channels: int) -> None:
    (logits, gradient), (other_logits, other_gradient) = (
        _gradient(memory_format, num_channels) for memory_format in ("contiguous", "channels_last")
    )
    assert float(gradient.abs().max()) > 0.01
    torch.testing.assert_close(other_logits, logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(other_gradient, gradient, rtol=1e-5, atol=1e-6)


class _Strides(nn.Module):
    """Records the strides of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(8, 2)
        self.strides: list[tuple[int, ...]] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.strides.append(inputs.stride())
        return self.last(inputs.flatten(1))


def test_flat_module_converts_its_inputs_only_in_channels_last_format() -> None:
    images = torch.randn(3, 2, 2, 2)
    for memory_format, strides in (("contiguous", (8, 4, 2, 1)), ("channels_last", (8, 1, 4, 2))):
        module = _Strides()
        FlatModule(module, memory_format=memory_format)(images)
        assert module.strides == [strides]

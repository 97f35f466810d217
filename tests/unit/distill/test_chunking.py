"""How many images pass a frozen network at once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dckd_basicsr.distill.chunking import images_at_once, widest_layer


def test_the_options_win():
    assert images_at_once(torch.zeros(8, 3, 192, 192), 3, width=128) == 3


def test_a_cpu_takes_what_its_cache_holds():
    assert images_at_once(torch.zeros(8, 3, 96, 96), None, width=80) == (12 << 20) // (4 * 80 * 96 * 96) == 4
    assert images_at_once(torch.zeros(64, 3, 96, 96), None, width=80, dtype=torch.bfloat16) == 8
    assert images_at_once(torch.zeros(8, 3, 192, 192), None, width=128) == 1
    assert images_at_once(torch.zeros(2, 3, 8, 8), None) == 2


def test_pieces_are_equal_where_that_costs_little():
    assert images_at_once(torch.zeros(18, 3, 96, 96), None, width=80) == 3  # not four times 4 and 2
    assert images_at_once(torch.zeros(11, 3, 96, 96), None, width=80) == 4  # rather than singly


def test_other_devices_take_all():
    assert images_at_once(torch.zeros(8, 3, 192, 192, device="meta"), None, width=128) == 8


def images(count: int, height: int, width: int) -> torch.Tensor:
    """Images that take no memory."""
    return torch.zeros(1, 1, 1, 1).expand(count, 3, height, width)


def test_twelve_mebibytes_of_the_widest_layer():
    # a prime number of images, so that no equal pieces stand in the way
    assert images_at_once(images(1013, 64, 64), None, width=1) == 768
    assert images_at_once(images(97, 64, 64), None) == 24  # of width 32
    assert images_at_once(images(97, 64, 32), None) == images_at_once(images(97, 32, 64), None) == 48


def test_equal_pieces_are_more_than_half_of_what_fits():
    assert images_at_once(images(14, 128, 153), None) == 5  # fit; seven times two would be equal
    assert images_at_once(images(14, 128, 192), None) == 4
    assert images_at_once(images(15, 128, 153), None) == 5
    assert images_at_once(images(15, 128, 192), None) == 3


def test_no_image_is_one_at_a_time():
    assert images_at_once(images(0, 8, 8), None) == 1


# --- the widest layer


def conv(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Pair(nn.Module):
    def forward(self, x):
        return x, x


class Picky(nn.Module):
    """Takes inputs of one shape."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape, self.conv = shape, conv(shape[1], 5)

    def forward(self, x):
        if x.shape != self.shape:
            raise ValueError(x.shape)
        return self.conv(x)


@pytest.mark.parametrize(
    ("net", "width"),
    [
        (nn.Sequential(conv(3, 16), conv(16, 4)), 16),
        (nn.Sequential(conv(3, 4), conv(4, 16), conv(16, 3)), 16),
        (nn.Sequential(conv(3, 16), nn.PixelShuffle(2), conv(4, 6)), 24),  # four pixels for each of the input
        (nn.Sequential(conv(3, 16), nn.MaxPool2d(2), conv(16, 20)), 16),
        (Picky(1, 3, 64, 64), 5),
        (Pair(), 32),
        (nn.Sequential(conv(3, 16), conv(3, 16)), 32),  # cannot run
    ],
)
def test_the_widest_layer_counts_for_each_pixel_of_the_input(net, width):
    assert widest_layer(net) == width
    assert not any(module._forward_hooks for module in net.modules())


def test_the_widest_layer_at_a_given_input():
    assert widest_layer(Picky(1, 1, 24, 24), side=24, channels=1) == 5

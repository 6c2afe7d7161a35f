"""What few pixels reach, as a rectangle, against the same operations on whole layers."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nbutils.bounds.crops import Crop


@st.composite
def crops(draw: st.DrawFn, size: tuple[int, int], channels: int) -> Crop:
    """A rectangle anywhere in a layer of `size`, with three rows of values."""
    top, left = (draw(st.integers(0, end - 1)) for end in size)
    height, width = draw(st.integers(1, size[0] - top)), draw(st.integers(1, size[1] - left))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    return Crop(torch.randn(3, channels, height, width, generator=generator), top, left, size)


sizes = st.tuples(st.integers(5, 12), st.integers(5, 12))


def placed(crop: Crop) -> Tensor:
    """The layer that `crop` stands for, put together by hand."""
    layer = torch.zeros(*crop.values.shape[:2], *crop.size)
    height, width = crop.values.shape[2:]
    layer[..., crop.top : crop.top + height, crop.left : crop.left + width] = crop.values
    return layer


@settings(max_examples=300, deadline=None)
@given(st.data(), sizes)
def test_a_convolution_of_the_rectangle_is_that_of_the_layer(data, size):
    groups = data.draw(st.sampled_from([1, 2]))
    kernel = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride, padding, dilation = (
        data.draw(st.tuples(numbers, numbers)) for numbers in map(st.integers, (1, 0, 1), (3, 2, 2))
    )
    conv = nn.Conv2d(4, 6, kernel, stride, padding, dilation, groups, bias=False).requires_grad_(False)
    crop = data.draw(crops(size, 4))
    found = crop.convolved(conv)
    expected = conv(placed(crop))
    assert found.size == tuple(expected.shape[2:])
    torch.testing.assert_close(placed(found), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.whole(), expected, rtol=1e-5, atol=1e-5)


@given(st.data(), sizes)
def test_sums_and_products(data, size):
    one, other = data.draw(crops(size, 2)), data.draw(crops(size, 2))
    factor = torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(placed(one.plus(other)), placed(one) + placed(other))
    torch.testing.assert_close(placed(one.times(factor)), placed(one) * factor)
    torch.testing.assert_close(one.of(placed(one)), one.values)


def test_only_what_is_reached_is_computed():
    pixel = Crop(torch.ones(1, 1, 1, 1), 10, 20, (32, 32))
    conv = nn.Conv2d(1, 1, 3, padding=1)
    once, twice = pixel.convolved(conv), pixel.convolved(conv).convolved(conv)
    assert (once.top, once.left, tuple(once.values.shape)) == (9, 19, (1, 1, 3, 3))
    assert (twice.top, twice.left, tuple(twice.values.shape)) == (8, 18, (1, 1, 5, 5))


def test_pixels_that_no_output_reads_become_nothing():
    last = Crop(torch.ones(1, 1, 1, 1), 7, 7, (8, 8))
    found = last.convolved(nn.Conv2d(1, 1, 1, stride=2))
    assert found.size == (4, 4)
    assert (found.whole() == 0).all()

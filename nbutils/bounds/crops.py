"""Layers that are zero outside a rectangle, as that rectangle: convolutions and sums of what few pixels reach."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Crop:
    """The part of an image layer [T, C, *size] at (`top`, `left`) outside which it is zero."""

    values: Tensor  # [T, C, h, w]
    top: int
    left: int
    size: tuple[int, int]

    def whole(self) -> Tensor:
        """The layer [T, C, *size]."""
        return self._within(0, 0, *self.size)

    def of(self, layer: Tensor) -> Tensor:
        """The part of another layer [..., *size] that lies where this one is."""
        height, width = self.values.shape[2:]
        return layer[..., self.top : self.top + height, self.left : self.left + width]

    def times(self, layer: Tensor) -> Crop:
        """This layer times another one [1, C, *size], element by element."""
        return Crop(self.values * self.of(layer), self.top, self.left, self.size)

    def plus(self, other: Crop) -> Crop:
        """The sum of two layers of one size."""
        top, left = min(self.top, other.top), min(self.left, other.left)
        bottom, right = (max(one, two) for one, two in zip(self._end, other._end, strict=True))
        mine, others = (part._within(top, left, bottom, right) for part in (self, other))
        return Crop(mine + others, top, left, self.size)

    def convolved(self, conv: nn.Conv2d) -> Crop:
        """`conv` of this layer, without its bias."""
        edges = zip((self.top, self.left), self._end, self.size, *_numbers(conv), strict=True)
        (top, up, down, height), (left, start, end, width) = (_reached(*edge) for edge in edges)
        field = self._within(up, start, down, end)
        values = F.conv2d(field, conv.weight, stride=conv.stride, dilation=conv.dilation, groups=conv.groups)
        return Crop(values, top, left, (height, width))

    @property
    def _end(self) -> tuple[int, int]:
        height, width = self.values.shape[2:]
        return self.top + height, self.left + width

    def _within(self, top: int, left: int, bottom: int, right: int) -> Tensor:
        """The layer's values in a window, zeros where it has none: [T, C, bottom - top, right - left]."""
        height, width = self.values.shape[2:]
        rows, above, below = _seen(self.top, self.top + height, top, bottom)
        columns, before, after = _seen(self.left, self.left + width, left, right)
        return F.pad(self.values[:, :, rows, columns], (before, after, above, below))


def _seen(start: int, end: int, first: int, last: int) -> tuple[slice, int, int]:
    """In one dimension, what the window from `first` up to `last` sees of the pixels from `start` up to `end`.

    Returns:
        their part, and how many zeros the window has before and after it.
    """
    part = slice(min(max(first, start), end) - start, max(min(last, end), start) - start)
    before = min(max(start - first, 0), last - first)
    return part, before, last - first - before - max(part.stop - part.start, 0)


def _numbers(conv: nn.Conv2d) -> tuple[tuple[int, ...], ...]:
    """Kernel reach, stride and padding, of rows and columns each; the padding of `conv` is in numbers."""
    assert isinstance(conv.padding, tuple)
    reach = tuple(step * (size - 1) for step, size in zip(conv.dilation, conv.kernel_size, strict=True))
    return reach, conv.stride, conv.padding


def _reached(start: int, end: int, size: int, reach: int, stride: int, padding: int) -> tuple[int, int, int, int]:
    """In one dimension, what a convolution makes of the pixels from `start` up to `end` of a layer of `size`.

    Returns:
        the first output that reads one of them; the window, from first to behind the last pixel, that the outputs read
        which do; the size of the layer that comes out.
    """
    outputs = (size + 2 * padding - reach - 1) // stride + 1
    first = min(max(0, -((reach - padding - start) // stride)), outputs - 1)
    last = max(first, min((end - 1 + padding) // stride, outputs - 1))
    return first, first * stride - padding, last * stride - padding + reach + 1, outputs

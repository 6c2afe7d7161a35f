"""Coefficients of CROWN's rows over one layer, and which neurons' rows go together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

TOGETHER, CUDA_TOGETHER = 12, 1024
"""Rows that should go together: squares of places grow until they have as many on average. CUDA launches every product
of a group anew, so it wants few groups (not measured)."""

ROWS, CHANNELS = 16, 16
"""Rows and living channels are filled up to a multiple of this, with zeros and dead ones: a product of a shape that was
not seen before is slow, because its code is written first."""

_SQUARES = (1, 2, 4, 8, 64)


@dataclass(frozen=True)
class Coefficients:
    """Of M rows over one layer: an image layer's in a rectangle at (`top`, `left`), zero outside; others whole."""

    values: Tensor  # [M, C, h, w], or [M, F]
    top: int = 0
    left: int = 0
    channels: Tensor | None = None  # int64 [C]: which channels of the layer the values are of; None: all

    def of(self, layer: Tensor) -> Tensor:
        """The part of a layer [1, ...] that these are coefficients of."""
        if self.values.ndim != 4:
            return layer
        height, width = self.values.shape[2:]
        part = layer[:, :, self.top : self.top + height, self.left : self.left + width]
        return part if self.channels is None else part[:, self.channels]

    def plus(self, other: Coefficients) -> Coefficients:
        """The sum; both are over all channels."""
        if self.values.ndim != 4:
            return Coefficients(self.values + other.values)
        top, left = min(self.top, other.top), min(self.left, other.left)
        bottom = max(self.top + self.values.shape[2], other.top + other.values.shape[2])
        right = max(self.left + self.values.shape[3], other.left + other.values.shape[3])
        mine, others = (part._grown(top, left, bottom, right) for part in (self, other))
        return Coefficients(mine + others, top, left)

    def _grown(self, top: int, left: int, bottom: int, right: int) -> Tensor:
        height, width = self.values.shape[2:]
        sides = (self.left - left, right - self.left - width, self.top - top, bottom - self.top - height)
        return F.pad(self.values, sides) if any(sides) else self.values


def together(rows: Tensor, shape: torch.Size, chunk: int) -> Iterator[tuple[Tensor, int, int, int]]:
    """Groups of at most `chunk` rows of a layer [1, C, H, W] or [1, F]: members, and the square that they lie in."""
    if len(shape) != 4:
        yield from ((members, 0, 0, 0) for members in torch.arange(len(rows), device=rows.device).split(chunk))
        return
    height, width = shape[2:]
    least = CUDA_TOGETHER if rows.is_cuda else TOGETHER
    side = next(
        (side for side in _SQUARES if len(rows) >= least * -(-height // side) * -(-width // side)), _SQUARES[-1]
    )
    across = -(-width // side)
    square = (rows % (height * width) // width // side) * across + rows % width // side
    for number in square.unique().tolist():
        for members in (square == number).nonzero()[:, 0].split(chunk):
            yield members, number // across * side, number % across * side, side


def one_hot(rows: Tensor, signs: Tensor, shape: torch.Size, corner: tuple[int, int], side: int) -> Coefficients:
    """Row i is `signs[i]` at neuron `rows[i]` of a layer of `shape`; further rows, up to a round number, are zero."""
    each, count = torch.arange(len(rows), device=rows.device), -(-len(rows) // ROWS) * ROWS
    if len(shape) != 4:
        values = signs.new_zeros(count, shape[1])
        values[each, rows] = signs
        return Coefficients(values)
    (_, channels, height, width), (top, left) = shape, corner
    values = signs.new_zeros(count, channels, min(side, height - top), min(side, width - left))
    values[each, rows // (height * width), rows % (height * width) // width - top, rows % width - left] = signs
    return Coefficients(values.contiguous(memory_format=torch.channels_last), top, left)

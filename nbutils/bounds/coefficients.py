"""Coefficients of CROWN's rows over one layer, which neurons' rows go together, and which of them go on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

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

    def least(self, center: Tensor, radius: Tensor) -> Tensor:
        """The smallest value [M] of each row over the box of a layer, `center` and `radius` [1, ...]."""
        values, center, radius = (flat(x) for x in (self.values, self.of(center), self.of(radius)))
        return values @ center[0] - values.abs() @ radius[0]

    def rows(self, kept: Tensor) -> Coefficients:
        """Some of the rows."""
        return replace(self, values=self.values[kept])

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


def flat(x: Tensor) -> Tensor:
    """One row [M, F] of each image [M, C, H, W], pixel by pixel, as the pass keeps them in memory; rows as they are."""
    return x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x


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


def unsettled(lower: Tensor) -> Tensor | None:
    """Rows not proved to be at least zero by `lower` [M], filled up to a round number; None where all have to go on."""
    settled = lower >= 0
    count = len(settled) - int(settled.sum())
    most = -(-count // ROWS) * ROWS
    if most >= len(settled):
        return None
    return settled.int().argsort(stable=True)[:most].sort().values

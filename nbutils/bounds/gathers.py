"""Rows and columns taken in any order, with repeats, as convolutions: padding by pixels of the image itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def gather(channels: int, size: tuple[int, int], rows: Sequence[int], columns: Sequence[int]) -> nn.Module:
    """Module [1, C, H, W] -> [1, C, h, w] whose row i is row `rows[i]`, and the same of columns.

    Args:
        channels: C.
        size: (H, W).
        rows: h row numbers, each 0 to H - 1.
        columns: w column numbers, each 0 to W - 1.
    """
    parts: list[nn.Module] = []
    if list(rows) != list(range(size[0])):
        parts.append(_Gathered(channels, (size[0], size[1]), rows, axis=0))
    if list(columns) != list(range(size[1])):
        parts.append(_Gathered(channels, (len(rows), size[1]), columns, axis=1))
    return parts[0] if len(parts) == 1 else nn.Sequential(*parts) if parts else nn.Identity()


def edge(length: int, before: int, after: int) -> list[int]:
    """Numbers of the pixels that stand for `length` pixels and those outside of them: the first and the last."""
    return [min(max(index, 0), length - 1) for index in range(-before, length + after)]


def reflected(length: int, before: int, after: int) -> list[int]:
    """The same, mirrored at the first and at the last pixel; the padding is shorter than the image."""
    return [length - 1 - abs(length - 1 - abs(index)) for index in range(-before, length + after)]


class _Gathered(nn.Module):
    """One axis: for each distance between a pixel and its source a convolution that shifts, kept where it holds."""

    def __init__(self, channels: int, size: tuple[int, int], wanted: Sequence[int], axis: int) -> None:
        super().__init__()
        distances = [source - place for place, source in enumerate(wanted)]
        kept = sorted(set(distances), key=lambda distance: -distances.count(distance))
        self.shifts = nn.ModuleList(_shift(channels, size[axis], len(wanted), distance, axis) for distance in kept)
        shape = [1, channels, *size]
        shape[2 + axis] = len(wanted)
        view = [-1, 1] if axis == 0 else [1, -1]
        for number, distance in enumerate(kept):
            here = torch.tensor([float(found == distance) for found in distances]).view(view)
            self.register_buffer(f"mask_{number}", here.expand(shape).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.shifts[0](x) * self.mask_0
        for number, shift in enumerate(list(self.shifts)[1:], 1):
            total = total + shift(x) * getattr(self, f"mask_{number}")
        return total


def _shift(channels: int, length: int, wanted: int, distance: int, axis: int) -> nn.Conv2d:
    """Convolution along `axis` from `length` to `wanted` pixels: pixel i is pixel i + `distance`, or zero."""
    pad = max(0, -distance, distance + wanted - length, -(-(wanted - length) // 2))
    kernel, padding, position = [1, 1], [0, 0], [0, 0]
    kernel[axis], padding[axis], position[axis] = length + 2 * pad + 1 - wanted, pad, pad + distance
    conv = nn.Conv2d(
        channels, channels, (kernel[0], kernel[1]), padding=(padding[0], padding[1]), groups=channels, bias=False
    )
    weight = torch.zeros_like(conv.weight)
    weight[:, 0, position[0], position[1]] = 1
    conv.weight = nn.Parameter(weight)
    return conv

"""What CROWN is asked about a layer, one neuron a row, and the trial that tells whether rows may go as patches.

Imported by `bounds` only.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch


def signed_rows(rows: torch.Tensor, signs: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Specification [1, M, ...] whose row i is `signs[i]` at neuron `rows[i]` of a layer [1, ...] of `shape`."""
    matrix = torch.zeros(len(rows), shape[1:].numel(), dtype=signs.dtype, device=rows.device)
    matrix[torch.arange(len(rows), device=rows.device), rows] = signs
    matrix = matrix.view(len(rows), *shape[1:])
    if matrix.ndim == 4:  # the strided convolutions run twice as fast this way on the CPU
        matrix = matrix.contiguous(memory_format=torch.channels_last)
    return matrix.unsqueeze(0)


def trial(shape: torch.Size, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Up to nine neurons of a layer [1, C, H, W] and signs in turn: corners, edges and middle, various channels."""
    _, channels, height, width = shape
    places = itertools.product(*(sorted({0, size // 2, size - 1}) for size in (height, width)))
    rows = [7 * i % channels * height * width + row * width + column for i, (row, column) in enumerate(places)]
    signs = [(-1.0) ** i for i in range(len(rows))]
    return torch.tensor(rows, device=device), torch.tensor(signs, device=device)


def made_up(shape: Sequence[int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Lower and upper sides around zero, 0.1 to 1.1 away, for a layer of `shape`; the same every time."""
    low, up = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)) + 0.1
    return -low.to(device), up.to(device)

"""CROWN for one row an image, through the plain networks of `networks.architectures`, differentiable.

The loss `crown-row` asks what CROWN proves in the whole eps-box, at the price of a few passes. CROWN proper bounds the
input of every ReLU by rows of its own; here those bounds are intervals of a smaller box, so that far fewer neurons are
unstable than intervals of the whole box make of them, and the row alone is taken over the whole box. On the networks in
onnx/ that were trained with it, it loses what CROWN does with intervals of 0.04 to 0.08 of the radius (`box_fit`). What
comes out is a number to descend, not a bound: only with intervals of the whole box (`share` 1) it is one, CROWN-IBP's.

Sources: backward bounds, CROWN, Zhang et al. 2018 (arXiv 1811.00866); intervals of a small box, SABR, Mueller et al.
2023 (arXiv 2210.04871). Their combination is this project's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks import ResNet, conv_norm
from .interval import IntervalPass, Pair, Statistics


def row_margins(
    network: ResNet, statistics: Statistics, logits: Tensor, labels: Tensor, box: Pair, share: float
) -> Tensor:
    """Margins [N, K] of label's logit minus each logit, lowered by what the nearest rival's row loses; own column 0.

    The nearest rival's margin is its row's lower bound over `box`. The margins of all others keep their distance to it
    at `logits`, as if they lost as much.

    Args:
        network: its batch norms are taken with `statistics`.
        statistics: mean and variance of each batch norm.
        logits: [N, K] at a point of the box, gradients included; its nearest rival is the one that is bounded.
        labels: int64 [N].
        box: lower and upper corner [N, C, H, W], network input.
        share: radius of the box whose intervals bound the ReLUs, as a fraction of that of `box`.
    """
    lower, upper = box
    seen = logits.gather(1, labels[:, None]) - logits
    rival = seen.detach().scatter(1, labels[:, None], float("inf")).argmin(1)
    classes = logits.shape[1]
    wanted = (F.one_hot(labels, classes) - F.one_hot(rival, classes)).to(lower.dtype)
    centre, half = (lower + upper) / 2, (upper - lower) / 2 * share
    interval = IntervalPass(network, statistics)
    interval.hidden(centre - half, centre + half)
    bound = lower_row(network, statistics, wanted, interval.pre_activations, lower, upper)
    lost = seen.gather(1, rival[:, None]) - bound[:, None]
    return (seen - lost).scatter(1, labels[:, None], 0.0)


def lower_row(
    network: ResNet,
    statistics: Statistics,
    wanted: Tensor,
    pre_activations: Sequence[Pair],
    lower: Tensor,
    upper: Tensor,
) -> Tensor:
    """Lower bound [N] of `wanted` . logits over the boxes, if the ReLUs' inputs stay within `pre_activations`.

    Args:
        network: see `row_margins`.
        statistics: see `row_margins`.
        wanted: [N, K], one row an image.
        pre_activations: lower and upper bounds of each ReLU's input, input side first, as `IntervalPass` keeps them.
        lower: corner [N, C, H, W] of the boxes, network input.
        upper: the other corner.
    """
    folds = _Folds(network, statistics)
    bounds = list(pre_activations)
    hidden, last = network.linear
    row, constant = wanted @ last.weight, wanted @ last.bias
    row, more = _relu(row, bounds.pop())
    constant = constant + more + row @ hidden.bias
    sides = _sides(network, lower.shape[-1])
    row = (row @ hidden.weight).view(len(row), -1, sides[-1], sides[-1])
    if lower.is_contiguous(memory_format=torch.channels_last):
        row = row.contiguous(memory_format=torch.channels_last)
    for block, side in zip(reversed(network.residual), reversed(sides[:-1]), strict=True):
        inner, more = folds.back(block.conv2, block.bn2, row, bounds[-1][0].shape[-1])
        constant = constant + more
        inner, more = _relu(inner, bounds.pop())
        constant = constant + more
        inner, more = folds.back(block.conv1, block.bn1, inner, side)
        constant = constant + more
        if isinstance(block.shortcut, nn.Sequential):
            row, more = folds.back(*conv_norm(block.shortcut), row, side)
            constant = constant + more
        row = inner + row
    row, more = _relu(row, bounds.pop())
    constant = constant + more
    row, more = folds.back(*conv_norm(network.stem), row, lower.shape[-1])
    constant = constant + more
    centre, half = (upper + lower) / 2, (upper - lower) / 2
    return constant + (row * centre - row.abs() * half).flatten(1).sum(1)


class _Folds:
    """Convolutions with their batch norms, seen from their output."""

    def __init__(self, network: ResNet, statistics: Statistics) -> None:
        self.names = {module: name for name, module in network.named_modules()}
        self.statistics = statistics

    def back(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, row: Tensor, side: int) -> Pair:
        """Row over the convolution's input, `side` pixels wide, and the constant [N] that its bias adds."""
        mean, variance = self.statistics[self.names[norm]]
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        weight = conv.weight * scale[:, None, None, None]
        constant = (row * (norm.bias - mean * scale)[None, :, None, None]).flatten(1).sum(1)
        padding = int(conv.padding[0])
        least = (row.shape[-1] - 1) * conv.stride[0] - 2 * padding + conv.kernel_size[0]
        return F.conv_transpose2d(row, weight, None, conv.stride, padding, side - least), constant


def _relu(row: Tensor, bounds: Pair) -> Pair:
    """Row over the ReLU's input, and the constant [N] of its chords.

    Positive entries take the line below, of slope 0 or 1 as CROWN chooses it, negative ones the chord above.
    """
    low, high = bounds[0].clamp(max=0), bounds[1].clamp(min=0)
    chord = high / (high - low).clamp(min=1e-12)
    chord = torch.where(bounds[0] >= 0, torch.ones_like(chord), chord)
    below = (bounds[0] + bounds[1] > 0).to(row.dtype)
    negative = row.clamp(max=0)
    return row.clamp(min=0) * below + negative * chord, -(negative * chord * low).flatten(1).sum(1)


def _sides(network: ResNet, side: int) -> list[int]:
    """Width of the stem's and of each block's output for images of this width."""
    sides = [_after(side, conv_norm(network.stem)[0])]
    for block in network.residual:
        sides.append(_after(_after(sides[-1], block.conv1), block.conv2))
    return sides


def _after(side: int, conv: nn.Conv2d) -> int:
    return (side + 2 * int(conv.padding[0]) - conv.kernel_size[0]) // conv.stride[0] + 1

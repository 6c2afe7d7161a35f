"""Interval bound propagation through the plain networks of `networks.architectures`, differentiable and cheap.

A box travels as centre and radius: y = W c + b, s = |W| r. Batch normalisation is folded into the convolution before
it, with whatever statistics the caller names. Source: IBP, Gowal et al. 2018 (arXiv 1810.12715).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core import BoundsError, require
from ..networks import Block, ResNet

Statistics = Mapping[str, tuple[Tensor, Tensor]]
"""Mean and biased variance [channels] of the input of each batch norm, by module name."""

Pair = tuple[Tensor, Tensor]


class _Normalize(torch.autograd.Function):
    """Batch norm in training mode that also returns the batch's mean and variance, differentiable like its output."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        out, mean, inverse = torch.native_batch_norm(x, weight, bias, running_mean, running_var, True, momentum, eps)
        ctx.save_for_backward(x, weight, running_mean, running_var, mean, inverse)
        ctx.eps = eps
        return out, mean.clone(), inverse.pow(-2) - eps

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor, grad_mean: Tensor, grad_var: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, running_mean, running_var, mean, inverse = ctx.saved_tensors
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad_out, x, weight, running_mean, running_var, mean, inverse, True, ctx.eps, [True, True, True]
        )
        # d mean / dx = 1/n and d var / dx = 2 (x - mean) / n: together one affine map a channel
        n = x.numel() // x.shape[1]
        slope = 2 * grad_var / n
        offset = grad_mean / n - slope * mean
        shape = (1, -1, 1, 1)
        grad_x.add_(offset.to(x.dtype).view(shape)).addcmul_(x, slope.to(x.dtype).view(shape))
        return grad_x, grad_weight, grad_bias, None, None, None, None


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Collect, while the block runs, the statistics that batch norms in training mode see; gradients flow through."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    norms = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)]

    def recording(name: str, norm: nn.BatchNorm2d) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.add_(1)
            out, mean, variance = _Normalize.apply(
                x, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.momentum, norm.eps
            )
            seen[name] = (mean, variance)
            return out

        return forward

    for name, norm in norms:
        norm.forward = recording(name, norm)  # type: ignore[method-assign, assignment]
    try:
        yield seen
    finally:
        for _, norm in norms:
            del norm.forward


def running_statistics(network: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """The statistics that batch norms use in evaluation mode."""
    return {name: statistics(module) for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}


def statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Running mean and variance [channels] of a batch norm that keeps them, as all of ours do."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    return mean, variance


class IntervalPass:
    """One propagation of a box through `network`; keeps the pre-activation bounds of every ReLU it meets."""

    def __init__(self, network: ResNet, statistics: Statistics) -> None:
        self.network = network
        self.names = {module: name for name, module in network.named_modules()}
        self.statistics = statistics
        self.pre_activations: list[Pair] = []  # (lower, upper) of each ReLU's input, input side first

    def hidden(self, lower: Tensor, upper: Tensor) -> Pair:
        """Centre and radius [N, H] of the input of the last linear layer over the boxes [N, C, H, W]."""
        box = ((upper + lower) / 2, (upper - lower) / 2)
        for part in (self.network.stem, self.network.blocks, self.network.head[:-1]):
            box = self._run(part, box)
        return box

    def margins(self, lower: Tensor, upper: Tensor, labels: Tensor) -> Tensor:
        """Lower bounds [N, K] of label's logit minus each logit; the label's own column is 0."""
        return self.margin_interval(lower, upper, labels)[0]

    def margin_interval(self, lower: Tensor, upper: Tensor, labels: Tensor) -> Pair:
        """Lower and upper bounds [N, K] of label's logit minus each logit.

        The specification is merged into the last linear layer, which is tighter than subtracting logit bounds.
        """
        centre, radius = self.hidden(lower, upper)
        _, last = self.network.linear
        rows = last.weight[labels][:, None, :] - last.weight[None]  # [N, K, H]
        middle = torch.einsum("nkh,nh->nk", rows, centre) + last.bias[labels][:, None] - last.bias[None]
        spread = torch.einsum("nkh,nh->nk", rows.abs(), radius)
        return middle - spread, middle + spread

    def _run(self, module: nn.Module, box: Pair) -> Pair:
        if isinstance(module, nn.Sequential):
            steps = list(module)
            while steps:
                step = steps.pop(0)
                norm = steps[0] if steps else None
                if isinstance(step, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    box = self._convolve(step, norm, box)
                    del steps[0]
                else:
                    box = self._run(step, box)
            return box
        if isinstance(module, Block):
            inner = self._relu(self._convolve(module.conv1, module.bn1, box))
            inner = self._convolve(module.conv2, module.bn2, inner)
            outer = self._run(module.shortcut, box)
            return inner[0] + outer[0], inner[1] + outer[1]
        if isinstance(module, nn.ReLU):
            return self._relu(box)
        if isinstance(module, nn.Linear):
            return F.linear(box[0], module.weight, module.bias), F.linear(box[1], module.weight.abs())
        if isinstance(module, nn.Flatten):
            return box[0].flatten(1), box[1].flatten(1)
        require(
            isinstance(module, nn.Identity), "layer", type(module).__name__, "a layer of resnets", error=BoundsError
        )
        return box

    def _convolve(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, box: Pair) -> Pair:
        mean, variance = self.statistics[self.names[norm]]
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        weight = conv.weight * scale[:, None, None, None]
        centre = F.conv2d(box[0], weight, norm.bias - mean * scale, conv.stride, conv.padding)
        return centre, F.conv2d(box[1], weight.abs(), None, conv.stride, conv.padding)

    def _relu(self, box: Pair) -> Pair:
        lower, upper = box[0] - box[1], box[0] + box[1]
        self.pre_activations.append((lower, upper))
        lower, upper = lower.relu(), upper.relu()
        return (upper + lower) / 2, (upper - lower) / 2

"""Operators that bend once or twice, as sums of ReLUs: PReLU, Clip and its kin, HardSwish, ELU and its kin, Max, Min.

A rule takes a `Site` and gives the module that stands for it, or None where the operator stays as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .operator_site import Site


class Bent(nn.Module):
    """`slope` x + (1 - `slope`) relu(x): PReLU."""

    slope: Tensor
    rest: Tensor

    def __init__(self, slope: Tensor) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.register_buffer("slope", slope)
        self.register_buffer("rest", 1 - slope)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.slope + self.relu(x) * self.rest


class Clipped(nn.Module):
    """`scale` x + `shift`, kept between `low` and `high`, either of which may be missing."""

    def __init__(self, low: float | None, high: float | None, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.relu, self.again = nn.ReLU(), nn.ReLU()
        self.low, self.high, self.scale, self.shift = low, high, scale, shift

    def forward(self, x: Tensor) -> Tensor:
        if self.scale != 1:
            x = x * self.scale
        if self.low is None:
            assert self.high is not None
            return self.high - self.relu(self.high - self.shift - x)
        above = self.relu(x + (self.shift - self.low))
        if self.high is None:
            return above + self.low
        return self.high - self.again((self.high - self.low) - above)


class Extreme(nn.Module):
    """The larger (`sign` 1) or smaller (-1) of two values, or of one and a constant, element by element."""

    constant: Tensor | None

    def __init__(self, constant: Tensor | None, sign: int) -> None:
        super().__init__()
        self.relu, self.sign = nn.ReLU(), sign
        self.register_buffer("constant", constant)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        y = self.constant if other is None else other
        assert y is not None  # one of the two is given
        if self.sign > 0:
            return self.relu(x - y) + y
        return y - self.relu(y - x)


def prelu(site: Site) -> nn.Module | None:
    """One slope a channel below zero."""
    slope = site.layer.weight if site.kind == "PReLU" else site.constant(1)
    if site.x is None or slope is None:
        return None
    if slope.ndim == 1 and len(slope) in (1, site.x.shape[1]):
        slope = slope.view(1, -1, *[1] * (site.x.ndim - 2))
    elif slope.ndim == site.x.ndim - 1:
        slope = slope[None]
    return Bent(slope.detach().clone())


def clip(site: Site) -> nn.Module | None:
    """Clip, ReLU6, Hardtanh and HardSigmoid: two bends."""
    layer = site.layer
    if site.x is None:
        return None
    if site.kind == "ReLU6":
        return Clipped(0.0, 6.0)
    if site.kind == "OnnxHardSigmoid":
        return Clipped(0.0, 1.0, float(layer.alpha), float(layer.beta))
    if site.kind == "Hardtanh":
        return Clipped(float(layer.min_val), float(layer.max_val))
    low, high = (None if end is None else float(end) for end in (layer.min_val, layer.max_val))
    if (low is None and high is None) or (low is not None and high is not None and low > high):
        return None
    return Clipped(low, high)


class Swished(nn.Module):
    """x times a sixth of x + 3, kept between 0 and 1: HardSwish."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Clipped(0.0, 1.0, 1 / 6, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def hard_swish(site: Site) -> nn.Module | None:
    """x times HardSigmoid(x)."""
    return None if site.x is None else Swished()


class ExponentialBend(nn.Module):
    """`slope` relu(x) + `drop` (exp(min(x, 0) / `width`) - 1): ELU, CELU and SELU."""

    def __init__(self, slope: float, drop: float, width: float) -> None:
        super().__init__()
        self.above, self.below = nn.ReLU(), nn.ReLU()
        self.slope, self.drop, self.width = slope, drop, width

    def forward(self, x: Tensor) -> Tensor:
        below = self.below(-x) * (-1 / self.width)
        return self.above(x) * self.slope + below.exp() * self.drop - self.drop


def exponential_bend(site: Site) -> nn.Module | None:
    """ELU, CELU and SELU; each part grows with x, so intervals through both are exact."""
    layer = site.layer
    if site.x is None:
        return None
    if site.kind == "SELU":
        slope, alpha = 1.05070102214813232421875, 1.67326319217681884765625  # what ONNX writes in Selu's definition
        return ExponentialBend(slope, slope * alpha, 1.0)
    alpha = float(layer.alpha)
    return ExponentialBend(1.0, alpha, alpha if site.kind == "CELU" else 1.0) if alpha > 0 else None


def extreme(site: Site) -> nn.Module | None:
    """Max or Min with a constant."""
    if len(site.args) != 2 or not site.moving:
        return None
    constant = next((constant for constant in site.constants if constant is not None), None)
    shapes = {tuple(value.shape) for value in site.args}
    if constant is None and len(shapes) > 1:
        return None  # which of the two is spread out would depend on the order
    if constant is not None:
        if site.x is None or torch.broadcast_shapes(site.x.shape, constant.shape) != site.x.shape:
            return None
        constant = constant.detach().clone()
    return Extreme(constant, 1 if site.layer._op_type == "Max" else -1)

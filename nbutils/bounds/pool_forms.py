"""Pooling as convolutions and ReLUs.

A rule takes a `Site` and gives the module that stands for it, or None where the operator stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .gathers import edge, gather
from .linear_forms import Scaled, selection, zero_pad
from .operator_site import Site, pair


def average_pool(site: Site) -> nn.Module | None:
    """Sum over each window as a depthwise convolution, times what the window is divided by."""
    layer, x = site.layer, site.x
    if x is None or x.ndim != 4:
        return None
    (kh, kw), (sh, sw), (ph, pw) = (pair(v) for v in (layer.kernel_size, layer.stride, layer.padding))
    if (kh, kw) == (sh, sw) and (ph, pw) == (0, 0) and not layer.ceil_mode:
        return None  # the library's own is right
    out = layer(x)
    # zeros on the right and below, as far as the last window reaches
    right, below = ((n - 1) * s + k - size - p for n, s, k, size, p in (
        (out.shape[3], sw, kw, x.shape[3], pw), (out.shape[2], sh, kh, x.shape[2], ph)))  # fmt: skip
    channels = x.shape[1]
    conv = nn.Conv2d(channels, channels, (kh, kw), stride=(sh, sw), groups=channels, bias=False)
    conv.weight = nn.Parameter(torch.ones_like(conv.weight))
    parts: list[nn.Module] = [conv]
    if any(side > 0 for side in (pw, right, ph, below)):
        if right == pw and below == ph:
            conv.padding = (ph, pw)
        else:
            parts.insert(0, zero_pad(channels, pw, max(0, right), ph, max(0, below)))
    summed = nn.Sequential(*parts)
    ones = torch.ones_like(x)
    divisor = layer(ones) / summed(ones)
    even = divisor.flatten()[0]
    if (divisor == even).all():  # one divisor: part of the weights
        conv.weight = nn.Parameter(conv.weight * even)
        return summed
    return Scaled(summed, divisor[:1, :1].contiguous())


class Largest(nn.Module):
    """The largest of what `picks` take from a value, two at a time: max(x, y) = y + relu(x - y)."""

    def __init__(self, picks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.picks = nn.ModuleList(picks)
        self.relus = nn.ModuleList(nn.ReLU() for _ in picks[1:])

    def forward(self, x: Tensor) -> Tensor:
        largest: Tensor = self.picks[0](x)
        for pick, relu in zip(self.picks[1:], self.relus, strict=True):
            other = pick(x)
            largest = other + relu(largest - other)
        return largest


def max_pool(site: Site) -> nn.Module | None:
    """Windows that do not overlap stay; others become the largest of each row's pixels, then of the rows'.

    The bounds library goes backward through windows side by side only. Intervals through `Largest` are wider than
    through the pooling, so `BoundEngine` takes them through `max_pool_for_intervals` as well.
    """
    layer, x = site.layer, site.x
    kernel, stride, dilation = (pair(value) for value in (layer.kernel_size, layer.stride, layer.dilation))
    if x is None or x.ndim != 4 or (kernel == stride and dilation == (1, 1)):
        return max_pool_for_intervals(site)
    around = _around(site)
    if around is None:
        return None
    wanted, parts = layer(x).shape[2:], [around]
    size = list(around(x).shape[2:])
    for axis in (1, 0):  # along each row first, so that fewer pixels are left for the columns
        last = (wanted[axis] - 1) * stride[axis] + 1
        steps = [range(k, k + last, stride[axis]) for k in range(0, kernel[axis] * dilation[axis], dilation[axis])]
        whole = range(size[1 - axis])
        picks = [selection(x.shape[1], (size[0], size[1]), (whole, step) if axis else (step, whole)) for step in steps]
        parts.append(Largest(picks))
        size[axis] = wanted[axis]
    return nn.Sequential(*parts)


def max_pool_for_intervals(site: Site) -> nn.Module | None:
    """The pooling of an image that is padded already: the library knows no `ceil_mode`, padding or dilation."""
    layer, x = site.layer, site.x
    if x is None or x.ndim != 4:
        return None
    if pair(layer.dilation) != (1, 1):
        return max_pool(site)
    plain = nn.MaxPool2d(layer.kernel_size, layer.stride)
    around = _around(site)
    if around is None or (isinstance(around, nn.Identity) and not layer.ceil_mode):
        return None
    return nn.Sequential(around, plain)


def padded_max_pool(site: Site) -> nn.Module | None:
    """Padding by minus infinity and then a max pooling, which is how onnx2torch reads unequal padding."""
    return _padded_pool(site, max_pool)


def padded_max_pool_for_intervals(site: Site) -> nn.Module | None:
    """The same for intervals alone."""
    return _padded_pool(site, max_pool_for_intervals)


def _padded_pool(site: Site, rule: Callable[[Site], nn.Module | None]) -> nn.Module | None:
    x, layers = site.x, list(site.layer)
    if x is None or x.ndim != 4 or [type(layer).__name__ for layer in layers] != ["OnnxPadStatic", "MaxPool2d"]:
        return None
    pad, pool = layers
    left, right, top, below = [*pad.pads, 0, 0, 0, 0][:4]
    rows, columns = pair(pool.kernel_size)
    inside = min(left, right, top, below) >= 0 and max(top, below) < rows and max(left, right) < columns
    if pad.constant_value != -float("inf") or any(pad.pads[4:]) or not inside or pair(pool.padding) != (0, 0):
        return None
    around = _filled(x, (left, right, top, below), site.after_relu, pair(pool.dilation))
    if around is None:
        return None
    padded = Site(pool, [around(x)], [None], site.after_relu)
    return nn.Sequential(around, rule(padded) or pool)


class Opposite(nn.Module):
    """Minus `layer` of minus the value: the smallest, where `layer` takes the largest."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return -self.layer(-x)


def whole_image(site: Site) -> nn.Module | None:
    """The largest or smallest pixel of each channel, ReduceMax or ReduceMin over rows and columns: one window."""
    layer, x = site.layer, site.x
    if x is None or x.ndim != 4 or layer.operation_type not in ("ReduceMax", "ReduceMin"):
        return None
    if sorted(axis % 4 for axis in layer.axes or ()) != [2, 3]:
        return None
    window = (x.shape[2], x.shape[3])
    pool: nn.Module = nn.MaxPool2d(window, window)
    if layer.operation_type == "ReduceMin":
        pool = Opposite(pool)
    return pool if layer.keepdims else nn.Sequential(pool, nn.Flatten(1))


def _around(site: Site) -> nn.Module | None:
    """What fills the pixels outside of the image that windows reach: padding, and what `ceil_mode` adds."""
    layer, x = site.layer, site.x
    assert x is not None
    (top, left), wanted = pair(layer.padding), layer(x).shape[2:]
    kernel, stride, dilation = (pair(value) for value in (layer.kernel_size, layer.stride, layer.dilation))
    below, right = (
        max(0, (count - 1) * step + spread * (length - 1) + 1 - size - before)
        for count, step, spread, length, size, before in zip(
            wanted, stride, dilation, kernel, x.shape[2:], (top, left), strict=True
        )
    )
    return _filled(x, (left, right, top, below), site.after_relu, dilation)


def _filled(
    x: Tensor, sides: tuple[int, int, int, int], after_relu: bool, dilation: tuple[int, int]
) -> nn.Module | None:
    """Padding that never changes the largest of a window: zeros behind a ReLU, else the pixels of the edge.

    A window without gaps that reaches over the edge has the pixel of the edge in it. One with gaps may not, so there
    is no padding for it.
    """
    left, right, top, below = sides
    if not any(sides):
        return nn.Identity()
    channels, height, width = x.shape[1:]
    if after_relu:
        return zero_pad(channels, left, right, top, below)
    if dilation != (1, 1):
        return None
    return gather(channels, (height, width), edge(height, top, below), edge(width, left, right))

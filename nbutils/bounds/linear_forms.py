"""Linear operators as convolutions and linear layers: padding, slices, matrices, sums.

A rule takes a `Site` and gives the module that stands for it, or None where the operator stays as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .gathers import edge, gather, reflected
from .operator_site import Site


def selection(channels: int, size: tuple[int, int], wanted: tuple[range, range]) -> nn.Conv2d:
    """Convolution [1, C, H, W] -> [1, C, h, w] that keeps the rows and columns in `wanted`, evenly spaced ranges."""
    rows, columns = wanted
    kernel, stride = (_window(size[0], rows), _window(size[1], columns)), (rows.step, columns.step)
    conv = nn.Conv2d(channels, channels, kernel, stride=stride, groups=channels, bias=False)
    weight = torch.zeros_like(conv.weight)
    weight[:, 0, rows.start, columns.start] = 1
    conv.weight = nn.Parameter(weight)
    return conv


def _window(length: int, kept: range) -> int:
    """The smallest kernel that reaches the first of the `kept` of `length` and ends after `len(kept)` steps."""
    return max(kept.start + 1, length - kept.step * len(kept) + 1)


def channel_map(source: Sequence[int | None], channels: int) -> nn.Conv2d:
    """1 x 1 convolution whose output channel i is channel `source[i]` of the input, or zero where that is None."""
    conv = nn.Conv2d(channels, len(source), 1, bias=False)
    weight = torch.zeros_like(conv.weight)
    for row, channel in enumerate(source):
        if channel is not None:
            weight[row, channel] = 1
    conv.weight = nn.Parameter(weight)
    return conv


class Scaled(nn.Module):
    """`layer` times a constant, element by element."""

    factor: Tensor

    def __init__(self, layer: nn.Module, factor: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("factor", factor)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.factor


class Shifted(nn.Module):
    """`layer` plus a constant, element by element."""

    constant: Tensor

    def __init__(self, layer: nn.Module, constant: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("constant", constant)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.constant


def zero_pad(channels: int, left: int, right: int, top: int, bottom: int) -> nn.Conv2d:
    """Convolution that puts zeros around an image, another number on each side if need be."""
    height, width = max(top, bottom), max(left, right)
    size = (2 * height - top - bottom + 1, 2 * width - left - right + 1)
    conv = nn.Conv2d(channels, channels, size, padding=(height, width), groups=channels, bias=False)
    weight = torch.zeros_like(conv.weight)
    weight[:, 0, height - top, width - left] = 1
    conv.weight = nn.Parameter(weight)
    return conv


def transposed_convolution(site: Site) -> nn.Module | None:
    """The library knows no padding here: the rows and columns that it takes away are cropped in a layer of its own."""
    layer, x = site.layer, site.x
    if x is None or x.ndim != 4 or not any((*layer.padding, *layer.output_padding)):
        return None
    whole = copy.deepcopy(layer)
    whole.padding, whole.output_padding = (0, 0), (0, 0)
    full, wanted = whole(x).shape, layer(x).shape
    rows, columns = (range(pad, pad + size) for pad, size in zip(layer.padding, wanted[2:], strict=True))
    if rows.stop > full[2] or columns.stop > full[3]:
        return None  # output_padding adds pixels that no window reaches
    return nn.Sequential(whole, selection(full[1], (full[2], full[3]), (rows, columns)))


class Reshaped(nn.Module):
    """Each image in another shape."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, *self.shape)


def squeezed(site: Site) -> nn.Module | None:
    """Squeeze and Unsqueeze whose axes are an input (opset 13): the library cannot read their export."""
    if site.x is None or site.constants[0] is not None or site.constant(1) is None:
        return None
    made = site.layer(*site.args)
    return Reshaped(made.shape[1:]) if made.shape[:1] == site.x.shape[:1] == (1,) else None


def depth_to_space(site: Site) -> nn.Module | None:
    """The transposed convolution whose windows do not overlap and whose weights are 0 and 1."""
    x = site.x
    if x is None or x.ndim != 4:
        return None
    shuffled = site.layer(x)
    channels, block = shuffled.shape[1], shuffled.shape[2] // x.shape[2]
    layer = nn.ConvTranspose2d(x.shape[1], channels, block, stride=block, bias=False)
    layer.weight = nn.Parameter(site.layer(torch.eye(x.shape[1])[:, :, None, None]))  # one deep channel a row
    return layer


def input_slice(site: Site) -> nn.Module | None:
    """A slice of rows and columns, a crop of the input say, as a convolution."""
    x = site.x
    if x is None or site.constants[0] is not None or x.ndim != 4:
        return None
    starts, ends, axes, steps = (site.constant(position) for position in range(1, 5))
    if starts is None or ends is None:
        return None
    axes_ = list(range(len(starts))) if axes is None else [int(a) % x.ndim for a in axes]
    steps_ = [1] * len(starts) if steps is None else [int(s) for s in steps]
    kept = [range(size) for size in x.shape]
    for axis, start, end, step in zip(axes_, starts, ends, steps_, strict=True):
        if step < 1:
            return None
        limit = 2**31  # ONNX writes "to the end" as a huge number
        part = slice(max(-limit, min(limit, int(start))), max(-limit, min(limit, int(end))), step)
        kept[axis] = range(*part.indices(x.shape[axis]))
    if kept[0] != range(1) or not all(len(part) for part in kept):
        return None
    parts: list[nn.Module] = []
    if kept[1] != range(x.shape[1]):
        parts.append(channel_map(list(kept[1]), x.shape[1]))
    if (kept[2], kept[3]) != (range(x.shape[2]), range(x.shape[3])):
        parts.append(selection(len(kept[1]), (x.shape[2], x.shape[3]), (kept[2], kept[3])))
    return nn.Sequential(*parts) if parts else nn.Identity()


def padding(site: Site) -> nn.Module | None:
    """Padding by a constant, by the pixels of the edge or by the mirrored image."""
    x, layer = site.x, site.layer
    mode = getattr(layer, "mode", "constant")
    if x is None or x.ndim != 4 or mode not in ("constant", "replicate", "reflect"):
        return None
    if site.kind == "OnnxPadStatic":
        pads, value = [int(p) for p in layer.pads], float(layer.constant_value)
    else:
        given, constant = site.constant(1), site.constant(2)
        if given is None or len(given) != 8:
            return None
        begin, end = given[:4].tolist(), given[4:].tolist()
        pads = [side for axis in (3, 2, 1, 0) for side in (begin[axis], end[axis])]
        value = 0.0 if constant is None else float(constant)
    pads += [0] * (8 - len(pads))
    if any(side < 0 for side in pads) or any(pads[6:]) or not abs(value) < float("inf"):
        return None
    if mode != "constant":
        if any(pads[4:]):
            return None
        (height, width), index = x.shape[2:], edge if mode == "replicate" else reflected
        return gather(x.shape[1], (height, width), index(height, *pads[2:4]), index(width, *pads[:2]))
    parts: list[nn.Module] = []
    if any(pads[4:6]):
        source = [*[None] * pads[4], *range(x.shape[1]), *[None] * pads[5]]
        parts.append(channel_map(source, x.shape[1]))
    if any(pads[:4]):
        parts.append(zero_pad(x.shape[1] + sum(pads[4:6]), *pads[:4]))
    if not parts:
        return nn.Identity()
    padded = nn.Sequential(*parts)
    if value == 0:
        return padded
    return Shifted(padded, value * (1 - F.pad(torch.ones_like(x), pads)))


def without_bias(site: Site) -> nn.Module | None:
    """A head without bias gets one of zeros: the library takes no specification otherwise."""
    layer = site.layer
    if site.x is None or site.x.ndim != 2 or layer.bias is not None:
        return None
    return _linear(layer.weight)


def matrix_product(site: Site) -> nn.Module | None:
    """A product with a constant matrix is a linear layer."""
    weight = site.constant(1)
    if site.x is None or site.x.ndim != 2 or weight is None or weight.ndim != 2:
        return None
    return _linear(weight.T)


def _linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = nn.Parameter(weight.contiguous()), nn.Parameter(torch.zeros_like(weight[:, 0]))
    return layer


class Added(nn.Module):
    """Sum of all arguments, two at a time, and of a constant; each times `share`, where that is given."""

    constant: Tensor | None

    def __init__(self, constant: Tensor | None, share: float | None = None) -> None:
        super().__init__()
        self.share = share
        self.register_buffer("constant", constant)

    def forward(self, *parts: Tensor) -> Tensor:
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        total = total if self.constant is None else total + self.constant
        return total if self.share is None else total * self.share


def several_sum(site: Site) -> nn.Module | None:
    """A sum of several is one of two after the other; a mean is a share of it."""
    fixed = [constant for constant in site.constants if constant is not None]
    if not site.moving:
        return None
    share = 1 / len(site.args) if site.kind == "OnnxMean" else None
    return Added(sum(fixed[1:], fixed[0]) if fixed else None, share)

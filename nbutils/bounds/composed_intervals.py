"""Intervals through composed convolutions: a cheap test of which neurons keep their sign over a box.

IBP takes absolute values at every convolution. In a residual network the signal runs from one ReLU to the next
through several of them (second convolution of a block, shortcuts, first convolution of a later block) with nothing but
additions in between; multiplied out first, they are one convolution, and terms that cancel are not counted twice. Every
ReLU's output is a box here, so all correlation through ReLUs is lost: sound, looser than CROWN, and far cheaper.

A layer has an answer where its input is a convolution of a sum of such paths; a path may be the ReLU's output itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from .relu_graph import ReluGraph, sources

Interval = tuple[Tensor, Tensor]

ROUNDING = 1e-4
"""Share of a radius, and a tenth of it of the centre's size, added for the rounding of float32 sums."""


@dataclass(frozen=True)
class _Path:
    """From the output of a ReLU (or the network's input) to the input of a convolution, as one convolution."""

    source: fx.Node
    weight: Tensor  # [channels out, channels in, kernel height, kernel width]
    stride: int
    padding: int


class ComposedIntervals:
    """The paths between the ReLUs of one network; made once, asked for every box."""

    def __init__(self, module: nn.Module) -> None:
        """
        Args:
            module: the network with batch norms folded (`fast_twin.folded`); anything but a graph has no layers here.
        """
        self.graph = ReluGraph(module)
        self._paths = {node: self._paths_to(node) for node in self.graph.relus}

    @property
    def layers(self) -> int:
        """Number of ReLUs, in the order in which the network computes them."""
        return len(self.graph.relus)

    def bounds(
        self, layer: int, box: Interval, before: Sequence[Interval], channels: Tensor | None = None
    ) -> Interval | None:
        """Lower and upper bounds [1, C, H, W] of the input of ReLU number `layer`; None where there is no answer.

        Args:
            box: the network's input, [1, C, H, W] each.
            before: bounds of the inputs of the ReLUs before, in their order.
            channels: int64 [C], the only ones asked for; the cost is in proportion.
        """
        if self._paths[self.graph.relus[layer]] is None:
            return None
        ranges = [(low.relu(), up.relu()) for low, up in before[:layer]]
        known = [*self.graph.relus[:layer], *self.graph.inputs]
        centres = {node: (low + up) / 2 for node, (low, up) in zip(known, [*ranges, box], strict=True)}
        centre = self._value(self._query(layer), centres)
        centre = centre if channels is None else centre[:, channels]
        radius = self.spread(layer, [(up - low) / 2 for low, up in ranges], (box[1] - box[0]) / 2, channels)
        assert radius is not None  # it has paths
        radius = radius * (1 + ROUNDING) + centre.abs() * (ROUNDING / 10)
        return centre - radius, centre + radius

    def closer(self, layer: int, box: Interval, before: Sequence[Interval], known: Interval) -> Interval:
        """The bounds `known` of the input of ReLU number `layer`, closer in channels where a sign is not known yet."""
        low, up = known
        crossing = ((low < 0) & (up > 0)).flatten(1).any(0).view(low.shape[1], -1).any(1).nonzero()[:, 0]
        found = self.bounds(layer, box, before, crossing) if len(crossing) else None
        if found is None:
            return low, up
        low, up = low.clone(), up.clone()
        low[:, crossing] = torch.fmax(low[:, crossing], found[0])
        up[:, crossing] = torch.fmin(up[:, crossing], found[1])
        return low, up

    def spread(
        self, layer: int, radii: Sequence[Tensor], of_input: Tensor, channels: Tensor | None = None
    ) -> Tensor | None:
        """How far the input of ReLU number `layer` moves at most, [1, C, H, W]; None where there is no answer.

        Args:
            radii: how far each output of the ReLUs before moves, in their order.
            of_input: how far each input of the network moves, [1, C, H, W].
            channels: as in `bounds`.
        """
        paths, query = self._paths[self.graph.relus[layer]], self._query(layer)
        if paths is None:
            return None
        moves = dict(zip(self.graph.relus, radii, strict=False)) | dict.fromkeys(self.graph.inputs, of_input)
        shapes = self.graph.shapes(of_input)
        conv, size = self.graph.convolution(query), shapes[sources(query)[0]][2:]
        weight = conv.weight if channels is None else conv.weight[channels]
        total = of_input.new_zeros(1, len(weight), *shapes[query][2:])
        for path in paths:
            _add_radius(total, conv, weight, path, moves[path.source], size)
        return total

    def values(self, x: Tensor) -> list[Tensor]:
        """Inputs of the ReLUs at the point `x` [1, C, H, W], in their order."""
        found = self.graph.values(x)
        return [found[sources(node)[0]] for node in self.graph.relus]

    def _query(self, layer: int) -> fx.Node:
        """The node that ReLU number `layer` reads."""
        return sources(self.graph.relus[layer])[0]

    def _paths_to(self, relu: fx.Node) -> list[_Path] | None:
        query = sources(relu)[0]
        if not self._plain(query):
            return None
        before = sources(query)[0]
        if before in self.graph.relus or before in self.graph.inputs:
            return None  # nothing to compose: IBP is as good
        try:
            return list(self._expand(before, self.graph.convolution(query).weight))
        except _NoPath:
            return None

    def _expand(self, node: fx.Node, reader: Tensor) -> Iterator[_Path]:
        """The paths whose sum is `node`, which a convolution with the kernel `reader` reads."""
        if node in self.graph.relus or node in self.graph.inputs:
            identity = torch.eye(reader.shape[1], dtype=reader.dtype, device=reader.device)
            yield _Path(node, identity[..., None, None], 1, 0)
            return
        if self.graph.adds(node):
            for part in sources(node):
                yield from self._expand(part, reader)
            return
        if not self._plain(node):
            raise _NoPath
        conv, before = self.graph.convolution(node), sources(node)[0]
        stride, padding = conv.stride[0], _padding(conv)
        if before in self.graph.relus or before in self.graph.inputs:
            yield _Path(before, conv.weight, stride, padding)
            return
        if conv.kernel_size != (1, 1) or padding:
            raise _NoPath  # a border inside the path: it would be no single convolution
        for path in self._expand(before, conv.weight):
            weight = torch.einsum("ochw,cikl->oikl", conv.weight, path.weight)
            yield _Path(path.source, weight, stride * path.stride, path.padding)

    def _value(self, node: fx.Node, known: dict[fx.Node, Tensor]) -> Tensor:
        if node in known:
            return known[node]
        values = [self._value(part, known) for part in sources(node)]
        return values[0] + values[1] if self.graph.adds(node) else self.graph.called(node)(*values)

    def _plain(self, node: fx.Node) -> bool:
        """Whether `node` is a convolution with equal strides and zero padding, of all channels at once."""
        if not self.graph.calls(node, nn.Conv2d):
            return False
        conv = self.graph.convolution(node)
        if not isinstance(conv.padding, tuple) or conv.padding_mode != "zeros":
            return False
        even = len({*conv.stride}) == len({*conv.padding}) == len({*conv.kernel_size}) == 1
        return even and conv.groups == 1 and conv.dilation == (1, 1)


class _NoPath(Exception):
    """The signal does not reach this layer through convolutions and additions alone."""


def _add_radius(
    total: Tensor, query: nn.Conv2d, kernels: Tensor, path: _Path, radius: Tensor, size: Sequence[int]
) -> None:
    """Add to `total` [1, O, H, W] how far `query` after `path` moves when the path's source moves by `radius`.

    `kernels` [O, ...] are those of the channels of `query` that are asked for.

    At the border `query` reads zeros and not what the path would give there, so its outputs are treated by the part of
    the kernel that lies inside its input of `size` (height, width): interior, edges and corners.
    """
    alive = (radius != 0).flatten(2).any(2)[0]  # NaN counts as moving
    if not alive.any():
        return
    moving, weight = radius[:, alive], path.weight[:, alive]
    kernel, stride, padding = query.kernel_size[0], query.stride[0], _padding(query)
    taps = torch.einsum("ochw,cikl->hwokli", kernels, weight)
    reach = weight.shape[2]
    step = stride * path.stride
    margin = path.padding + (kernel + reach) * step  # more zeros than any kernel asks for
    field = F.pad(moving, (margin,) * 4)
    for rows, (top, bottom) in _groups(total.shape[2], size[0], kernel, stride, padding):
        for columns, (left, right) in _groups(total.shape[3], size[1], kernel, stride, padding):
            if top >= bottom or left >= right:
                continue  # these outputs read the border alone
            tall, wide = (bottom - top - 1) * path.stride + reach, (right - left - 1) * path.stride + reach
            composed = total.new_zeros(len(kernels), tall, wide, moving.shape[1])
            for i in range(top, bottom):
                for j in range(left, right):
                    y, x = (i - top) * path.stride, (j - left) * path.stride
                    composed[:, y : y + reach, x : x + reach] += taps[i, j]
            # first source pixel under the kernel for the first output of the group, in the padded field
            y0 = (rows.start * stride - padding + top) * path.stride - path.padding + margin
            x0 = (columns.start * stride - padding + left) * path.stride - path.padding + margin
            y1 = y0 + (len(rows) - 1) * step + tall
            x1 = x0 + (len(columns) - 1) * step + wide
            part = F.conv2d(field[:, :, y0:y1, x0:x1], composed.abs_().permute(0, 3, 1, 2), stride=step)
            total[:, :, rows.start : rows.stop, columns.start : columns.stop] += part


def _padding(conv: nn.Conv2d) -> int:
    """Padding of a convolution that has the same number on all sides."""
    return int(conv.padding[0])


def _groups(
    outputs: int, inputs: int, kernel: int, stride: int, padding: int
) -> Iterator[tuple[range, tuple[int, int]]]:
    """Runs of outputs of a convolution in one dimension with the kernel taps that fall inside its input."""
    start = 0
    inside = [(max(0, padding - stride * o), min(kernel, inputs + padding - stride * o)) for o in range(outputs)]
    for end in range(1, outputs + 1):
        if end == outputs or inside[end] != inside[start]:
            yield range(start, end), inside[start]
            start = end

"""CROWN's backward pass for neurons that lie together: over the pixels they see and the channels that are alive.

The bounds library carries one row of coefficients a neuron through whole layers. Most of that multiplies by zero:

* A neuron of a convolution sees a rectangle of each layer before it, so its coefficients are zero outside of it. The
  rows of one place, or of a small square of places, go together and are kept as such rectangles.
* A ReLU whose input is positive nowhere in the box passes nothing on. Where a whole channel of the rectangle is dead,
  the convolutions on both sides of the ReLU leave it out. In networks trained on tiny boxes most neurons are dead in a
  box of 1/255, and whole blocks are.

The relaxation is the library's, so the bounds are too, up to rounding: above a ReLU that crosses zero its chord, below
it the line of slope 1 where the upper bound is the farther one from zero, else 0 (Zhang et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from .coefficients import CHANNELS, Coefficients, one_hot, together
from .composed_intervals import Interval
from .relu_graph import ReluGraph, sources


class CrownPass:
    """One network that the pass can go through; made once, `over` every box."""

    def __init__(self, graph: ReluGraph) -> None:
        """
        Args:
            graph: of a network with batch norms folded; one of anything but convolutions, linear layers, sums, ReLUs
                and flattening is not `usable`.
        """
        self.graph = graph
        inner = [node for node in graph.nodes if node.op not in ("placeholder", "output")]
        self.usable = len(graph.inputs) == 1 and bool(graph.relus) and all(map(self._known, inner))
        self.numbers = {node: number for number, node in enumerate(graph.relus)}
        self.shapes: dict[fx.Node, torch.Size] = {}

    def over(self, box: Interval) -> Relaxed:
        """The network over the box (lower, upper), [1, C, H, W] each, in the network's input space."""
        if not self.shapes:
            self.shapes = {node: x.shape for node, x in self.graph.values(box[0]).items() if node.op != "output"}
        return Relaxed(self, box)

    def splits(self, node: fx.Node) -> bool:
        """Whether `node` is a convolution whose output channels can be computed one without the others' inputs."""
        return self.graph.calls(node, nn.Conv2d) and self.graph.convolution(node).groups == 1

    def _known(self, node: fx.Node) -> bool:
        if not self.graph.calls(node, (nn.Conv2d, nn.Linear, nn.ReLU, nn.Flatten)):
            return self.graph.adds(node)
        called = self.graph.called(node)
        if isinstance(called, nn.Conv2d):
            return isinstance(called.padding, tuple) and called.padding_mode == "zeros"
        return not isinstance(called, nn.Flatten) or (called.start_dim, called.end_dim) == (1, -1)


class Relaxed:
    """A usable network over one box, its ReLUs replaced by lines as their inputs become known."""

    def __init__(self, network: CrownPass, box: Interval) -> None:
        self._network, self._graph = network, network.graph
        self._center = (box[0] + box[1]) / 2
        self._radius = torch.maximum(box[1] - self._center, self._center - box[0])
        self._lines: list[tuple[Tensor, Tensor, Tensor]] = []  # of each ReLU: slope above, slope below, shift above
        self._alive: list[Tensor] = []  # of each ReLU: where its input may be positive; NaN may be anything

    def least(
        self,
        layer: int,
        rows: Tensor,
        signs: Tensor,
        before: Sequence[Interval],
        chunk: int,
        tell: Callable[[], object] = lambda: None,
    ) -> Tensor:
        """CROWN's lower bounds [M] of `signs` times the neurons `rows` [M] at the input of ReLU number `layer`.

        Args:
            before: bounds, valid over the box, of the inputs of the ReLUs before, in their order.
            chunk: most rows at once.
            tell: called before each group of rows.
        """
        self._relax(before)
        node = sources(self._graph.relus[layer])[0]
        shape = self._network.shapes[node]
        found = torch.empty_like(signs)
        for members, top, left, side in together(rows, shape, chunk):
            tell()
            part = one_hot(rows[members], signs[members], shape, (top, left), side)
            found[members] = self._back(node, part)[: len(members)]
        return found

    def margins(self, wanted: Tensor, before: Sequence[Interval]) -> Tensor:
        """CROWN's lower bounds [M] of `wanted` [M, K] @ logits; `before` as in `least`, of all ReLUs."""
        self._relax(before)
        (output,) = (node for node in self._graph.nodes if node.op == "output")
        return self._back(sources(output)[0], Coefficients(wanted))

    def _relax(self, before: Sequence[Interval]) -> None:
        for low, up in before[len(self._lines) :]:
            least, most = low.clamp(max=0), up.clamp(min=0)
            most = torch.maximum(most, least + 1e-8)
            above = most / (most - least)
            self._lines.append((above, (above > 0.5).to(above.dtype), -above * least))
            self._alive.append(~(up <= 0))

    def _back(self, node: fx.Node, found: Coefficients) -> Tensor:
        """Lower bounds [M] of the rows `found` over the value of `node`."""
        total = found.values.new_zeros(len(found.values))
        waiting = {node: found}
        for place in reversed(self._graph.nodes[: self._graph.nodes.index(node) + 1]):
            if place not in waiting:
                continue
            part = waiting.pop(place)
            if place in self._graph.inputs:
                reach = (part.values * part.of(self._center)).flatten(1).sum(1)
                total = total + reach - (part.values.abs() * part.of(self._radius)).flatten(1).sum(1)
                continue
            for source, passed, constant in self._before(place, part):
                total = total + constant
                if passed is not None:
                    waiting[source] = waiting[source].plus(passed) if source in waiting else passed
        return total

    def _before(
        self, node: fx.Node, part: Coefficients
    ) -> Iterator[tuple[fx.Node, Coefficients | None, Tensor | float]]:
        """Coefficients over what `node` reads (None: all zero), and what the rows gain on the way."""
        if self._graph.adds(node):
            yield from ((source, part, 0.0) for source in sources(node))
            return
        (source,), called = sources(node), self._graph.called(node)
        if isinstance(called, nn.ReLU):
            yield (source, *self._through_relu(self._network.numbers[node], part))
        elif isinstance(called, nn.Flatten):
            yield source, Coefficients(part.values.view(len(part.values), *self._network.shapes[source][1:])), 0.0
        elif isinstance(called, nn.Linear):
            gained = part.values @ called.bias if called.bias is not None else 0.0
            yield source, Coefficients(part.values @ called.weight), gained
        else:
            assert isinstance(called, nn.Conv2d)
            bias = called.bias
            if bias is not None and part.channels is not None:
                bias = bias[part.channels]
            gained = part.values.sum((2, 3)) @ bias if bias is not None else 0.0
            yield source, self._through_convolution(called, part, source), gained

    def _through_relu(self, number: int, part: Coefficients) -> tuple[Coefficients, Tensor]:
        above, below, shift = (part.of(line) for line in self._lines[number])
        negative = part.values.clamp(max=0)
        values = (part.values.clamp(min=0) * below).addcmul_(negative, above)
        gained = negative.mul_(shift).sum(tuple(range(1, values.ndim)))
        return Coefficients(values, part.top, part.left, part.channels), gained

    def _through_convolution(self, conv: nn.Conv2d, part: Coefficients, source: fx.Node) -> Coefficients | None:
        height, width = self._network.shapes[source][2:]
        up, across = (int(side) for side in conv.padding)
        top, left = part.top * conv.stride[0] - up, part.left * conv.stride[1] - across
        tall, wide = (
            (length - 1) * stride + dilation * (kernel - 1) + 1
            for length, stride, dilation, kernel in zip(
                part.values.shape[2:], conv.stride, conv.dilation, conv.kernel_size, strict=True
            )
        )
        rows, columns = (max(0, top), min(height, top + tall)), (max(0, left), min(width, left + wide))
        weight, channels = conv.weight, None
        if conv.groups == 1:
            weight = weight if part.channels is None else weight[part.channels]
            channels = self._living(source, rows, columns)
        if channels is not None:
            if len(channels) == 0:
                return None
            weight = weight[:, channels]
        dense = part.values.contiguous(memory_format=torch.channels_last)
        values = F.conv_transpose2d(dense, weight, None, conv.stride, groups=conv.groups, dilation=conv.dilation)[
            :, :, rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left
        ]
        return Coefficients(values, rows[0], columns[0], channels)

    def _living(self, source: fx.Node, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor | None:
        """Channels of a ReLU that may be positive somewhere in a rectangle; None where all are to be kept.

        Only of a ReLU between two convolutions that nothing else reads: coefficients over unlike channels are never
        summed.
        """
        number = self._network.numbers.get(source)
        if number is None or len(source.users) != 1:
            return None
        (before,) = sources(source)
        if len(before.users) != 1 or not self._network.splits(before):
            return None
        alive = self._alive[number][0, :, slice(*rows), slice(*columns)].flatten(1).any(1)
        count = int(alive.sum())
        most = min(len(alive), -(-count // CHANNELS) * CHANNELS)
        return alive.int().argsort(descending=True, stable=True)[:most].sort().values

"""CROWN's backward pass for neurons that lie together: over the pixels they see and the channels that are alive.

The bounds library carries one row of coefficients a neuron through whole layers. Most of that multiplies by zero:

* A neuron of a convolution sees a rectangle of each layer before it, so its coefficients are zero outside of it. The
  rows of one place, or of a small square of places, go together and are kept as such rectangles.
* A ReLU whose input is positive nowhere in the box passes nothing on. Where a whole channel of the rectangle is dead,
  the convolutions on both sides of the ReLU leave it out. In networks trained on tiny boxes most neurons are dead in a
  box of 1/255, and whole blocks are.
* A row that only has to tell a sign may stop early: where it has come back to outputs of ReLUs alone, their intervals
  are known, and often they are proof enough (early termination: Mueller et al. 2021, arXiv 2007.10868).

The relaxation is the library's, so the bounds are too, up to rounding: above a ReLU that crosses zero its chord, below
it the line of slope 1 where the upper bound is the farther one from zero, else 0 (Zhang et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from .coefficients import CHANNELS, Coefficients, flat, one_hot, together, unsettled
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
        self.shapes = self.graph.shapes(box[0])
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
        self._lines: list[tuple[Tensor, Tensor, Tensor]] = []  # of each ReLU: slope above and below, shift above
        self._ranges: dict[fx.Node, tuple[Tensor, Tensor]] = {}  # of each ReLU's output: centre and radius
        self._alive: list[Tensor] = []  # of each ReLU: where its input may be positive; NaN may be anything

    def least(
        self,
        layer: int,
        rows: Tensor,
        signs: Tensor,
        before: Sequence[Interval],
        chunk: int,
        tell: Callable[[], object] = lambda: None,
        settle: bool = False,
    ) -> Tensor:
        """CROWN's lower bounds [M] of `signs` times the neurons `rows` [M] at the input of ReLU number `layer`.

        Args:
            before: bounds, valid over the box, of the inputs of the ReLUs before, in their order.
            chunk: most rows at once.
            tell: called before each group of rows.
            settle: a row goes back no further than it takes to prove that it is not negative; its bound is what that
                proof gives.
        """
        self._relax(before)
        node = sources(self._graph.relus[layer])[0]
        shape = self._network.shapes[node]
        found = torch.empty_like(signs)
        for members, top, left, side in together(rows, shape, chunk):
            tell()
            part = one_hot(rows[members], signs[members], shape, (top, left), side)
            found[members] = self._back(node, part, settle)[: len(members)]
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
            center, relu = (low.relu() + up.relu()) / 2, self._graph.relus[len(self._lines)]
            self._ranges[relu] = (center, torch.maximum(up.relu() - center, center - low.relu()))
            self._lines.append((above, (above > 0.5).to(above.dtype), -above * least))
            self._alive.append(~(up <= 0))

    def _back(self, node: fx.Node, found: Coefficients, settle: bool = False) -> Tensor:
        """Lower bounds [M] of the rows `found` over the value of `node`; `settle` as in `least`."""
        total = found.values.new_zeros(len(found.values))
        rows, best = torch.arange(len(total), device=total.device), torch.full_like(total, -torch.inf)
        waiting, bent = {node: found}, False
        for place in reversed(self._graph.nodes[: self._graph.nodes.index(node) + 1]):
            if place not in waiting:
                continue
            if settle and bent and waiting.keys() <= self._ranges.keys():
                lower = sum((part.least(*self._ranges[relu]) for relu, part in waiting.items()), total)
                best[rows] = torch.where(best[rows] >= 0, best[rows], lower)
                kept = unsettled(best[rows])
                if kept is not None:
                    if len(kept) == 0:
                        return best
                    rows, total = rows[kept], total[kept]
                    waiting = {source: part.rows(kept) for source, part in waiting.items()}
            part = waiting.pop(place)
            if place in self._graph.inputs:
                total = total + part.least(self._center, self._radius)
                continue
            bent = bent or place in self._network.numbers
            for source, passed, constant in self._before(place, part):
                total = total + constant
                if passed is not None:
                    waiting[source] = waiting[source].plus(passed) if source in waiting else passed
        # a settled row that only fills a group up keeps its bound: it does not depend on the rows beside it
        best[rows] = torch.where(best[rows] >= 0, best[rows], total)
        return best

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
        values = (part.values * below).addcmul_(negative, above - below)
        gained = flat(negative) @ flat(shift)[0]
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
        if rows[0] >= rows[1] or columns[0] >= columns[1]:
            return None  # it reads the border alone
        rows, columns = self._narrowed(source, rows, columns)
        down = _cut(rows[0] - top, top + tall - rows[1], conv.stride[0])
        side = _cut(columns[0] - left, left + wide - columns[1], conv.stride[1])
        weight, channels = conv.weight, None
        if rows[0] == rows[1]:
            return None
        if conv.groups == 1:
            weight = weight if part.channels is None else weight[part.channels]
            channels = self._living(source, rows, columns)
        if channels is not None:
            if len(channels) == 0:
                return None
            weight = weight[:, channels]
        dense, (cut, more) = part.values.contiguous(memory_format=torch.channels_last), zip(down, side, strict=True)
        values = F.conv_transpose2d(dense, weight, None, conv.stride, cut, more, conv.groups, conv.dilation)
        y, x = rows[0] - top - cut[0], columns[0] - left - cut[1]
        values = values[:, :, y : y + rows[1] - rows[0], x : x + columns[1] - columns[0]]
        return Coefficients(values, rows[0], columns[0], channels)

    def _narrowed(
        self, source: fx.Node, rows: tuple[int, int], columns: tuple[int, int]
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """The part of a rectangle that holds all that may be positive there, where `source` is a ReLU."""
        number = self._network.numbers.get(source)
        if number is None:
            return rows, columns
        alive = self._alive[number][0, :, slice(*rows), slice(*columns)].any(0)
        if not alive.any():
            return (rows[0], rows[0]), (columns[0], columns[0])
        (up, down), (left, right) = (alive.any(side).nonzero()[[0, -1], 0].tolist() for side in (1, 0))
        return (rows[0] + up, rows[0] + down + 1), (columns[0] + left, columns[0] + right + 1)

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


def _cut(before: int, after: int, stride: int) -> tuple[int, int]:
    """Padding and output padding of a transposed convolution: it need not compute what lies outside of a layer.

    So much lies `before` and `after` the layer, in one dimension; what they do not take away is cropped.
    """
    if after < before < after + stride:
        return before, before - after
    return min(before, after), 0

"""One affine map for all neurons: which of them keep their sign over a box, at the price of one pass per pixel.

Where most ReLUs are settled a network is almost affine. Here each ReLU becomes its chord plus an error, so that a
neuron moves with the box by the row sum of one Jacobian, plus by what the errors make of it. That Jacobian comes, for
all neurons of all layers, from one forward pass per input dimension (a tangent), where CROWN needs one backward pass
per neuron; the errors go as one box per layer through composed convolutions. In effect a zonotope (Singh et al., "Fast
and Effective Robustness Certification", NeurIPS 2018) that keeps no error symbols.

Errors are taken larger than soundness asks, so that CROWN settles whatever is settled here: over [l, u], l < 0 < u,
CROWN may choose a slope of 0 or 1 in the place of the chord's u / (u - l), and so falls below the chord by up to
min(u, -l)^2 / (u - l). CROWN's lower bounds are superadditive where l and u are its own (the bounds of two functions
sum to no more than that of their sum), so that of a neuron is at least that of the affine map less all errors' shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from .composed_intervals import ROUNDING, ComposedIntervals, Interval
from .crops import Crop
from .relu_graph import sources

_Part = Crop | Tensor  # image layers as crops, others whole: [T, ...] for T tangents

TILE = 4
"""Height and width of the square of pixels whose tangents go together, because they reach the same neurons."""

SHARE = 0.5
"""Share of the tangents' cost that is put down to the layer that asks: later layers go on from there."""


class AffineIntervals:
    """The layers of one network; made once, swept for every box."""

    def __init__(self, composed: ComposedIntervals) -> None:
        """
        Args:
            composed: of a network with batch norms folded (`twins.folded`); one of anything but convolutions, linear
                layers, sums, ReLUs and flattening is not `usable`.
        """
        self.composed, self.graph = composed, composed.graph
        inner = [node for node in self.graph.nodes if node.op not in ("placeholder", "output")]
        self.usable = len(self.graph.inputs) == 1 and bool(self.graph.relus) and all(map(self._known, inner))
        self._shapes: dict[fx.Node, torch.Size] = {}

    def sweep(self, box: Interval) -> Sweep:
        """The affine map over the box (lower, upper), [1, C, H, W] each, in the network's input space."""
        if not self._shapes:
            self._shapes = {
                node: value.shape for node, value in self.graph.values(box[0]).items() if node.op != "output"
            }
        return Sweep(self, box)

    def size(self, node: fx.Node) -> int:
        """Numbers that `node` gives for one point."""
        return self._shapes[node].numel()

    def cost(self, node: fx.Node) -> int:
        """Multiplications in `node` for one point."""
        if not self.graph.calls(node, (nn.Conv2d, nn.Linear)):
            return 0
        layer = self.graph.called(node)
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        return self.size(node) * layer.weight[0].numel()

    def _known(self, node: fx.Node) -> bool:
        if not self.graph.calls(node, (nn.Conv2d, nn.Linear, nn.ReLU, nn.Flatten)):
            return self.graph.adds(node)
        called = self.graph.called(node)
        if isinstance(called, nn.Conv2d):
            return isinstance(called.padding, tuple) and called.padding_mode == "zeros"
        return not isinstance(called, nn.Flatten) or (called.start_dim, called.end_dim) == (1, -1)


class Sweep:
    """One box on its way through a usable network: bounds of ReLU inputs, asked for in their order."""

    def __init__(self, network: AffineIntervals, box: Interval) -> None:
        self._network, self._graph = network, network.graph
        self._center = (box[0] + box[1]) / 2
        self._radius = torch.maximum(box[1] - self._center, self._center - box[0])
        self._slopes: dict[fx.Node, Tensor] = {}
        self._shifts: dict[fx.Node, Tensor] = {}
        self._errors: list[Tensor] = []  # of the ReLUs' outputs, in their order
        self._inner_errors: dict[int, Tensor] = {}  # of the ReLUs' inputs, by number
        self._tangents: list[dict[fx.Node, _Part]] = []  # by tile, of the nodes that later ones need
        self._passed = 0  # nodes that the tangents have gone through

    def worth(self, layer: int, rows: int, memory_gb: float) -> bool:
        """Whether bounds of ReLU number `layer` cost less than CROWN for `rows` of its neurons, and fit into memory."""
        end = self._end(layer)
        costs = [self._network.cost(node) for node in self._graph.nodes[:end]]
        kept = sum(map(self._network.size, self._needed(self._graph.nodes[:end], end)))
        dimensions, ahead = self._radius.numel(), sum(costs[self._passed :])
        fits = 4 * kept * dimensions <= memory_gb * 1e9 / 2
        return fits and rows * sum(costs) > dimensions * ahead * SHARE

    def bounds(self, layer: int, before: Sequence[Interval]) -> Interval:
        """Lower and upper bounds of the input of ReLU number `layer`, in its shape.

        Args:
            before: bounds, valid over the box, of the inputs of the ReLUs before, in their order.
        """
        for low, up in before[len(self._errors) : layer]:
            self._relax(low, up)
        centre = self._affine_value(layer)
        radius = self._moved(layer, torch.zeros_like(centre)) + self._error(layer)
        radius = radius * (1 + ROUNDING) + centre.abs() * (ROUNDING / 10)
        return centre - radius, centre + radius

    def _relax(self, low: Tensor, up: Tensor) -> None:
        """Make the next ReLU a line, from which it and CROWN's line below it differ by no more than its error."""
        number, crosses = len(self._errors), (low < 0) & (up > 0)
        relu = self._graph.relus[number]
        slope = torch.where(low >= 0, 1.0, torch.where(up <= 0, 0.0, up / (up - low)))  # NaN where nothing is known
        above = torch.where(crosses, -slope * low, 0.0)
        below = torch.where(crosses, torch.minimum(up, -low) ** 2 / (up - low), 0.0)
        half = (above + below) / 2 + torch.where(crosses, (up - low) * (ROUNDING / 100), 0.0)
        self._slopes[relu], self._shifts[relu] = slope, (above - below) / 2
        self._errors.append(self._error(number) * slope + half)

    def _affine_value(self, layer: int) -> Tensor:
        """Value of the affine map at the box's centre, at the input of ReLU number `layer`."""
        values = {self._graph.inputs[0]: self._center}
        for node in self._graph.nodes[: self._end(layer)]:
            parts = [values[part] for part in sources(node)]
            if node in self._slopes:
                values[node] = parts[0] * self._slopes[node] + self._shifts[node]
            elif parts:
                values[node] = parts[0] + parts[1] if self._graph.adds(node) else self._graph.called(node)(*parts)
        return values[self._query(layer)]

    def _moved(self, layer: int, total: Tensor) -> Tensor:
        """How far the affine map moves the input of ReLU number `layer` over the box, added to the zeros `total`."""
        end, query = self._end(layer), self._query(layer)
        if not self._tangents:
            of_input = self._graph.inputs[0]
            self._tangents = [{of_input: tile} for tile in _tiles(self._radius)]
        for number, known in enumerate(self._tangents):
            for node in self._graph.nodes[self._passed : end]:
                if node.op != "placeholder":
                    known[node] = self._tangent(node, [known[part] for part in sources(node)])
            found = known[query]
            part, values = (found.of(total), found.values) if isinstance(found, Crop) else (total, found)
            part += values.abs().sum(0, keepdim=True)
            self._tangents[number] = {node: known[node] for node in self._needed(known, end)}
        self._passed = end
        return total

    def _tangent(self, node: fx.Node, parts: list[_Part]) -> _Part:
        """What `node` makes of the tangents of its arguments."""
        first = parts[0]
        if node in self._slopes:
            return first.times(self._slopes[node]) if isinstance(first, Crop) else first * self._slopes[node]
        if self._graph.adds(node):
            second = parts[1]  # of the same kind: both are images, or both are not
            if isinstance(first, Crop) and isinstance(second, Crop):
                return first.plus(second)
            assert isinstance(first, Tensor)
            assert isinstance(second, Tensor)
            return first + second
        called = self._graph.called(node)
        if isinstance(called, nn.Conv2d):
            assert isinstance(first, Crop)
            return first.convolved(called)
        values = first.whole() if isinstance(first, Crop) else first
        return F.linear(values, called.weight) if isinstance(called, nn.Linear) else called(values)

    def _error(self, layer: int) -> Tensor:
        """How far the errors of the ReLUs before move the input of ReLU number `layer`."""
        if layer not in self._inner_errors:
            found = self._network.composed.spread(layer, self._errors[:layer], torch.zeros_like(self._center))
            self._inner_errors[layer] = self._spread(self._query(layer)) if found is None else found
        return self._inner_errors[layer]

    def _spread(self, node: fx.Node) -> Tensor:
        """The same of any node, through one layer after the other."""
        if node in self._slopes:
            return self._errors[self._graph.relus.index(node)]
        if node in self._graph.inputs:
            return torch.zeros_like(self._center)
        parts = [self._spread(part) for part in sources(node)]
        if self._graph.adds(node):
            return parts[0] + parts[1]
        called = self._graph.called(node)
        if isinstance(called, nn.Linear):
            return F.linear(parts[0], called.weight.abs())
        if not isinstance(called, nn.Conv2d):
            return called(parts[0])
        stride, padding, dilation = called.stride, called.padding, called.dilation
        return F.conv2d(parts[0], called.weight.abs(), None, stride, padding, dilation, called.groups)

    def _end(self, layer: int) -> int:
        """Number of nodes up to the input of ReLU number `layer`."""
        return self._graph.nodes.index(self._query(layer)) + 1

    def _query(self, layer: int) -> fx.Node:
        """The node that ReLU number `layer` reads."""
        return sources(self._graph.relus[layer])[0]

    def _needed(self, nodes: Iterable[fx.Node], end: int) -> list[fx.Node]:
        """Those of the first `end` nodes whose values a later one reads."""
        later = set(self._graph.nodes[end:])
        return [node for node in nodes if node not in later and not later.isdisjoint(node.users)]


def _tiles(radius: Tensor) -> Iterator[Crop]:
    """One tangent for each input dimension, as long as its radius in [1, C, H, W], those of a square together."""
    for top in range(0, radius.shape[2], TILE):
        for left in range(0, radius.shape[3], TILE):
            square = radius[:, :, top : top + TILE, left : left + TILE]
            tangents = torch.diag(square.flatten()).view(-1, *square.shape[1:])
            yield Crop(tangents, top, left, (radius.shape[2], radius.shape[3]))

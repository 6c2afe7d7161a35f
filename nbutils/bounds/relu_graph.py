"""A network as a graph (`torch.fx`) and the questions that intervals through it ask of its nodes."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn


class ReluGraph:
    """Nodes of one network; `relus` and `inputs` in the order in which the network computes them."""

    def __init__(self, module: nn.Module) -> None:
        """
        Args:
            module: the network; anything but a graph has no nodes here.
        """
        self._module = module
        self._modules = dict(module.named_modules())
        self.nodes: list[fx.Node] = list(module.graph.nodes) if isinstance(module, fx.GraphModule) else []
        self.relus = [node for node in self.nodes if self.calls(node, nn.ReLU)]
        self._shapes: dict[fx.Node, torch.Size] = {}
        self.inputs = [node for node in self.nodes if node.op == "placeholder"]

    def called(self, node: fx.Node) -> nn.Module:
        """The layer that `node` calls."""
        return self._modules[str(node.target)]

    def convolution(self, node: fx.Node) -> nn.Conv2d:
        """The layer that `node` calls, where it is known to be a convolution."""
        layer = self.called(node)
        assert isinstance(layer, nn.Conv2d)
        return layer

    def calls(self, node: object, kind: type[nn.Module] | tuple[type[nn.Module], ...]) -> bool:
        """Whether `node` calls a layer of this kind on one value."""
        if not isinstance(node, fx.Node) or node.op != "call_module" or node.kwargs or len(node.args) != 1:
            return False
        return isinstance(self.called(node), kind)

    def adds(self, node: object) -> bool:
        """Whether `node` is the sum of two values of the network."""
        if not isinstance(node, fx.Node) or node.kwargs or len(node.args) != 2:
            return False
        if not all(isinstance(part, fx.Node) for part in node.args):
            return False
        if node.op == "call_function":
            return node.target in (operator.add, torch.add)
        return node.op == "call_module" and getattr(self.called(node), "math_op_function", None) is torch.add

    def values(self, x: Tensor) -> dict[fx.Node, Tensor]:
        """What every node computes at the points `x` [N, C, H, W]."""
        if not self.nodes:
            return {}
        assert isinstance(self._module, fx.GraphModule)  # nothing else has nodes
        recorder = _Recorder(self._module)
        recorder.run(x)
        return recorder.found

    def shapes(self, x: Tensor) -> dict[fx.Node, torch.Size]:
        """Shape of what every node computes at one point of the shape of `x` [1, C, H, W]; computed once."""
        if not self._shapes:
            self._shapes = {node: y.shape for node, y in self.values(x).items() if node.op != "output"}
        return self._shapes

    def broadcasts(self, x: Tensor) -> bool:
        """Whether some sum is of values of unequal shapes, at the points `x` [N, C, H, W]."""
        found = self.values(x)
        sums = [sources(node) for node in self.nodes if self.adds(node)]
        return any(found[one].shape != found[other].shape for one, other in sums)


def sources(node: fx.Node) -> list[fx.Node]:
    """The values that `node` reads, in the order of its arguments; a value that it reads twice stands there twice."""
    return [part for part in node.args if isinstance(part, fx.Node)]


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps what its nodes give."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.found: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.found[n] = super().run_node(n)
        return self.found[n]

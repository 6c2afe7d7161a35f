"""A network restated in operations whose bounds are right, where the file uses others.

The bounds library reads some operators otherwise than the file (an average pooling that leaves out padding) and knows
others not at all (PReLU, a strided slice). Those that are linear become convolutions or linear layers here, those that
bend once become sums of ReLUs:

    PReLU(x)      = s x + (1 - s) relu(x)          Clip(x, a, b) = b - relu(b - a - relu(x - a))
    max(x, y)     = y + relu(x - y)                min(x, y)     = y - relu(y - x)

Both forms are compared at several points; a network in which nothing has to be restated stays the same object. Bounds
are for one image at a time, so shapes are those of one image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..core import BoundsError
from . import bent_forms, linear_forms, pool_forms
from .operator_site import Site
from .relu_graph import sources

SAME = 1e-4
"""Largest difference of logits between both forms, relative to the largest logit (1 if smaller)."""


def faithful(module: nn.Module, shape: tuple[int, ...], name: str = "network", *, overlap: bool = True) -> nn.Module:
    """`module` with every operator restated that needs it; `module` itself where none does.

    Args:
        module: in evaluation mode; anything but a graph is returned as it is.
        shape: of one image, (C, H, W).
        name: of the network, for the message.
        overlap: False leaves a max pooling whose windows overlap to the library, which takes intervals through it and
            nothing else, closer ones than through ReLUs.

    Raises:
        BoundsError: when both forms differ.
    """
    if not isinstance(module, fx.GraphModule):
        return module
    device = next((p.device for p in [*module.parameters(), *module.buffers()]), torch.device("cpu"))
    draw = torch.Generator().manual_seed(0)
    points = [size * torch.randn(1, *shape, generator=draw) for size in (0.5, 2.0, 20.0)]
    original = module if device.type == "cpu" else copy.deepcopy(module).cpu()  # the rules make layers there
    with torch.no_grad():
        values = _Values(original)
        values.run(points[0])
        changes: dict[str, tuple[nn.Module, list[bool]]] = {}
        for node in original.graph.nodes:
            made = _restated(original, node, values, _RULES if overlap else _RULES | _OVERLAPPING)
            if made is not None:
                changes[node.name] = made, [arg not in values.fixed for arg in sources(node)]
        if not changes:
            return module
        restated = _replaced(original, changes)
        for point in points:
            old, new = original(point), restated(point)
            if old.isfinite().all() and not (new - old).abs().max() <= SAME * max(1.0, float(old.abs().max())):
                raise BoundsError(
                    f"{name}: refused by every bound method: restated in operations with bounds it gives logits that "
                    f"differ by {float((new - old).abs().max()):.3g}; please report it with the network file."
                )
    return restated.to(device)


Rules = dict[str, Callable[[Site], nn.Module | None]]


class _Values(fx.Interpreter):
    """Values of all nodes at one image, and which are the same at any: stored tensors, shapes, what is made of them."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.layers = dict(module.named_modules())
        self.found: dict[fx.Node, Tensor] = {}
        self.fixed: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        self.found[n] = super().run_node(n)
        shape = type(self.layers.get(str(n.target))).__name__ == "OnnxShape"
        if n.op not in ("placeholder", "output") and (shape or self.fixed.issuperset(n.all_input_nodes)):
            self.fixed.add(n)
        return self.found[n]


def _restated(module: fx.GraphModule, node: fx.Node, values: _Values, rules: Rules) -> nn.Module | None:
    """What stands for `node`, a module of its arguments that depend on the image; None where it stays."""
    if node.op != "call_module" or node.kwargs or not node.args:
        return None
    read = sources(node)
    if len(read) != len(node.args):
        return None
    args = [values.found[arg] for arg in read]
    known = [value if arg in values.fixed else None for arg, value in zip(read, args, strict=True)]
    layer = module.get_submodule(str(node.target))
    before = read[0]
    after_relu = before.op == "call_module" and isinstance(module.get_submodule(str(before.target)), nn.ReLU)
    site = Site(layer, args, known, after_relu)
    rule = rules.get(site.kind)
    return None if rule is None else rule(site)


def _replaced(module: fx.GraphModule, changes: dict[str, tuple[nn.Module, list[bool]]]) -> fx.GraphModule:
    """A copy with another layer for each node named in `changes`, which reads the arguments that are marked there."""
    result = copy.deepcopy(module)
    for number, node in enumerate(list(result.graph.nodes)):
        if node.name in changes:
            target = f"restated_{number}"
            layer, marked = changes[node.name]
            result.add_submodule(target, layer)
            moving = tuple(arg for arg, moves in zip(sources(node), marked, strict=True) if moves)
            with result.graph.inserting_before(node):
                fresh = result.graph.call_module(target, moving)
            node.replace_all_uses_with(fresh)
            result.graph.erase_node(node)
    result.graph.eliminate_dead_code()
    result.recompile()
    return result.eval().requires_grad_(False)


_RULES: Rules = {
    "AvgPool2d": pool_forms.average_pool,
    "OnnxDepthToSpace": linear_forms.depth_to_space,
    "ConvTranspose2d": linear_forms.transposed_convolution,
    "MaxPool2d": pool_forms.max_pool,
    "Sequential": pool_forms.padded_max_pool,
    "OnnxReduceStaticAxes": pool_forms.whole_image,
    "OnnxSqueezeDynamicAxes": linear_forms.squeezed,
    "OnnxUnsqueezeDynamicAxes": linear_forms.squeezed,
    "OnnxSlice": linear_forms.input_slice,
    "OnnxPadDynamic": linear_forms.padding,
    "OnnxPadStatic": linear_forms.padding,
    "Linear": linear_forms.without_bias,
    "OnnxMatMul": linear_forms.matrix_product,
    "OnnxMean": linear_forms.several_sum,
    "OnnxSum": linear_forms.several_sum,
    "OnnxPReLU": bent_forms.prelu,
    "PReLU": bent_forms.prelu,
    "ReLU6": bent_forms.clip,
    "OnnxClip": bent_forms.clip,
    "Hardtanh": bent_forms.clip,
    "OnnxHardSigmoid": bent_forms.clip,
    "ELU": bent_forms.exponential_bend,
    "CELU": bent_forms.exponential_bend,
    "SELU": bent_forms.exponential_bend,
    "Hardswish": bent_forms.hard_swish,
    "OnnxHardSwish": bent_forms.hard_swish,
    "OnnxMinMax": bent_forms.extreme,
}
"""By the name of a layer's class, as onnx2torch makes it."""

_OVERLAPPING: Rules = {
    "MaxPool2d": pool_forms.max_pool_for_intervals,
    "Sequential": pool_forms.padded_max_pool_for_intervals,
}

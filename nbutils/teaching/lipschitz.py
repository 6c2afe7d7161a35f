"""A Lipschitz bound of a whole network: how much it can stretch a change, multiplied up layer by layer.

Szegedy et al. 2014, section 4.3: the bound is true, and so large for deep networks that it says nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, prod
from typing import cast

import numpy as np
import torch
from torch import fx, nn

from ..networks import Network


def lipschitz_bound(network: Network) -> float:
    """L with ||y(a) - y(b)|| <= L ||a - b|| for all inputs, both lengths Euclidean, a and b as the network is fed them.

    One layer after another multiplies, two branches that are added add. A layer's own number is its largest singular
    value; that of a convolution is bounded by its kernel's (as a matrix, a row for each output channel) times the root
    of how many windows one pixel takes part in.

    Raises:
        ValueError: for a layer that is none of convolution, batch norm, dense layer, ReLU, flattening, addition.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from nbutils.teaching import TOY, lipschitz_bound
        >>> round(lipschitz_bound(TOY.opened(Path(tempfile.mkdtemp()))), 3)  # both layers: root of 2
        2.0
    """
    graph = cast(fx.GraphModule, network.module).graph
    stretch: dict[object, float] = {}
    for node in graph.nodes:
        inputs = [stretch[source] for source in node.all_input_nodes]
        if node.op == "placeholder":
            stretch[node] = 1.0
        elif node.op == "call_module":
            stretch[node] = sum(inputs) * _stretch(network.module.get_submodule(node.target), node.name, len(inputs))
        elif node.op == "output":
            return inputs[0]
    raise ValueError(f"{network.name}: the graph has no output")


def _stretch(layer: nn.Module, name: str, inputs: int) -> float:
    """How much `layer` can stretch one input; 1 for each branch of an addition."""
    for kind, largest in _LARGEST.items():
        if isinstance(layer, kind):
            return largest(layer)
    if inputs == 2 and getattr(layer, "math_op_function", None) is torch.add:
        return 1.0
    raise ValueError(f"{name}: no Lipschitz bound is known for {type(layer).__name__}")


def _of_convolution(layer: nn.Module) -> float:
    convolution = cast(nn.Conv2d, layer)
    sizes = zip(convolution.kernel_size, convolution.stride, convolution.dilation, strict=True)
    windows = prod(ceil(size / step) if spread == 1 else size for size, step, spread in sizes)
    return windows**0.5 * _largest_singular_value(convolution)


def _of_norm(layer: nn.Module) -> float:
    norm = cast(nn.BatchNorm2d, layer)
    assert norm.running_var is not None
    return float((norm.weight / (norm.running_var + norm.eps).sqrt()).abs().max())


def _largest_singular_value(layer: nn.Module) -> float:
    weight = cast(nn.Linear, layer).weight.detach().flatten(1).double().cpu().numpy()
    weight = weight if len(weight) <= weight.shape[1] else weight.T
    return float(np.linalg.eigvalsh(weight @ weight.T)[-1] ** 0.5)


_LARGEST: dict[type[nn.Module], Callable[[nn.Module], float]] = {
    nn.Conv2d: _of_convolution, nn.BatchNorm2d: _of_norm, nn.Linear: _largest_singular_value,
    nn.ReLU: lambda _: 1.0, nn.Flatten: lambda _: 1.0, nn.Identity: lambda _: 1.0,
}  # fmt: skip

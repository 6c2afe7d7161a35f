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

from ..core import NetworkError, require
from ..networks import Network


def lipschitz_bound(network: Network) -> float:
    """L with ||y(a) - y(b)|| <= L ||a - b|| for all inputs, both lengths Euclidean, a and b as the network is fed them.

    One layer after another multiplies, two branches that are added add. A layer's own number is its largest singular
    value; that of a convolution is bounded by its kernel's (as a matrix, a row for each output channel) times the root
    of how many windows one pixel takes part in.

    Raises:
        NetworkError: for a layer that is none of convolution, batch norm, dense layer, ReLU, flattening, addition.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from nbutils.teaching import TOY, lipschitz_bound
        >>> round(lipschitz_bound(TOY.opened(Path(tempfile.mkdtemp()))), 3)  # both layers: root of 2
        2.0
    """
    what = f"{network.name}: Lipschitz bound"
    found, allowed = type(network.module).__name__, "a network that takes whole batches"
    require(isinstance(network.module, fx.GraphModule), what, found, allowed, error=NetworkError)
    graph = cast(fx.GraphModule, network.module).graph
    stretch: dict[object, float] = {}
    for node in graph.nodes:
        inputs = [stretch[source] for source in node.all_input_nodes]
        if node.op == "placeholder":
            stretch[node] = 1.0
        elif node.op == "call_module":
            layer = network.module.get_submodule(str(node.target))
            own = _stretch(layer, len(inputs))
            allowed = "Conv, BatchNormalization, Gemm, Relu, Flatten, Add"
            require(own is not None, what, f"{type(layer).__name__} at {node.name}", allowed, error=NetworkError)
            stretch[node] = sum(inputs) * (own or 0.0)
        elif node.op == "output":
            return inputs[0]
    raise NetworkError(f"{network.name}: the graph has no output")


def _stretch(layer: nn.Module, inputs: int) -> float | None:
    """How much `layer` can stretch one input; 1 for each branch of an addition; None where that is not known."""
    for kind, largest in _LARGEST.items():
        if isinstance(layer, kind):
            return largest(layer)
    if inputs == 2 and getattr(layer, "math_op_function", None) is torch.add:
        return 1.0
    return None


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

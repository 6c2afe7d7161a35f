"""A faster private copy of a network's torch twin, for the many passes of an attack."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .architectures import in_memory_format

Twin = Callable[[Tensor], Tensor]
"""Network inputs [M, C, H, W] to logits [M, K], differentiable in the inputs."""

ROWS = 4
"""Rows are padded to a multiple of this: matrix products of fewer or uneven rows round differently on CPUs (MKL, as
measured with 1 to 16 threads), so that a row's result would depend on how many others there are."""

LINEAR_ROWS = 16
"""Rows that a linear layer takes at once, always as many: on a CPU with AVX-512 and AMX, products of 12 rows and fewer
were seen to round otherwise than those of 16 and more. One shape has one kernel."""

_copies: weakref.WeakKeyDictionary[nn.Module, nn.Module] = weakref.WeakKeyDictionary()
_plain: weakref.WeakKeyDictionary[nn.Module, nn.Module] = weakref.WeakKeyDictionary()


def twin_of(module: nn.Module) -> Twin:
    """Function with the logits of `module`, up to rounding, row for row independent of the number of rows.

    Convolutions take up the batch norm behind them and run in the channels_last layout: 0.84 of the time of the plain
    forward and backward passes of CIFAR100_resnet_small (20 rows, two cores). `module` itself stays as it is; the
    copy is made once and kept as long as `module` lives.
    """
    fast = _copies.get(module)
    if fast is None:
        fast = _copies[module] = in_memory_format(_in_blocks(folded(module)), torch.channels_last)

    def twin(x: Tensor) -> Tensor:
        rows = len(x)
        if missing := -rows % ROWS:
            x = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])])
        return fast(x.contiguous(memory_format=torch.channels_last))[:rows]

    return twin


def folded(module: nn.Module) -> nn.Module:
    """Copy of `module` in which each batch norm that is alone behind a convolution has become part of it.

    Only graphs (`torch.fx`, as onnx2torch makes them) can be folded; other modules are copied as they are.
    """
    result = copy.deepcopy(module).eval().requires_grad_(False)
    if not isinstance(result, GraphModule):
        return result
    calls = [node.target for node in result.graph.nodes if node.op == "call_module"]
    for node in list(result.graph.nodes):
        before = node.args[0] if node.op == "call_module" and node.args else None
        if (
            not isinstance(before, Node)
            or not isinstance(before.target, str)
            or before.op != "call_module"
            or len(before.users) > 1
        ):
            continue
        conv, norm = result.get_submodule(before.target), result.get_submodule(node.target)
        alone = calls.count(before.target) == 1 and node.kwargs == {} and len(node.args) == 1
        if alone and isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats:
            result.set_submodule(before.target, fuse_conv_bn_eval(conv, norm))
            node.replace_all_uses_with(before)
            result.graph.erase_node(node)
    result.recompile()
    return result.requires_grad_(False)


def steady(module: nn.Module) -> nn.Module:
    """Copy of `module`, kept as long as it lives, whose linear layers take `LINEAR_ROWS` rows at once."""
    copied = _plain.get(module)
    if copied is None:
        with torch.inference_mode(False):  # a copy made there could not be differentiated later
            copied = _plain[module] = _in_blocks(copy.deepcopy(module))
    return copied


def _in_blocks(module: nn.Module) -> nn.Module:
    """`module`, its linear layers replaced."""
    if type(module) is nn.Linear:
        return _BlockLinear(module)
    for name, child in list(module.named_children()):
        module.add_module(name, _in_blocks(child))
    return module


class _BlockLinear(nn.Module):
    """A linear layer [M, F] to [M, G] in products of one shape, forward and backward."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 2:
            return nn.functional.linear(x, self.weight, self.bias)
        blocks = nn.functional.pad(x, (0, 0, 0, -len(x) % LINEAR_ROWS)).split(LINEAR_ROWS)
        return torch.cat([nn.functional.linear(block, self.weight, self.bias) for block in blocks])[: len(x)]

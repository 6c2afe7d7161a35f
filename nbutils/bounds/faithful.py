"""A network restated in operations whose bounds are right, where the file uses others.

The bounds library reads some operators otherwise than the file (an average pooling that leaves out padding) and knows
others not at all (PReLU, a strided slice). Those that are linear become convolutions or linear layers here, those that
bend once become sums of ReLUs:

    PReLU(x)      = s x + (1 - s) relu(x)          Clip(x, a, b) = b - relu(b - a - relu(x - a))
    max(x, y)     = y + relu(x - y)                min(x, y)     = y - relu(y - x),  y constant

Both forms are compared at several points; a network in which nothing has to be restated stays the same object. Bounds
are for one image at a time, so shapes are those of one image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from ..core import BoundsError

SAME = 1e-4
"""Largest difference of logits between both forms, relative to the largest logit (1 if smaller)."""


class Site:
    """One node of the network at an example image: the layer, its arguments, and which of them are constants."""

    def __init__(
        self, layer: nn.Module, args: list[object], constants: list[Tensor | None], after_relu: bool = False
    ) -> None:
        self.layer, self.args, self.constants = layer, args, constants
        self.after_relu = after_relu  # whether its argument is what a ReLU gives
        self.kind = type(layer).__name__
        moving = [arg for arg, constant in zip(args, constants, strict=True) if constant is None]
        self.x = moving[0] if len(moving) == 1 else None  # the value of the one argument that depends on the image
        self.moving = len(moving)

    def constant(self, position: int) -> Tensor | None:
        """The constant at `position` of the arguments, where there is one."""
        return self.constants[position] if position < len(self.constants) else None


def faithful(module: nn.Module, shape: tuple[int, ...], name: str = "network") -> nn.Module:
    """`module` with every operator restated that needs it; `module` itself where none does.

    Args:
        module: in evaluation mode; anything but a graph is returned as it is.
        shape: of one image, (C, H, W).
        name: of the network, for the message.

    Raises:
        BoundsError: when both forms differ.
    """
    if not isinstance(module, fx.GraphModule):
        return module
    device = next((p.device for p in [*module.parameters(), *module.buffers()]), torch.device("cpu"))
    draw = torch.Generator().manual_seed(0)
    points = [(size * torch.randn(1, *shape, generator=draw)).to(device) for size in (0.5, 2.0, 20.0)]
    with torch.no_grad():
        values = _Values(module)
        values.run(points[0])
        changes = {}
        for node in module.graph.nodes:
            made = _restated(module, node, values)
            if made is not None:
                changes[node.name] = made
        if not changes:
            return module
        restated = _replaced(module, changes).to(device)
        for point in points:
            old, new = module(point), restated(point)
            if old.isfinite().all() and not (new - old).abs().max() <= SAME * max(1.0, float(old.abs().max())):
                raise BoundsError(
                    f"{name}: refused by every bound method: restated in operations with bounds it gives logits that "
                    f"differ by {float((new - old).abs().max()):.3g}; please report it with the network file."
                )
    return restated


class _Values(fx.Interpreter):
    """Values of all nodes at one image, and which do not depend on it."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.found: dict[fx.Node, object] = {}

    def run_node(self, n: fx.Node) -> object:
        self.found[n] = super().run_node(n)
        return self.found[n]


def _restated(module: fx.GraphModule, node: fx.Node, values: _Values) -> nn.Module | None:
    """What stands for `node`, a module of its arguments that depend on the image; None where it stays."""
    if node.op != "call_module" or node.kwargs or not node.args:
        return None
    if not all(isinstance(arg, fx.Node) for arg in node.args):
        return None
    args = [values.found[arg] for arg in node.args]
    known = [value if arg.op == "get_attr" else None for arg, value in zip(node.args, args, strict=True)]
    layer = module.get_submodule(str(node.target))
    before = node.args[0]
    after_relu = before.op == "call_module" and isinstance(module.get_submodule(str(before.target)), nn.ReLU)
    site = Site(layer, args, known, after_relu)
    rule = _RULES.get(site.kind)
    return None if rule is None else rule(site)


def _replaced(module: fx.GraphModule, changes: dict[str, nn.Module]) -> fx.GraphModule:
    result = copy.deepcopy(module)
    for number, node in enumerate(list(result.graph.nodes)):
        if node.name in changes:
            target = f"restated_{number}"
            result.add_submodule(target, changes[node.name])
            moving = tuple(arg for arg in node.args if arg.op != "get_attr")
            with result.graph.inserting_before(node):
                fresh = result.graph.call_module(target, moving)
            node.replace_all_uses_with(fresh)
            result.graph.erase_node(node)
    result.graph.eliminate_dead_code()
    result.recompile()
    return result.eval().requires_grad_(False)


# ---- linear operators


def selection(channels: int, size: tuple[int, int], wanted: tuple[range, range]) -> nn.Conv2d:
    """Convolution [1, C, H, W] -> [1, C, h, w] that keeps the rows and columns in `wanted`, evenly spaced ranges."""
    kernel, corner = [], []
    for length, kept in zip(size, wanted, strict=True):
        smallest = kept.start + 1  # the kernel has to reach the first one, and to end after `len(kept)` steps
        kernel.append(max(smallest, length - kept.step * len(kept) + 1))
        corner.append(kept.start)
    conv = nn.Conv2d(
        channels, channels, tuple(kernel), stride=tuple(kept.step for kept in wanted), groups=channels, bias=False
    )
    weight = torch.zeros_like(conv.weight)
    weight[:, 0, corner[0], corner[1]] = 1
    conv.weight = nn.Parameter(weight)
    return conv


def channel_map(source: list[int | None], channels: int) -> nn.Conv2d:
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

    def __init__(self, layer: nn.Module, factor: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("factor", factor)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.factor


class Shifted(nn.Module):
    """`layer` plus a constant, element by element."""

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


def _average_pool(site: Site) -> nn.Module | None:
    """Sum over each window as a depthwise convolution, times what the window is divided by."""
    layer, x = site.layer, site.x
    if x is None or x.ndim != 4:
        return None
    (kh, kw), (sh, sw), (ph, pw) = (_pair(v) for v in (layer.kernel_size, layer.stride, layer.padding))
    if (kh, kw) == (sh, sw) and (ph, pw) == (0, 0) and not layer.ceil_mode:
        return None  # the library's own is right
    out = layer(x)
    # zeros on the right and below, as far as the last window reaches
    right, below = ((n - 1) * s + k - size - p for n, s, k, size, p in (
        (out.shape[3], sw, kw, x.shape[3], pw), (out.shape[2], sh, kh, x.shape[2], ph)))  # fmt: skip
    channels = x.shape[1]
    conv = nn.Conv2d(channels, channels, (kh, kw), stride=(sh, sw), groups=channels, bias=False)
    conv.weight = nn.Parameter(torch.ones_like(conv.weight))
    parts: list[nn.Module] = [conv]
    if any(side > 0 for side in (pw, right, ph, below)):
        if right == pw and below == ph:
            conv.padding = (ph, pw)
        else:
            parts.insert(0, zero_pad(channels, pw, max(0, right), ph, max(0, below)))
    summed = nn.Sequential(*parts)
    ones = torch.ones_like(x)
    divisor = layer(ones) / summed(ones)
    even = divisor.flatten()[0]
    if (divisor == even).all():  # one divisor: part of the weights
        conv.weight = nn.Parameter(conv.weight * even)
        return summed
    return Scaled(summed, divisor[:1, :1].contiguous())


def _max_pool(site: Site) -> nn.Module | None:
    """The window over the border that `ceil_mode` adds, as zeros around the image, which no ReLU's values are below."""
    layer, x = site.layer, site.x
    if x is None or x.ndim != 4 or not layer.ceil_mode:
        return None
    plain = copy.deepcopy(layer)
    plain.ceil_mode = False
    wanted = layer(x).shape
    if plain(x).shape == wanted:
        return plain
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = (
        _pair(value) for value in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    )
    if not site.after_relu or (dh, dw) != (1, 1):
        return None
    right, below = (max(0, (n - 1) * s + k - size - 2 * p) for n, s, k, size, p in (
        (wanted[3], sw, kw, x.shape[3], pw), (wanted[2], sh, kh, x.shape[2], ph)))  # fmt: skip
    return nn.Sequential(zero_pad(x.shape[1], 0, right, 0, below), plain)


def _slice(site: Site) -> nn.Module | None:
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


def _pad(site: Site) -> nn.Module | None:
    x, layer = site.x, site.layer
    if x is None or x.ndim != 4 or getattr(layer, "mode", "constant") != "constant":
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
    parts: list[nn.Module] = []
    if any(pads[4:6]):
        source = [None] * pads[4] + list(range(x.shape[1])) + [None] * pads[5]
        parts.append(channel_map(source, x.shape[1]))
    if any(pads[:4]):
        parts.append(zero_pad(x.shape[1] + sum(pads[4:6]), *pads[:4]))
    if not parts:
        return nn.Identity()
    padded = nn.Sequential(*parts)
    if value == 0:
        return padded
    return Shifted(padded, value * (1 - F.pad(torch.ones_like(x), pads)))


def _no_bias(site: Site) -> nn.Module | None:
    layer = site.layer
    if site.x is None or site.x.ndim != 2 or layer.bias is not None:
        return None
    return _linear(layer.weight)


def _matmul(site: Site) -> nn.Module | None:
    weight = site.constant(1)
    if site.x is None or site.x.ndim != 2 or weight is None or weight.ndim != 2:
        return None
    return _linear(weight.T)


def _linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = nn.Parameter(weight.contiguous()), nn.Parameter(torch.zeros_like(weight[:, 0]))
    return layer


class Added(nn.Module):
    """Sum of all arguments, two at a time, and of a constant."""

    def __init__(self, constant: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("constant", constant)

    def forward(self, *parts: Tensor) -> Tensor:
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total if self.constant is None else total + self.constant


def _sum(site: Site) -> nn.Module | None:
    fixed = [constant for constant in site.constants if constant is not None]
    if not site.moving:
        return None
    return Added(sum(fixed) if fixed else None)


# ---- operators that bend once


class Bent(nn.Module):
    """`slope` x + (1 - `slope`) relu(x): PReLU."""

    def __init__(self, slope: Tensor) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.register_buffer("slope", slope)
        self.register_buffer("rest", 1 - slope)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.slope + self.relu(x) * self.rest


class Clipped(nn.Module):
    """`scale` x + `shift`, kept between `low` and `high`, either of which may be missing."""

    def __init__(self, low: float | None, high: float | None, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.relu, self.again = nn.ReLU(), nn.ReLU()
        self.low, self.high, self.scale, self.shift = low, high, scale, shift

    def forward(self, x: Tensor) -> Tensor:
        if self.scale != 1:
            x = x * self.scale
        if self.low is None:
            return self.high - self.relu(self.high - self.shift - x)
        above = self.relu(x + (self.shift - self.low))
        if self.high is None:
            return above + self.low
        return self.high - self.again((self.high - self.low) - above)


class Extreme(nn.Module):
    """The larger (`sign` 1) or smaller (-1) of two values, or of one and a constant, element by element."""

    def __init__(self, constant: Tensor | None, sign: int) -> None:
        super().__init__()
        self.relu, self.sign = nn.ReLU(), sign
        self.register_buffer("constant", constant)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        y = self.constant if other is None else other
        if self.sign > 0:
            return self.relu(x - y) + y
        return y - self.relu(y - x)


def _prelu(site: Site) -> nn.Module | None:
    slope = site.layer.weight if site.kind == "PReLU" else site.constant(1)
    if site.x is None or slope is None:
        return None
    if slope.ndim == 1 and len(slope) in (1, site.x.shape[1]):
        slope = slope.view(1, -1, *[1] * (site.x.ndim - 2))
    elif slope.ndim == site.x.ndim - 1:
        slope = slope[None]
    return Bent(slope.detach().clone())


def _clip(site: Site) -> nn.Module | None:
    layer = site.layer
    if site.x is None:
        return None
    if site.kind == "ReLU6":
        return Clipped(0.0, 6.0)
    if site.kind == "OnnxHardSigmoid":
        return Clipped(0.0, 1.0, float(layer.alpha), float(layer.beta))
    if site.kind == "Hardtanh":
        return Clipped(float(layer.min_val), float(layer.max_val))
    ends = [None if end is None else float(end) for end in (layer.min_val, layer.max_val)]
    return None if ends == [None, None] or (None not in ends and ends[0] > ends[1]) else Clipped(*ends)


class Swished(nn.Module):
    """x times a sixth of x + 3, kept between 0 and 1: HardSwish."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Clipped(0.0, 1.0, 1 / 6, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def _hard_swish(site: Site) -> nn.Module | None:
    return None if site.x is None else Swished()


def _extreme(site: Site) -> nn.Module | None:
    if len(site.args) != 2 or not site.moving:
        return None
    constant = next((constant for constant in site.constants if constant is not None), None)
    shapes = {tuple(value.shape) for value in site.args}
    if constant is None and len(shapes) > 1:
        return None  # which of the two is spread out would depend on the order
    if constant is not None:
        if torch.broadcast_shapes(site.x.shape, constant.shape) != site.x.shape:
            return None
        constant = constant.detach().clone()
    return Extreme(constant, 1 if site.layer._op_type == "Max" else -1)


def _pair(value: object) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))  # type: ignore[index]


_RULES: dict[str, Callable[[Site], nn.Module | None]] = {
    "AvgPool2d": _average_pool,
    "MaxPool2d": _max_pool,
    "OnnxSlice": _slice,
    "OnnxPadDynamic": _pad,
    "OnnxPadStatic": _pad,
    "Linear": _no_bias,
    "OnnxMatMul": _matmul,
    "OnnxSum": _sum,
    "OnnxPReLU": _prelu,
    "PReLU": _prelu,
    "ReLU6": _clip,
    "OnnxClip": _clip,
    "Hardtanh": _clip,
    "OnnxHardSigmoid": _clip,
    "Hardswish": _hard_swish,
    "OnnxHardSwish": _hard_swish,
    "OnnxMinMax": _extreme,
}
"""By the name of a layer's class, as onnx2torch makes it."""

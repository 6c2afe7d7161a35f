"""Toy networks with weights by hand, written as ONNX node by node, and the answers worked out beside them.

Every builder writes `folder/NAME.onnx` and returns its path: `open_network(toys.two_neuron_net(tmp_path))`.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nbutils.core import Box, Normalization

HALF = Normalization(mean=(0.5,), std=(0.5,))
"""Pixels [0, 1] -> network input [-1, 1], exact in float32 for multiples of a power of two."""


def save_onnx(
    path: Path,
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    *,
    input_shape: tuple[int, ...],
    output_shape: tuple[int | str, ...],
    batch: int | str = "N",
    opset: int = 13,
) -> Path:
    """Write a network from tensor `x` [batch, *input_shape] to tensor `y` [batch, *output_shape]."""
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *input_shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, *output_shape])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    onnx.save(model, str(path))
    return path


def gemm(source: str, target: str, name: str) -> onnx.NodeProto:
    """target = source @ W.T + b with weights `name.w` [out, in] and `name.b` [out]."""
    return helper.make_node("Gemm", [source, f"{name}.w", f"{name}.b"], [target], transB=1)


def two_neuron_net(folder: Path, lead: float = 2.75) -> Path:
    """Input [N, 1, 1, 2] = (u, v), two hidden ReLUs, three classes; all bounds by hand.

    h1 = relu(u + v + 1), h2 = relu(u - v + 1); logits y0 = h1, y1 = h2 - lead, y2 = -h2 - 1.
    Label 0: margins m1 = h1 - h2 + lead and m2 = h1 + h2 + 1.

    On the box u, v in [-1, 1] (`two_neuron_box`), writing a = u + 1 in [0, 2]:
    pre-activations a + v and a - v both lie in [-1, 3], both unstable.
    ReLU relaxed: h <= 3/4 (z + 1); h >= z in CROWN (slope 1, since 3 > 1), h >= s z in alpha-CROWN.

    IBP:         m1 >= 0 - 3 + lead                                             = lead - 3
    CROWN:       m1 >= (a + v) - 3/4 (a - v + 1) + lead = a/4 + 7v/4 - 3/4 + lead = lead - 2.5 at a = 0, v = -1
    alpha-CROWN: m1 >= (s - 3/4) a + (s + 3/4) v - 3/4 + lead, best at s = 3/4    = lead - 2.25
    exact:       u in [0, 1], v = -1: h1 = a - 1, h2 = a + 1                      = lead - 2
    m2 >= 1 by all of them: h1, h2 >= 0; (a + v) + (a - v) = 2a >= 0; exact at a = 0, v = 0.
    Interval arithmetic on the logits one by one gives the same IBP numbers. CROWN-IBP = CROWN: one hidden layer.
    """
    weights = {
        "1.w": np.float32([[1, 1], [1, -1]]),
        "1.b": np.float32([1, 1]),
        "2.w": np.float32([[1, 0], [0, 1], [0, -1]]),
        "2.b": np.float32([0, -lead, -1]),
    }
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        gemm("flat", "z", "1"),
        helper.make_node("Relu", ["z"], ["h"]),
        gemm("h", "y", "2"),
    ]
    return save_onnx(folder / "two_neuron.onnx", nodes, weights, input_shape=(1, 1, 2), output_shape=(3,))


TWO_NEURON_MARGINS = np.float32([2.75, 3.0])
"""Margins of rivals 1 and 2 at the centre (0, 0) with lead 2.75: h1 = h2 = 1."""

TWO_NEURON_BOUNDS = {
    "ibp": np.float32([-0.25, 1.0]),
    "crown-ibp": np.float32([0.25, 1.0]),
    "crown": np.float32([0.25, 1.0]),
    "alpha-crown": np.float32([0.5, 1.0]),
    "exact": np.float32([0.75, 1.0]),
}
"""Lower bounds of those margins on `two_neuron_box`, lead 2.75. Another lead shifts the first column.

alpha-CROWN's is its optimum: gradient steps come up to it from CROWN's.
"""


def two_neuron_box(copies: int = 1) -> Box:
    """The box u, v in [-1, 1]: radius 0.5 in pixels around mid-grey."""
    return Box.around(np.full((copies, 1, 1, 2), 0.5, dtype=np.float32), HALF, 0.5)


LINEAR_WEIGHTS = np.float32([[2, 0, -1, 0], [0, 1, 0, 0], [1, 0, 0, -3]])
LINEAR_BIAS = np.float32([1, 0, 0.5])


def linear_net(folder: Path) -> Path:
    """Input [N, 1, 2, 2] = (p, q, r, s), logits (2p - r + 1, q, p - 3s + 1/2): every method is exact.

    Label 0: m1 = 2p - q - r + 1, m2 = p - r + 3s + 1/2. On a box of half-width w around 0:
    m1 >= 1 - 4w, m2 >= 1/2 - 5w.
    """
    weights = {"1.w": LINEAR_WEIGHTS, "1.b": LINEAR_BIAS}
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), gemm("flat", "y", "1")]
    return save_onnx(folder / "linear.onnx", nodes, weights, input_shape=(1, 2, 2), output_shape=(3,))


def random_mlp(folder: Path, seed: int, *, hidden: int = 12, classes: int = 4) -> Path:
    """Input [N, 1, 4, 4], two hidden ReLU layers of `hidden`, He-scaled normal weights from `seed`."""
    rng = np.random.default_rng(seed)
    sizes = [16, hidden, hidden, classes]
    nodes, weights, here = [helper.make_node("Flatten", ["x"], ["h0"])], {}, "h0"
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes), 1):
        last = layer == len(sizes) - 1
        weights[f"{layer}.w"] = (rng.standard_normal((fan_out, fan_in)) * np.sqrt(2 / fan_in)).astype(np.float32)
        weights[f"{layer}.b"] = (rng.standard_normal(fan_out) * 0.1).astype(np.float32)
        nodes.append(gemm(here, "y" if last else f"z{layer}", str(layer)))
        if not last:
            nodes.append(helper.make_node("Relu", [f"z{layer}"], [f"h{layer}"]))
        here = f"h{layer}"
    return save_onnx(folder / f"mlp_{seed}.onnx", nodes, weights, input_shape=(1, 4, 4), output_shape=(classes,))


def tiny_resnet(folder: Path, seed: int = 0) -> Path:
    """Input [N, 3, 8, 8], five classes: stem, one residual block with a convolved shortcut, two dense layers.

    The node pattern of the benchmark's networks (Conv without bias, BatchNormalization as nodes, no ReLU after
    Add), small weights from `seed`.
    """
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []

    def conv_bn(source: str, name: str, wide: int, narrow: int, size: int, stride: int) -> str:
        scale = 1 / np.sqrt(narrow * size * size)
        weights[f"{name}.w"] = (rng.standard_normal((wide, narrow, size, size)) * scale).astype(np.float32)
        for part, low, high in (("gamma", 0.8, 1.2), ("beta", -0.1, 0.1), ("mean", -0.1, 0.1), ("var", 0.5, 1.5)):
            weights[f"{name}.{part}"] = rng.uniform(low, high, wide).astype(np.float32)
        pads = [size // 2] * 4
        statistics = [f"{name}.{part}" for part in ("gamma", "beta", "mean", "var")]
        nodes.append(helper.make_node("Conv", [source, f"{name}.w"], [f"{name}.c"], strides=[stride] * 2, pads=pads))
        nodes.append(helper.make_node("BatchNormalization", [f"{name}.c", *statistics], [f"{name}.n"]))
        return f"{name}.n"

    def relu(source: str) -> str:
        nodes.append(helper.make_node("Relu", [source], [f"{source}.r"]))
        return f"{source}.r"

    def dense(source: str, target: str, name: str, fan_in: int, fan_out: int) -> None:
        weights[f"{name}.w"] = (rng.standard_normal((fan_out, fan_in)) / np.sqrt(fan_in)).astype(np.float32)
        weights[f"{name}.b"] = rng.uniform(-0.1, 0.1, fan_out).astype(np.float32)
        nodes.append(gemm(source, target, name))

    stem = relu(conv_bn("x", "stem", 4, 3, 3, 2))
    inner = conv_bn(relu(conv_bn(stem, "a", 6, 4, 3, 2)), "b", 6, 6, 3, 1)
    nodes.append(helper.make_node("Add", [inner, conv_bn(stem, "s", 6, 4, 1, 2)], ["sum"]))
    nodes.append(helper.make_node("Flatten", ["sum"], ["flat"]))
    dense("flat", "d", "1", 24, 8)
    dense(relu("d"), "y", "2", 8, 5)
    return save_onnx(folder / "tiny_resnet.onnx", nodes, weights, input_shape=(3, 8, 8), output_shape=(5,))

"""Max pooling whose windows overlap: the restated form is the same function, and intervals do not become wider."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from onnx2torch.node_converters.pad import OnnxPadStatic
from torch import nn
from toys import gemm, save_onnx

from nbutils import BoundsConfig, Box, margin_bounds, open_network
from nbutils.bounds.faithful import faithful
from nbutils.bounds.pool_forms import Largest
from nbutils.networks import Network

SETTINGS = [
    {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil}
    for kernel, stride, padding, dilation, ceil in product(
        (2, 3, (3, 2)), (1, 2, 3, (1, 2)), (0, 1), (1, 2), (False, True)
    )
]


def _called(network: torch.fx.GraphModule) -> list[nn.Module]:
    """Layers that are run: a layer that was restated stays in the network's list."""
    nodes = [network.get_submodule(str(node.target)) for node in network.graph.nodes if node.op == "call_module"]
    return [layer for module in nodes for layer in module.modules()]


@pytest.mark.parametrize("overlap", [True, False], ids=["backward", "intervals"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_restated_pooling_is_the_pooling(settings, overlap):
    network = torch.fx.symbolic_trace(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(**settings)))
    restated = faithful(network.eval(), (2, 9, 8), overlap=overlap)
    x = torch.randn(4, 2, 9, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(restated(x), network(x), rtol=1e-5, atol=1e-5)
    left = [layer for layer in _called(restated) if isinstance(layer, nn.MaxPool2d)]
    assert not any(layer.padding or layer.ceil_mode or layer.dilation != 1 for layer in left)
    if overlap:
        assert all(layer.kernel_size == layer.stride for layer in left)


@pytest.mark.parametrize("overlap", [True, False], ids=["backward", "intervals"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_behind_anything_but_a_relu_the_edge_stands_for_padding(settings, overlap):
    """Zeros might be the largest there. A window with gaps may miss the edge, so such a pooling stays."""
    network = torch.fx.symbolic_trace(nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(**settings))).eval()
    restated = faithful(network, (2, 9, 8), overlap=overlap)
    x = torch.randn(4, 2, 9, 8, generator=torch.Generator().manual_seed(0)) - 3
    torch.testing.assert_close(restated(x), network(x), rtol=1e-5, atol=1e-5)
    if settings["dilation"] == 1:
        left = [layer for layer in _called(restated) if isinstance(layer, nn.MaxPool2d)]
        assert not any(layer.padding or layer.ceil_mode for layer in left)


@pytest.mark.parametrize("relu", [True, False], ids=["relu", "conv"])
@pytest.mark.parametrize("pads", [[0, 0, 1, 1], [1, 0, 0, 0], [2, 1, 0, 2]], ids=str)
def test_unequal_padding(tmp_path, pads, relu):
    """onnx2torch makes a padding by minus infinity and a pooling of it; CROWN was refused."""
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"])]
    nodes += [helper.make_node("Relu", ["c"], ["r"])] if relu else []
    nodes += [
        helper.make_node("MaxPool", ["r" if relu else "c"], ["m"], kernel_shape=[3, 3], strides=[2, 2], pads=pads),
        helper.make_node("Flatten", ["m"], ["f"]),
        gemm("f", "y", "1"),
    ]
    rng = np.random.default_rng(0)
    pooled = 2 * math.prod((6 + pads[axis] + pads[axis + 2] - 3) // 2 + 1 for axis in (0, 1))
    shapes = {"w": (2, 1, 3, 3), "b": (2,), "1.w": (3, pooled), "1.b": (3,)}
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    weights["b"] -= 0.5
    network = open_network(save_onnx(tmp_path / "n.onnx", nodes, weights, input_shape=(1, 8, 8), output_shape=(3,)))
    x = rng.random((1, 1, 8, 8), np.float32)
    box = Box(x - np.float32(0.05), x + np.float32(0.05), x)
    points = torch.from_numpy(rng.uniform(box.lower, box.upper, (2000, 1, 8, 8)).astype(np.float32))
    logits = network.module(points)
    seen = float((logits[:, :1] - logits[:, 1:]).min())
    for method in ("ibp", "crown-ibp", "crown"):
        assert margin_bounds(network, box, np.array([0]), BoundsConfig(method=method)).smallest[0] <= seen + 1e-4
    pads_left = [layer for layer in _called(faithful(network.module, (1, 8, 8))) if isinstance(layer, OnnxPadStatic)]
    assert not pads_left


def overlapping(folder: Path) -> Network:
    """Input [N, 1, 1, 3] = (a, b, c); p = max(a, b), q = max(b, c) behind ReLUs; logits p - q + 5 and 0."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["m"], kernel_shape=[1, 2], strides=[1, 1]),
        helper.make_node("Flatten", ["m"], ["f"]),
        gemm("f", "y", "1"),
    ]
    weights = {"1.w": np.float32([[1, -1], [0, 0]]), "1.b": np.float32([5, 0])}
    return open_network(save_onnx(folder / "p.onnx", nodes, weights, input_shape=(1, 1, 3), output_shape=(2,)))


LOWER, UPPER = np.float32([[[[1, 0, 1]]]]), np.float32([[[[2, 4, 3]]]])


@pytest.mark.parametrize(("method", "by_hand"), [
    # p >= 1, q <= 4; through p = b + relu(a - b) and q = c + relu(b - c) it would be p >= 0, q <= 6
    ("ibp", 2.0),
    # relu(a - b) >= 0, relu(b - c) <= (b - c) / 2 + 3/2: b - c - (b - c) / 2 + 7/2 at b = 0, c = 3
    ("crown", 2.0),
])  # fmt: skip
def test_bounds_by_hand(tmp_path, method, by_hand):
    """The true minimum is 3, at a = 1, b = 0, c = 3."""
    box = Box(LOWER, UPPER, (LOWER + UPPER) / 2)
    bounds = margin_bounds(overlapping(tmp_path), box, np.array([0]), BoundsConfig(method=method))
    assert bounds.smallest[0] == pytest.approx(by_hand, abs=1e-4)


def test_alpha_finds_the_better_line(tmp_path):
    """relu(a - b) >= s (a - b): s a + (1/2 - s) b - c / 2 + 7/2, best at s = 1/2, where it is 5/2."""
    box, config = Box(LOWER, UPPER, (LOWER + UPPER) / 2), BoundsConfig(method="alpha-crown", alpha_steps=50)
    assert 2.3 < margin_bounds(overlapping(tmp_path), box, np.array([0]), config).smallest[0] <= 2.5 + 1e-4


def test_the_engine_takes_intervals_through_the_pooling_itself(tmp_path):
    module = overlapping(tmp_path).module
    assert any(isinstance(layer, Largest) for layer in faithful(module, (1, 1, 3)).modules())
    assert not any(isinstance(layer, Largest) for layer in faithful(module, (1, 1, 3), overlap=False).modules())

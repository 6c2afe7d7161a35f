"""The Lipschitz bound of lesson 1: worked out by hand, and never below what a network really does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from toys import gemm, random_mlp, save_onnx, tiny_resnet

from nbutils import open_network
from nbutils.core import NetworkError
from nbutils.teaching import TOY, SmallNetwork, lipschitz_bound


def spread(folder: Path, size: int, stride: int, dilation: int = 1) -> Path:
    """One convolution with a kernel of ones, one channel in and out, then the sum of what comes out."""
    span = dilation * (size - 1)
    pad = span // 2
    wide = (8 + 2 * pad - span - 1) // stride + 1
    nodes = [
        helper.make_node(
            "Conv", ["x", "k"], ["c"], strides=[stride] * 2, dilations=[dilation] * 2, pads=[pad] * 4
        ),
        helper.make_node("Flatten", ["c"], ["f"]),
        gemm("f", "y", "1"),
    ]  # fmt: skip
    weights = {
        "k": np.ones((1, 1, size, size), np.float32), "1.w": np.eye(2, wide * wide, dtype=np.float32),
        "1.b": np.zeros(2, np.float32),
    }  # fmt: skip
    return save_onnx(folder / "spread.onnx", nodes, weights, input_shape=(1, 8, 8), output_shape=(2,))


def added(folder: Path, kind: str = "Add") -> Path:
    """y = 3 f + 4 f, with the identity in front: the branches add up to 7 times the input."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]), gemm("f", "a", "1"), gemm("f", "b", "2"),
        helper.make_node(kind, ["a", "b"], ["y"]),
    ]  # fmt: skip
    weights = {f"{name}.w": times * np.eye(3, dtype=np.float32) for name, times in (("1", 3), ("2", 4))}
    weights |= {f"{name}.b": np.zeros(3, np.float32) for name in "12"}
    return save_onnx(folder / "added.onnx", nodes, weights, input_shape=(1, 1, 3), output_shape=(3,))


def test_two_layers_multiply(tmp_path):
    """Both layers of the toy have root of 2 as largest singular value."""
    assert lipschitz_bound(TOY.opened(tmp_path)) == pytest.approx(2)


def test_branches_add(tmp_path):
    assert lipschitz_bound(open_network(added(tmp_path))) == pytest.approx(7)


@pytest.mark.parametrize(("size", "stride", "dilation", "by_hand"), [
    (1, 1, 1, 1),  # one weight of 1
    (3, 1, 1, 9),  # |kernel| = 3, a pixel takes part in 9 windows
    (3, 2, 1, 6),  # 3 x root of 4
    (2, 2, 1, 2),  # windows do not overlap
    (3, 2, 2, 9),  # spread out, all windows may meet in one pixel
])  # fmt: skip
def test_a_convolution(tmp_path, size, stride, dilation, by_hand):
    assert lipschitz_bound(open_network(spread(tmp_path, size, stride, dilation))) == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("make", [
    tiny_resnet, lambda folder: random_mlp(folder, 1),
    lambda folder: Path(SmallNetwork.drawn(3).opened(folder).path),
], ids=["residual", "mlp", "small"])  # fmt: skip
def test_no_gradient_is_longer(make, tmp_path):
    """The slope of the logits in any direction, at random points, stays below the bound."""
    network = open_network(make(tmp_path))
    bound = lipschitz_bound(network)
    rng = torch.Generator().manual_seed(0)
    steepest = 0.0
    for _ in range(20):
        x = torch.randn((1, *network.input_shape), generator=rng)
        slopes = torch.autograd.functional.jacobian(network.module, x).flatten(0, 1).flatten(1)
        steepest = max(steepest, float(torch.linalg.matrix_norm(slopes, 2)))
    assert 0.01 * bound < steepest <= bound


def test_an_unknown_layer_is_named(tmp_path):
    with pytest.raises(NetworkError, match="Lipschitz bound: found 'OnnxBinaryMathOperation at"):
        lipschitz_bound(open_network(added(tmp_path, "Sub")))

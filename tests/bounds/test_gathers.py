"""Rows and columns in any order as convolutions: the same numbers as indexing and as torch's own padding."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from torch.nn import functional as F
from toys import gemm, save_onnx

from nbutils import BoundsConfig, Box, margin_bounds, open_network
from nbutils.bounds.gathers import edge, gather, reflected


@given(st.data(), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))
def test_equals_indexing(data, channels, height, width):
    rows = data.draw(st.lists(st.integers(0, height - 1), min_size=1, max_size=9))
    columns = data.draw(st.lists(st.integers(0, width - 1), min_size=1, max_size=9))
    x = torch.randn(2, channels, height, width)
    assert torch.equal(gather(channels, (height, width), rows, columns)(x), x[:, :, rows][:, :, :, columns])


@given(st.tuples(*[st.integers(0, 3)] * 4))
def test_equals_padding(sides):
    left, right, top, below = sides
    x = torch.randn(1, 2, 5, 6)
    for mode, index in (("replicate", edge), ("reflect", reflected)):
        padded = gather(2, (5, 6), index(5, top, below), index(6, left, right))(x)
        assert torch.equal(padded, F.pad(x, [left, right, top, below], mode=mode))


def test_bounds_through_a_mirrored_image(tmp_path):
    """[a, b, c] becomes [b, a, b, c]; logits relu(b - a) and 2: the box a, b, c in [0, 1] gives margin 1 and no less.

    The bounds library pads by zeros whatever the mode, so every method was refused.
    """
    pads = numpy_helper.from_array(np.int64([0, 0, 0, 1, 0, 0, 0, 0]), "pads")
    nodes = [
        helper.make_node("Constant", [], ["pads"], value=pads),
        helper.make_node("Pad", ["x", "pads"], ["p"], mode="reflect"),
        helper.make_node("Flatten", ["p"], ["f"]),
        gemm("f", "h", "1"),
        helper.make_node("Relu", ["h"], ["r"]),
        gemm("r", "y", "2"),
    ]
    weights = {"1.w": [[1, -1, 0, 0]], "1.b": [0], "2.w": [[1], [0]], "2.b": [0, 2]}
    weights = {name: np.float32(values) for name, values in weights.items()}
    network = open_network(save_onnx(tmp_path / "n.onnx", nodes, weights, input_shape=(1, 1, 3), output_shape=(2,)))
    box = Box(
        np.zeros((1, 1, 1, 3), np.float32), np.ones((1, 1, 1, 3), np.float32), np.full((1, 1, 1, 3), 0.5, np.float32)
    )
    for method in ("ibp", "crown-ibp", "crown", "alpha-crown"):
        found = margin_bounds(network, box, np.array([1]), BoundsConfig(method=method)).smallest[0]
        assert abs(found - 1) < 1e-4, method

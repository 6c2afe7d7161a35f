"""Weights that a file computes from its own constants: such files did not open, or no method could bound them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from toys import gemm, save_onnx

from nbutils import BoundsConfig, Box, margin_bounds, open_network
from nbutils.networks.constants import with_constants_stored

W1, W2 = np.float32([[1, -1, 0], [0, 1, 1]]), np.float32([[1, 1], [-1, 2]])
STORED = {"1.w": W1, "1.b": np.float32([0.5, 0]), "2.w": W2, "2.b": np.float32([3, 0])}
LAYERS = [
    helper.make_node("Flatten", ["x"], ["f"]),
    gemm("f", "h", "1"),
    helper.make_node("Relu", ["h"], ["r"]),
    gemm("r", "y", "2"),
]


def constant(name: str, value: np.ndarray) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


def written(form: str) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """Nodes in front of `LAYERS` and stored tensors that give the same weights."""
    if form == "constant nodes":
        return [constant(name, value) for name, value in STORED.items()], {}
    rest = {name: value for name, value in STORED.items() if name != "1.w"}
    if form == "shared":  # as torch exports a weight that two layers share
        return [helper.make_node("Identity", ["w"], ["1.w"])], {**rest, "w": W1}
    if form == "transposed":  # as converters from TensorFlow write kernels
        return [helper.make_node("Transpose", ["w"], ["1.w"])], {**rest, "w": np.ascontiguousarray(W1.T)}
    if form == "weight norm":  # direction times length
        long = np.linalg.norm(W1, axis=1, keepdims=True)
        return [helper.make_node("Mul", ["v", "g"], ["1.w"])], {**rest, "v": W1 / long, "g": long}
    if form == "quantized":
        made = helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["1.w"])
        return [made], {**rest, "q": np.int8(W1 * 4), "scale": np.float32(0.25), "zero": np.int8(0)}
    shape = [constant("rows", np.int64([2])), helper.make_node("Concat", ["rows", "columns"], ["s"], axis=0)]
    nodes = [*shape, helper.make_node("Reshape", ["w", "s"], ["1.w"])]
    return nodes, {**rest, "w": W1.reshape(-1), "columns": np.int64([3])}


FORMS = ("constant nodes", "shared", "transposed", "weight norm", "quantized", "chain of shapes")


def file(folder: Path, form: str) -> Path:
    nodes, stored = written(form)
    return save_onnx(folder / "n.onnx", [*nodes, *LAYERS], stored, input_shape=(1, 1, 3), output_shape=(2,))


@pytest.mark.parametrize("form", FORMS)
def test_opens_and_every_method_bounds_it(tmp_path, form):
    """In the box 0 to 1: h1 = a - b + 0.5 in [-0.5, 1.5], h2 = b + c in [0, 2]; the margin is 2 r1 - r2 + 3.

    Least at r1 = 0 and r2 = 2, which a = 0, b = c = 1 gives: 1. Intervals find it. CROWN takes r1 >= h1, so
    2 (-0.5) - 2 + 3 = 0; with the line r1 >= 0 it would be 1, which alpha-CROWN finds.
    """
    network = open_network(file(tmp_path, form))
    zeros, ones = np.zeros((1, 1, 1, 3), np.float32), np.ones((1, 1, 1, 3), np.float32)
    box = Box(zeros, ones, (zeros + ones) / 2)
    for method, by_hand in {"ibp": 1, "crown-ibp": 0, "crown": 0, "alpha-crown": 1}.items():
        found = margin_bounds(network, box, np.array([0]), BoundsConfig(method=method, alpha_steps=50)).smallest[0]
        assert found == pytest.approx(by_hand, abs=1e-3), method


@pytest.mark.parametrize("form", FORMS)
def test_same_logits_and_nothing_left_to_compute(tmp_path, form):
    model = onnx.load(file(tmp_path, form))
    made = with_constants_stored(model)
    onnx.checker.check_model(made)
    assert [node.op_type for node in made.graph.node] == ["Flatten", "Gemm", "Relu", "Gemm"]
    x = np.random.default_rng(0).random((1, 1, 1, 3), np.float32)
    before, after = (
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for m in (model, made)
    )
    np.testing.assert_array_equal(before, after)


def test_a_network_of_stored_weights_stays_the_same_object(tmp_path):
    model = onnx.load(save_onnx(tmp_path / "n.onnx", LAYERS, STORED, input_shape=(1, 1, 3), output_shape=(2,)))
    assert with_constants_stored(model) is model


def test_noise_is_not_a_constant(tmp_path):
    """A drawn value would be another one at every evaluation."""
    nodes = [helper.make_node("RandomNormal", [], ["1.w"], shape=[2, 3]), *LAYERS]
    rest = {name: value for name, value in STORED.items() if name != "1.w"}
    model = onnx.load(save_onnx(tmp_path / "n.onnx", nodes, rest, input_shape=(1, 1, 3), output_shape=(2,)))
    assert with_constants_stored(model) is model

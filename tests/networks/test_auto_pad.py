"""Padding by a rule and average pooling with unequal padding: the same numbers by onnxruntime in plainer operators."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from nbutils.networks.auto_pad import explicit_padding


def model(operator: str, size: tuple[int, int], **attributes: object) -> onnx.ModelProto:
    """One windowed operator on [1, 2, H, W]."""
    weights = {"Conv": (3, 2, 3, 3), "ConvTranspose": (2, 3, 3, 3)}
    drawn = np.random.default_rng(1).standard_normal(weights.get(operator, (1,))).astype(np.float32)
    inputs = ["x", "w"] if operator in weights else ["x"]
    kernel = {} if operator in weights else {"kernel_shape": [3, 3]}
    node = helper.make_node(operator, inputs, ["y"], **kernel, **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, *size])
    stored = [numpy_helper.from_array(drawn, "w")] if operator in weights else []
    graph = helper.make_graph([node], "one", [x], [onnx.ValueInfoProto(name="y")], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def run(made: onnx.ModelProto, size: tuple[int, int]) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((1, 2, *size)).astype(np.float32)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize(("operator", "rule", "size", "stride"), list(product(
    ("Conv", "ConvTranspose", "MaxPool", "AveragePool"), ("SAME_UPPER", "SAME_LOWER"), ((6, 7), (9, 8)), (1, 2, 3)
)))  # fmt: skip
def test_a_rule_in_numbers(operator, rule, size, stride):
    given = model(operator, size, auto_pad=rule, strides=[stride, stride])
    made = explicit_padding(given)
    assert not any(attribute.name == "auto_pad" for node in made.graph.node for attribute in node.attribute)
    np.testing.assert_allclose(run(made, size), run(given, size), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("counted", [0, 1])
@pytest.mark.parametrize(("pads", "size", "stride"), list(product(
    ([0, 0, 1, 1], [1, 0, 0, 0], [2, 1, 0, 2]), ((6, 7), (9, 8)), (1, 2, 3)
)))  # fmt: skip
def test_average_pooling_with_unequal_padding(pads, size, stride, counted):
    given = model("AveragePool", size, pads=pads, strides=[stride, stride], count_include_pad=counted)
    made = explicit_padding(given)
    pool = next(node for node in made.graph.node if node.op_type == "AveragePool")
    assert not any(attribute.name == "pads" for attribute in pool.attribute)
    np.testing.assert_allclose(run(made, size), run(given, size), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("more", [{}, {"pads": [1, 1, 1, 1]}, {"pads": [0, 0, 1, 1], "ceil_mode": 1}])
def test_what_stays(more):
    assert explicit_padding(model("AveragePool", (6, 7), **more)) is None


def test_an_image_of_unknown_size_stays():
    given = model("Conv", (6, 7), auto_pad="SAME_UPPER")
    given.graph.input[0].type.tensor_type.shape.dim[3].Clear()
    assert explicit_padding(given) is None

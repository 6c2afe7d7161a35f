"""Operators that onnx2torch does not know, in plainer ones: the same numbers by onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from nbutils.networks.plainer import plainer

FORMS = {
    "GlobalMaxPool": ((1, 3, 4, 6), {}),
    "SpaceToDepth": ((1, 3, 4, 6), {"blocksize": 2}),
    "DepthToSpace": ((1, 12, 2, 3), {"blocksize": 2}),
    "DepthToSpace in turn": ((1, 18, 2, 3), {"blocksize": 3, "mode": "DCR"}),
    "DepthToSpace by channel": ((1, 18, 2, 3), {"blocksize": 3, "mode": "CRD"}),
}


def model(name: str) -> onnx.ModelProto:
    shape, attributes = FORMS[name]
    node = helper.make_node(name.split()[0], ["x"], ["y"], **attributes)
    x, y = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape), onnx.ValueInfoProto(name="y")
    graph = helper.make_graph([node], "one", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def run(made: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )[0]


@pytest.mark.parametrize("name", FORMS)
def test_the_same_numbers(name):
    given = model(name)
    made = plainer(given)
    assert made is not None
    x = np.random.default_rng(0).standard_normal(FORMS[name][0]).astype(np.float32)
    np.testing.assert_array_equal(run(made, x), run(given, x))


def test_nothing_to_do():
    given = model("GlobalMaxPool")
    given.graph.node[0].op_type = "GlobalAveragePool"
    assert plainer(given) is None

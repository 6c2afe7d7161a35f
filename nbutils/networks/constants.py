"""What a file computes from its own constants, computed once and stored: weights behind Constant, Identity, Transpose.

Exporters write weights as Constant nodes, shared weights as Identity, weights of another layout as Transpose, padding
as a chain of shapes. The converter to torch reads stored tensors only.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import AttributeProto, NodeProto, helper, numpy_helper

_DRAWN = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
_WITH_GRAPH = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def with_constants_stored(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` without nodes that depend on no input; `model` itself where there is none.

    Also `model` itself where onnxruntime cannot evaluate them: whatever needs the stored tensors says so.
    """
    known = {tensor.name for tensor in model.graph.initializer} | {""}
    fixed: list[NodeProto] = []
    others: list[NodeProto] = []
    for node in model.graph.node:
        if known.issuperset(node.input) and _repeatable(node):
            fixed.append(node)
            known.update(node.output)
        else:
            others.append(node)
    if not fixed:
        return model
    read = {name for node in others for name in node.input} | {value.name for value in model.graph.output}
    for node in others:  # the body of an If or a Loop reads values of the graph around it by name
        read |= {name for graph in _bodies(node) for inner in graph.node for name in inner.input}
    wanted = [name for node in fixed for name in node.output if name and name in read]
    try:
        found = _evaluated(model, fixed, wanted)
    except Exception:  # onnxruntime raises classes of its own, all below Exception
        return model
    form = onnx.ModelProto()
    form.CopyFrom(model)
    del form.graph.node[:]
    form.graph.node.extend(others)
    form.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in found.items())
    return form


def _repeatable(node: NodeProto) -> bool:
    """Whether a node without inputs of the network gives the same whenever it is evaluated."""
    return node.op_type not in _DRAWN and not any(attribute.type in _WITH_GRAPH for attribute in node.attribute)


def _bodies(node: NodeProto) -> list[onnx.GraphProto]:
    graphs = [attribute.g for attribute in node.attribute if attribute.type == AttributeProto.GRAPH]
    return graphs + [graph for attribute in node.attribute for graph in attribute.graphs]


def _evaluated(model: onnx.ModelProto, nodes: list[NodeProto], wanted: list[str]) -> dict[str, np.ndarray]:
    """The values named in `wanted`, by onnxruntime."""
    if not wanted:
        return {}
    inputs = {name for node in nodes for name in node.input}
    stored = [tensor for tensor in model.graph.initializer if tensor.name in inputs]
    outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
    graph = helper.make_graph(nodes, "constants", [], outputs, stored)
    part = helper.make_model(graph, opset_imports=model.opset_import, ir_version=max(model.ir_version, 4))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(wanted, session.run(wanted, {}), strict=True))

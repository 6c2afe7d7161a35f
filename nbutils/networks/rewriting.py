"""The nodes of a file, one at a time, replaced by others that mean the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from .onnx_files import stored_tensors


@dataclass(frozen=True)
class Surroundings:
    """What a rule may know of the graph around a node."""

    shapes: dict[str, list[int]]
    """Of inputs and inner values by name, as far as shapes can be inferred; 0 stands for a size that is not known."""
    stored: dict[str, TensorProto]
    """Stored tensors by name; a new one is added by `store`."""
    added: dict[str, np.ndarray]

    def store(self, name: str, value: np.ndarray) -> str:
        """Add a tensor under a name that no other value has; returns the name."""
        self.added[name] = value
        return name

    def size(self, name: str) -> list[int]:
        """Rows and columns of an image [N, C, H, W], the length of a sequence [N, C, L]; empty where not known."""
        size = self.shapes.get(name, [])[2:]
        return size if all(size) else []


Rule = Callable[[NodeProto, dict[str, Any], Surroundings], list[NodeProto] | None]
"""Nodes in the place of this one, which has these attributes; None leaves it as it is."""


def rewritten(model: onnx.ModelProto, rule: Rule) -> onnx.ModelProto | None:
    """A copy of `model` in which `rule` has replaced nodes; None where it leaves all as they are.

    Nothing is checked: whoever uses the copy compares it with onnxruntime on the file itself.
    """
    form = onnx.shape_inference.infer_shapes(model)
    values = (*form.graph.value_info, *form.graph.input)
    around = Surroundings(
        shapes={value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values},
        stored=dict(stored_tensors(form)),
        added={},
    )
    nodes: list[NodeProto] = []
    changed = False
    for node in form.graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        others = rule(node, attributes, around)
        nodes += [node] if others is None else others
        changed |= others is not None
    if not changed:
        return None
    del form.graph.node[:]
    form.graph.node.extend(nodes)
    form.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in around.added.items())
    return form


def like(node: NodeProto, inputs: list[str], attributes: dict[str, Any]) -> NodeProto:
    """`node` with other inputs and attributes."""
    return helper.make_node(
        node.op_type, inputs, list(node.output), name=node.name, domain=node.domain or None, **attributes
    )

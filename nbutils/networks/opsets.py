"""The same network in plainer operators or in another ONNX opset, for a converter that does not know the file's own.

Nothing here is trusted: whoever uses a form compares it with onnxruntime on the file itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from .auto_pad import explicit_padding
from .plainer import plainer
from .rewriting import Surroundings, like, rewritten

TARGETS: tuple[int, ...] = (13, 17, 15, 11)
"""Opsets tried, in this order: most converters know 13 best."""
NEWEST = 17
"""From here on new versions of most operators only widened their types; a newer file is also read as one of these."""


def opset_of(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators in the file; 1 where it imports none."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def restated(model: onnx.ModelProto) -> Iterator[onnx.ModelProto]:
    """Forms of `model`: with its padding in numbers, with plainer operators, then in other opsets.

    Other opsets come from ONNX's version converter, and, for newer files, from changing their number.
    """
    for change in (explicit_padding, plainer):
        form = change(model)
        if form is not None:
            yield form
            model = form
    here = opset_of(model)
    for target in TARGETS:
        if target != here:
            try:
                form = onnx.version_converter.convert_version(_complete(model), target)
                onnx.checker.check_model(form)
            except Exception:  # it raises RuntimeError, ConvertError or ValueError for an operator without an adapter
                continue
            yield form
    if here > NEWEST:
        form = _older_forms(model)
        try:
            onnx.checker.check_model(form)
        except onnx.checker.ValidationError:
            return
        yield form


def _complete(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose initializers are inputs too, as files of IR version 3 and before have them: old opsets need it."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    if opset_of(model) < 9:
        known = {value.name for value in copied.graph.input}
        for tensor in copied.graph.initializer:
            if tensor.name not in known:
                value = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
                copied.graph.input.append(value)
    return copied


def _older_forms(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy under the number `NEWEST`, operators whose inputs changed since then written in their older form."""
    form = onnx.ModelProto()
    form.CopyFrom(rewritten(model, _older) or model)
    for entry in form.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = NEWEST
    return form


def _older(node: NodeProto, attributes: dict[str, Any], around: Surroundings) -> list[NodeProto] | None:
    inputs, stored = list(node.input), around.stored
    if node.op_type == "Split" and "num_outputs" in attributes:
        axis, parts = attributes.get("axis", 0), attributes.pop("num_outputs")
        shape = around.shapes.get(inputs[0], [])
        size = shape[axis] if -len(shape) <= axis < len(shape) else 0
        if size:
            step = -(-size // parts)
            sizes = np.array([min(step, size - step * part) for part in range(parts)], dtype=np.int64)
            inputs = [inputs[0], around.store(f"{node.output[0]}_sizes", sizes)]
    elif node.op_type.startswith("Reduce") and node.op_type != "ReduceSum" and len(inputs) == 2 and inputs[1] in stored:
        attributes["axes"] = numpy_helper.to_array(stored[inputs[1]]).tolist()
        attributes.pop("noop_with_empty_axes", None)
        inputs = inputs[:1]
    elif node.op_type == "AveragePool" and set(attributes.get("dilations", [1])) == {1}:
        attributes.pop("dilations", None)
    elif node.op_type == "Pad" and len(inputs) == 4 and {inputs[1], inputs[3]} <= stored.keys():
        if shape := around.shapes.get(inputs[0], []):
            pads = np.zeros((2, len(shape)), dtype=np.int64)
            by, axes = (numpy_helper.to_array(stored[inputs[place]]) for place in (1, 3))
            pads[:, axes] = by.reshape(2, -1)
            inputs = [inputs[0], around.store(f"{node.output[0]}_pads", pads.reshape(-1)), inputs[2]]
    else:
        return None
    return [like(node, inputs, attributes)]

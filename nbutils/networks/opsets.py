"""The same network in plainer operators or in another ONNX opset, for a converter that does not know the file's own.

Nothing here is trusted: whoever uses a form compares it with onnxruntime on the file itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .auto_pad import explicit_padding
from .onnx_files import stored_tensors
from .plainer import plainer

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
    form.CopyFrom(onnx.shape_inference.infer_shapes(model))
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*form.graph.value_info, *form.graph.input)}
    constants = {name: numpy_helper.to_array(tensor) for name, tensor in stored_tensors(form)}
    for entry in form.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = NEWEST
    for number, node in enumerate(form.graph.node):
        inputs, attributes = list(node.input), {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Split" and "num_outputs" in attributes:
            axis, parts = attributes.get("axis", 0), attributes.pop("num_outputs")
            dims = shapes.get(inputs[0])
            size = dims[axis].dim_value if dims is not None and len(dims) > abs(axis) else 0
            if size:
                step = -(-size // parts)
                sizes = np.array([min(step, size - step * part) for part in range(parts)], dtype=np.int64)
                form.graph.initializer.append(numpy_helper.from_array(sizes, f"restated_{number}"))
                inputs = [inputs[0], f"restated_{number}"]
        elif node.op_type.startswith("Reduce") and node.op_type != "ReduceSum" and len(inputs) == 2:
            if inputs[1] in constants:
                attributes["axes"] = constants[inputs[1]].tolist()
                attributes.pop("noop_with_empty_axes", None)
                inputs = inputs[:1]
        elif node.op_type == "AveragePool" and set(attributes.get("dilations", [1])) == {1}:
            attributes.pop("dilations", None)
        elif node.op_type == "Pad" and len(inputs) == 4 and {inputs[1], inputs[3]} <= constants.keys():
            dims = shapes.get(inputs[0])
            if dims is not None:
                pads = np.zeros((2, len(dims)), dtype=np.int64)
                pads[:, constants[inputs[3]]] = constants[inputs[1]].reshape(2, -1)
                form.graph.initializer.append(numpy_helper.from_array(pads.reshape(-1), f"restated_{number}"))
                inputs = [inputs[0], f"restated_{number}", inputs[2]]
        del node.input[:], node.attribute[:]
        node.input.extend(inputs)
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    return form

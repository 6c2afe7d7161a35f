"""A network that gives only some of another's logits, or the largest of a group: what a property asks about.

The layers are added to the ONNX file and the result is opened as any other, parity check included, so attacks, bounds
and the judge all see one network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..core import NetworkError, require, stream
from .making_twins import PARITY
from .onnx_files import parse, ports, read_bytes
from .opening import Network, open_data

Layer = tuple[str, list[str], dict[str, Any]]
"""Operator, inputs, attributes."""


def columns(network: Network, classes: Sequence[int]) -> Network:
    """`network` with only the logits of `classes`, in that order: float32 [N, len(classes)], the same values.

    A last Gemm loses the other rows of its weights, so that intervals are as tight as those of the whole network; other
    endings get a matrix of zeros and ones behind them.
    """
    _check(network, classes)
    model = parse(read_bytes(network.path), network.path)
    if (shortened := _shorter_gemm(model, list(classes))) is not None:
        few = _opened(shortened, network)
        _same_logits(network, few, list(classes))
        return few
    chosen = np.zeros((network.classes, len(classes)), dtype=np.float32)
    chosen[list(classes), range(len(classes))] = 1
    weights = numpy_helper.from_array(chosen, "chosen_classes")
    return _with(network, [("MatMul", ["logits", "chosen_classes"], {})], [weights])


def best_against(network: Network, group: Sequence[int], rival: int) -> Network:
    """`network` with two outputs: the largest logit of `group`, and that of `rival`."""
    _check(network, [*group, rival])
    indices = [
        numpy_helper.from_array(np.array(which, dtype=np.int64), name)
        for which, name in ((group, "group"), ([rival], "one"))
    ]
    nodes: list[Layer] = [
        ("Gather", ["logits", "group"], {"axis": 1}),
        ("ReduceMax", ["layer_0"], {"axes": [1], "keepdims": 1}),
        ("Gather", ["logits", "one"], {"axis": 1}),
        ("Concat", ["layer_1", "layer_2"], {"axis": 1}),
    ]
    return _with(network, nodes, indices)


def _same_logits(network: Network, few: Network, classes: list[int]) -> None:
    """Hold `few`, whose weights were changed, against the whole network as onnxruntime evaluates both."""
    probes = stream("columns").standard_normal((4, *network.input_shape)).astype(np.float32)
    wanted, found = network.judge(probes), few.judge(probes)
    away = float(np.abs(wanted[:, classes] - found).max())
    limit = PARITY * max(1.0, float(np.abs(wanted).max()))
    where, allowed = f"{network.path}: logits of {classes}", f"within {limit:.1e} of the whole network's"
    require(
        away <= limit, where, f"{away:.1e} away", allowed, "Its last Gemm was shortened wrongly", error=NetworkError
    )


def _check(network: Network, classes: Sequence[int]) -> None:
    ok = len(set(classes)) == len(classes) >= 2 and all(0 <= k < network.classes for k in classes)
    require(
        ok, "classes", list(classes), f"two or more different classes of {network.name}, 0 to {network.classes - 1}"
    )


def _with(network: Network, layers: list[Layer], stored: list[onnx.TensorProto]) -> Network:
    """`network` with `layers` (operator, inputs, attributes) after its output, which they call `logits`."""
    model = parse(read_bytes(network.path), network.path)
    graph, prefix = model.graph, "asked/"
    end = ports(model, network.path).output
    names = {"logits": end} | {tensor.name: prefix + tensor.name for tensor in stored}
    for tensor in stored:
        tensor.name = prefix + tensor.name
        graph.initializer.append(tensor)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    for number, (operator, inputs, attributes) in enumerate(layers):
        inputs = [names.get(name, prefix + name) for name in inputs]
        if operator == "ReduceMax" and opset >= 18:  # axes became an input
            axes = numpy_helper.from_array(np.array(attributes.pop("axes"), dtype=np.int64), prefix + "axes")
            graph.initializer.append(axes)
            inputs.append(axes.name)
        graph.node.append(helper.make_node(operator, inputs, [f"{prefix}layer_{number}"], **attributes))
    batch = graph.output[0].type.tensor_type.shape.dim[0]
    found = helper.make_tensor_value_info(f"{prefix}layer_{len(layers) - 1}", onnx.TensorProto.FLOAT, ["N", "classes"])
    found.type.tensor_type.shape.dim[0].CopyFrom(batch)
    del graph.output[:]
    graph.output.append(found)
    return _opened(model, network)


def _opened(model: onnx.ModelProto, network: Network) -> Network:
    return open_data(model.SerializeToString(), network.path, device=str(network.device), card=False)


def _shorter_gemm(model: onnx.ModelProto, classes: list[int]) -> onnx.ModelProto | None:
    """`model`, changed in place, if its logits come straight from a Gemm of stored weights; else None."""
    graph = model.graph
    (last,) = [node for node in graph.node if graph.output[0].name in node.output]
    stored = {tensor.name: tensor for tensor in graph.initializer}
    if last.op_type != "Gemm" or not all(name in stored for name in last.input[1:]):
        return None
    transposed = any(attribute.name == "transB" and attribute.i for attribute in last.attribute)
    for place, name in enumerate(last.input[1:], 1):
        values = numpy_helper.to_array(stored[name])
        if place == 1:
            values = values[classes] if transposed else values[:, classes]
        elif values.shape[-1:] not in ((), (1,)):  # a bias may be one number for all
            values = values[..., classes]
        kept = numpy_helper.from_array(np.ascontiguousarray(values), f"asked/{place}")
        graph.initializer.append(kept)
        last.input[place] = kept.name
    dim = graph.output[0].type.tensor_type.shape.dim[1]
    dim.Clear()
    dim.dim_value = len(classes)
    return model

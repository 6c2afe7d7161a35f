"""Read an ONNX file as data from a stranger: bounded, checked, one clear error for everything that is wrong with it.

Private to `networks` and `cards`. Nothing here runs the network.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from ..core import NetworkError, require

MAX_BYTES = 2**31 - 1
"""Largest ONNX file, unpacked: protobuf's own limit."""

LEAST_SIDE = 8
"""A vector of fewer values than a square image of this side is no image."""

_PROBABILITIES = ("Softmax", "LogSoftmax", "Sigmoid")
_SAME_VALUES = ("Identity", "Flatten", "Reshape")


@dataclass(frozen=True)
class Ports:
    """Names and shapes at the two ends of a classifier."""

    input: str
    output: str
    input_shape: tuple[int, int, int]  # (C, H, W)
    fixed_batch: bool  # the file's batch dimension is the number 1, not a symbol
    flat: tuple[int, ...] = ()  # input dimensions after the batch where the file takes vectors, as (784,) or (784, 1)

    @property
    def declared(self) -> tuple[int, ...]:
        """Input dimensions after the batch, as the file has them."""
        return self.flat or self.input_shape


def read_bytes(path: Path) -> bytes:
    """The ONNX file's bytes, unpacked where `path` ends in .gz; at most `MAX_BYTES`."""
    hint = "give the path of a .onnx or .onnx.gz file"
    require(os.path.isfile(path), "network file", str(path), "a file that exists", hint, error=NetworkError)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise NetworkError(f"{path}: not a complete gzip file ({error}). Fetch it again, or unpack it first.") from None
    except OSError as error:
        raise NetworkError(f"{path}: cannot be read ({error.strerror}). Check the file's permissions.") from None
    require(
        len(data) <= MAX_BYTES,
        str(path),
        f"more than {MAX_BYTES:,} bytes unpacked",
        f"at most {MAX_BYTES:,} bytes",
        error=NetworkError,
    )
    return data


def parse(data: bytes, path: Path) -> onnx.ModelProto:
    """The model in `data`, valid by ONNX's own checker, self-contained, every weight finite."""
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        raise NetworkError(
            f"{path}: found {len(data):,} bytes that are no ONNX model, or only part of one; "
            "allowed: a complete ONNX file. Compare its size with the original and fetch it again."
        ) from None
    for name, tensor in stored_tensors(model):
        require(
            tensor.data_location != onnx.TensorProto.EXTERNAL,
            f"{path}: tensor {name}",
            "data outside the file, at " + ", ".join(e.value for e in tensor.external_data if e.key == "location"),
            "weights inside the ONNX file, so that its hash covers them",
            "merge them: onnx.save_model(onnx.load(path), new_path)",
            error=NetworkError,
        )
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise NetworkError(
            f"{path}: not a valid ONNX model, or only part of one ({reason}). Fetch it or export it again."
        ) from None
    for name, tensor in stored_tensors(model):
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise NetworkError(
                f"{path}: tensor {name} holds {int((~np.isfinite(values)).sum())} NaN or infinite values of "
                f"{values.size}; allowed: finite weights. Was training stable? Export an earlier checkpoint."
            )
    return model


def stored_tensors(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Every tensor stored in the file: initializers and the values of Constant nodes."""
    for tensor in model.graph.initializer:
        yield tensor.name, tensor
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.type == onnx.AttributeProto.TENSOR:
                yield node.output[0], attribute.t


def ports(model: onnx.ModelProto, path: Path) -> Ports:
    """The one input [N, C, H, W] and the one output of logits; refuses everything else."""
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    outputs = list(model.graph.output)
    for kind, values in (("inputs", inputs), ("outputs", outputs)):
        names = [value.name for value in values]
        require(len(values) == 1, f"{path}: {kind}", names, "exactly one: an image classifier", error=NetworkError)
    (source,), (sink,) = inputs, outputs
    for value in (source, sink):
        kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        require(kind == "FLOAT", f"{path}: type of {value.name}", kind, "FLOAT (float32)", error=NetworkError)
    shape = _dims(source)
    numbers = tuple(size for size in shape[1:] if isinstance(size, int) and size > 0)
    whole = len(numbers) == len(shape) - 1
    flat = numbers if whole and len(shape) in (2, 3) and numbers[1:] in ((), (1,)) else ()
    image = square_image(flat[0]) if flat else numbers if whole and len(shape) == 4 else None
    require(
        image is not None,
        f"{path}: shape of input {source.name}",
        shape,
        "[N, C, H, W] with numbers for C, H and W, or a vector [N, n] of a square image, n = side^2 or 3 side^2",
        "another vector needs a Reshape at the network's start",
        error=NetworkError,
    )
    require(
        not isinstance(shape[0], int) or shape[0] == 1,
        f"{path}: batch size of input {source.name}",
        shape[0],
        "a symbol as N, or 1",
        "export it with a dynamic batch dimension",
        error=NetworkError,
    )
    declared = _dims(sink)
    require(
        len(declared) == 2,
        f"{path}: shape of output {sink.name}",
        declared,
        "[N, K], one logit a class",
        "a classifier ends in a Gemm, not in a feature map",
        error=NetworkError,
    )
    _refuse_probabilities(model, path)
    channels, height, width = image or (0, 0, 0)
    return Ports(source.name, sink.name, (channels, height, width), shape[0] == 1, flat)


def square_image(values: int) -> tuple[int, int, int] | None:
    """(C, H, W) of a square image of so many values, three channels before one; None below `LEAST_SIDE`."""
    for channels in (3, 1):
        side = math.isqrt(values // channels)
        if channels * side * side == values and side >= LEAST_SIDE:
            return channels, side, side
    return None


def taking_images(model: onnx.ModelProto, ends: Ports) -> onnx.ModelProto:
    """`model`, or where it takes vectors a copy that takes the image [N, C, H, W] and flattens it first."""
    if not ends.flat:
        return model
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    graph = copied.graph
    source = next(value for value in graph.input if value.name == ends.input)
    image = onnx.helper.make_tensor_value_info(f"{ends.input}/image", onnx.TensorProto.FLOAT, ["N", *ends.input_shape])
    image.type.tensor_type.shape.dim[0].CopyFrom(source.type.tensor_type.shape.dim[0])
    graph.input.remove(source)
    graph.input.insert(0, image)
    batch = 1 if ends.fixed_batch else -1
    graph.initializer.append(
        onnx.numpy_helper.from_array(np.array([batch, *ends.flat], dtype=np.int64), f"{ends.input}/flat")
    )
    graph.node.insert(0, onnx.helper.make_node("Reshape", [image.name, f"{ends.input}/flat"], [ends.input]))
    return copied


def free_batch(model: onnx.ModelProto, ends: Ports) -> onnx.ModelProto:
    """A copy whose batch dimension is free: also where Reshape constants say 1, for any batch size they say -1.

    Whether that was right is for the caller to verify: a batch has to give what its rows give alone.
    """
    free = onnx.ModelProto()
    free.CopyFrom(model)
    graph = free.graph
    del graph.value_info[:]
    for value in graph.input:
        if value.name == ends.input:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    known = {value.name: _dims(value) for value in onnx.shape_inference.infer_shapes(free).graph.value_info}
    constants = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in stored_tensors(free)}
    for number, node in enumerate(graph.node):
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        target, rest = constants[node.input[1]], known.get(node.output[0], [None])[1:]
        if target[0] == 1 and all(isinstance(size, int) for size in rest):
            name = f"free_batch_{number}"
            graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, *rest], dtype=np.int64), name))
            node.input[1] = name
    for value in (*graph.input, *graph.output):
        if value.name in (ends.input, ends.output):
            value.type.tensor_type.shape.dim[0].dim_param = "N"
    return free


def _dims(value: onnx.ValueInfoProto) -> list[int | str]:
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in dims]


def _refuse_probabilities(model: onnx.ModelProto, path: Path) -> None:
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.get(model.graph.output[0].name)
    while node is not None and node.op_type in _SAME_VALUES:
        node = makers.get(node.input[0])
    if node is not None and (scores := _softmax_by_hand(node, makers)) is not None:
        source = model.graph.input[0].name
        raise NetworkError(
            f"{path}: found a softmax written out as Exp, sum and Div at the end; allowed: logits, because margins are "
            f"differences of logits. Drop it: onnx.utils.extract_model(path, new_path, [{source!r}], [{scores!r}])."
        )
    if node is not None and node.op_type in _PROBABILITIES:
        source, logits = model.graph.input[0].name, node.input[0]
        raise NetworkError(
            f"{path}: found {node.op_type} as last layer; allowed: logits, because margins are differences of logits. "
            f"Drop it: onnx.utils.extract_model(path, new_path, [{source!r}], [{logits!r}])."
        )


def _softmax_by_hand(node: onnx.NodeProto, makers: dict[str, onnx.NodeProto]) -> str | None:
    """Name of the logits where `node` divides Exp of them by its sum over classes, or takes the Log of that."""
    if node.op_type == "Log":
        before = makers.get(node.input[0])
        return None if before is None else _softmax_by_hand(before, makers)
    if node.op_type not in ("Div", "Mul"):
        return None
    exp, total = (makers.get(name) for name in node.input)
    if node.op_type == "Mul":  # Exp times the reciprocal of its sum, in either order
        exp, total = (exp, total) if exp is not None and exp.op_type == "Exp" else (total, exp)
        total = makers.get(total.input[0]) if total is not None and total.op_type == "Reciprocal" else None
    if exp is None or total is None or exp.op_type != "Exp" or total.op_type != "ReduceSum":
        return None
    if total.input[0] != exp.output[0]:
        return None
    inner = makers.get(exp.input[0])
    if inner is not None and inner.op_type == "Sub":  # the largest logit taken off first
        largest = makers.get(inner.input[1])
        if largest is not None and largest.op_type == "ReduceMax" and largest.input[0] == inner.input[0]:
            return inner.input[0]
    return exp.input[0]

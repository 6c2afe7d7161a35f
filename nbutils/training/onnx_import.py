"""The weights of an ONNX file as a network of `networks.architectures`: the way back from `onnx_export`.

Names in the file do not matter: the graph is followed from its input along our architecture, every operator and every
shape is held against it, and the result is compared with onnxruntime.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from ..core import NetworkError, require
from ..networks import Block, ResNet, build, conv_norm, parse, ports, read_bytes, stored_tensors
from .interval import statistics
from .onnx_export import check_parity, own_initializers

ENDINGS = (".onnx", ".onnx.gz")
HINT = "Name the architecture it was exported from, or start from a checkpoint"


def is_onnx(path: Path) -> bool:
    """Whether `path` is named like an ONNX file."""
    return path.name.endswith(ENDINGS)


def import_onnx(path: Path, architecture: str) -> ResNet:
    """The network of `architecture` with the weights of the ONNX file `path`, in evaluation mode.

    Batch norms have to be nodes of the file, as `export_onnx` and the published files have them.

    Raises:
        NetworkError: when the file is missing, damaged or another network, or when onnxruntime disagrees.
        ParameterError: for an unknown architecture.
    """
    network = build(architecture)
    data = read_bytes(path)
    model = parse(data, path)
    ends = ports(model, path)
    require(
        ends.input_shape == network.architecture.input_shape,
        f"{path}: input",
        ends.input_shape,
        f"{network.architecture.input_shape}, as {architecture} has",
        HINT,
        error=NetworkError,
    )
    graph = _Graph(own_initializers(model), path, architecture)
    with torch.no_grad():
        end = graph.fill(network, ends.input)
    require(
        end == ends.output,
        f"{path}: output",
        ends.output,
        f"{end}, the last Gemm of {architecture}",
        HINT,
        error=NetworkError,
    )
    network.eval()
    check_parity(network, data, str(path), "The weights fit, so a stride, padding or epsilon is not ours")
    return network


def file_hash(path: Path) -> str:
    """SHA-256 of the ONNX file `path`, unpacked: the number on its card."""
    return hashlib.sha256(read_bytes(path)).hexdigest()


class _Graph:
    """The nodes of a file by the values they read."""

    def __init__(self, model: onnx.ModelProto, path: Path, architecture: str) -> None:
        self.path, self.architecture = path, architecture
        self.stored = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in stored_tensors(model)}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for value in node.input:
                self.readers.setdefault(value, []).append(node)

    def fill(self, network: ResNet, value: str) -> str:
        """Copy the weights met from `value` on into `network`; the name of the value it ends with."""
        value = self._conv_norm(*conv_norm(network.stem), value, "stem")
        value = self._step(value, "Relu", "stem")
        for number, block in enumerate(network.residual):
            value = self._block(block, value, f"blocks.{number}")
        hidden, last = network.linear
        value = self._step(value, "Flatten", "head")
        value = self._step(value, "Gemm", "head.1", (hidden.weight, hidden.bias))
        value = self._step(value, "Relu", "head")
        return self._step(value, "Gemm", "head.3", (last.weight, last.bias))

    def _block(self, block: Block, value: str, place: str) -> str:
        inner = self._conv_norm(block.conv1, block.bn1, value, f"{place}, first convolution")
        inner = self._step(inner, "Relu", place)
        inner = self._conv_norm(block.conv2, block.bn2, inner, f"{place}, second convolution")
        outer = value
        if isinstance(block.shortcut, nn.Sequential):
            outer = self._conv_norm(*conv_norm(block.shortcut), value, f"{place}, shortcut")
        node = self._node(inner, "Add", place, ())
        require(
            set(node.input) == {inner, outer},
            f"{self.path}: {place}: sum",
            list(node.input),
            f"{inner} and {outer}",
            HINT,
            error=NetworkError,
        )
        return node.output[0]

    def _conv_norm(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, value: str, place: str) -> str:
        value = self._step(value, "Conv", place, (conv.weight,))
        return self._step(value, "BatchNormalization", place, (norm.weight, norm.bias, *statistics(norm)))

    def _step(self, value: str, op: str, place: str, weights: tuple[Tensor, ...] = ()) -> str:
        """Pass the one node `op` with weights of these shapes that reads `value`, and copy its weights."""
        node = self._node(value, op, place, tuple(tuple(weight.shape) for weight in weights))
        for weight, found in zip(weights, self._weights(node), strict=False):
            weight.copy_(torch.from_numpy(np.array(found)))
        return node.output[0]

    def _node(self, value: str, op: str, place: str, shapes: tuple[tuple[int, ...], ...]) -> onnx.NodeProto:
        readers = self.readers.get(value, [])
        fitting = [
            node
            for node in readers
            if node.op_type == op and (not shapes or tuple(w.shape for w in self._weights(node)) == shapes)
        ]
        require(
            len(fitting) == 1,
            f"{self.path}: {place}",
            " and ".join(self._text(node.op_type, [w.shape for w in self._weights(node)]) for node in readers)
            or "nothing",
            f"{self._text(op, shapes)}, as {self.architecture} has",
            HINT,
            error=NetworkError,
        )
        return fitting[0]

    def _weights(self, node: onnx.NodeProto) -> list[np.ndarray]:
        """Stored float32 tensors a node reads; a Gemm's matrix as [out, in], whichever way it is stored."""
        found = [self.stored[name] for name in node.input if name in self.stored]
        turned = any(attribute.name == "transB" and attribute.i == 1 for attribute in node.attribute)
        if node.op_type == "Gemm" and found and not turned:
            found[0] = found[0].T
        return found

    @staticmethod
    def _text(op: str, shapes: object) -> str:
        sizes = [" x ".join(map(str, shape)) for shape in shapes]  # type: ignore[attr-defined]
        return f"{op} of {', '.join(sizes)}" if sizes else op

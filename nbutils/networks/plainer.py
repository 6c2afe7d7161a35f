"""Operators that onnx2torch does not know, written in operators that it does.

    GlobalMaxPool    ReduceMax over rows and columns
    SpaceToDepth     a convolution whose windows do not overlap and whose weights are 0 and 1
    DepthToSpace     the transposed convolution of the same kind

Source: the definitions of the operators in ONNX. Whoever uses the form compares it with onnxruntime on the file itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper

from .rewriting import Surroundings, rewritten


def plainer(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """A copy of `model` without these operators; None where it has none of which the size is known."""
    return rewritten(model, _in_others)


def _in_others(node: NodeProto, attributes: dict[str, Any], around: Surroundings) -> list[NodeProto] | None:
    shape = around.shapes.get(node.input[0], []) if node.input else []
    if node.op_type == "GlobalMaxPool" and len(shape) == 4:
        return [helper.make_node("ReduceMax", node.input[:1], node.output, axes=[2, 3], keepdims=1)]
    if node.op_type in ("SpaceToDepth", "DepthToSpace") and len(shape) == 4 and shape[1]:
        block = attributes["blocksize"]
        few = shape[1] if node.op_type == "SpaceToDepth" else shape[1] // block**2
        in_turn = attributes.get("mode", b"DCR") == b"DCR"
        weights = around.store(f"{node.output[0]}_blocks", _blocks(few, block, in_turn))
        operator = "Conv" if node.op_type == "SpaceToDepth" else "ConvTranspose"
        inputs, square = [node.input[0], weights], [block] * 2
        return [helper.make_node(operator, inputs, node.output, kernel_shape=square, strides=square)]
    return None


def _blocks(channels: int, block: int, in_turn: bool) -> np.ndarray:
    """Weights [C b b, C, b, b]: 1 where the deep channel of a row of weights is this channel at this place of a block.

    `in_turn` numbers the deep channels by place and then by channel (ONNX's DCR, and SpaceToDepth), otherwise by
    channel and then by place (CRD).
    """
    weights = np.zeros((channels * block**2, channels, block, block), np.float32)
    for channel in range(channels):
        for place in range(block**2):
            deep = place * channels + channel if in_turn else channel * block**2 + place
            weights[deep, channel, place // block, place % block] = 1
    return weights

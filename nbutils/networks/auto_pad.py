"""Padding that a file states as a rule (`auto_pad`, as Keras writes it), worked out into numbers of pixels.

And average pooling that is padded on one side more than on the other, which onnx2torch does not know.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper

from .rewriting import Surroundings, like, rewritten

_WINDOWED = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")


def explicit_padding(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """A copy of `model` whose windowed operators state `pads` in the place of SAME_UPPER and SAME_LOWER.

    None where the file has no such operator; one that reads an image of unknown size stays. Source: the operators'
    definitions in ONNX: the output is as large as the input divided by the stride, rounded up, and an odd
    pixel of padding goes to the end (SAME_UPPER) or to the start (SAME_LOWER). An average pooling with an odd pixel
    becomes one of the padded image, times what corrects the windows over the border.
    """
    return rewritten(model, _in_numbers)


def _in_numbers(node: NodeProto, attributes: dict[str, Any], around: Surroundings) -> list[NodeProto] | None:
    rule = attributes.pop("auto_pad", b"NOTSET")
    size = around.size(node.input[0]) if node.input else []
    if not size:
        return None
    if node.op_type == "AveragePool" and rule == b"NOTSET" and _lopsided(attributes):
        pads = attributes.pop("pads")
        return _averaged(around, node, attributes, size, pads[: len(size)], pads[len(size) :])
    if node.op_type not in _WINDOWED or rule not in (b"SAME_UPPER", b"SAME_LOWER"):
        return None
    weights = around.stored.get((*node.input, "")[1])
    kernel = attributes.setdefault("kernel_shape", [] if weights is None else list(weights.dims)[2:])
    if len(kernel) != len(size):
        return None
    less, more = _sides(node.op_type, size, kernel, attributes)
    start, end = (less, more) if rule == b"SAME_UPPER" else (more, less)
    if node.op_type == "AveragePool" and start != end:
        return _averaged(around, node, attributes, size, start, end)
    return [like(node, list(node.input), {**attributes, "pads": start + end})]


def _lopsided(attributes: dict) -> bool:
    """Whether the padding before an axis is another than behind it, and nothing else changes the windows."""
    pads = attributes.get("pads", [])
    half, gaps = len(pads) // 2, set(attributes.get("dilations", [1]))
    return pads[:half] != pads[half:] and not attributes.get("ceil_mode", 0) and gaps == {1}


def _sides(kind: str, size: list[int], kernel: list[int], attributes: dict) -> tuple[list[int], list[int]]:
    """The smaller and the larger half of the padding along each axis."""
    less, more = [], []
    for axis, (length, width) in enumerate(zip(size, kernel, strict=True)):
        stride, dilation, grown = (
            attributes[name][axis] if name in attributes else usual
            for name, usual in (("strides", 1), ("dilations", 1), ("output_padding", 0))
        )
        span = (width - 1) * dilation + 1
        total = (
            span + grown - stride if kind == "ConvTranspose" else (-(-length // stride) - 1) * stride + span - length
        )
        less.append(max(total, 0) // 2)
        more.append(max(total, 0) - less[-1])
    return less, more


def _averaged(
    around: Surroundings, node: NodeProto, attributes: dict, size: list[int], start: list[int], end: list[int]
) -> list[NodeProto]:
    """Zeros around the image, the mean of each window, and a factor that leaves out the zeros where the rule does."""
    name = f"{node.output[0]}_padded"
    pads = np.array([0, 0, *start, 0, 0, *end], dtype=np.int64)
    by = around.store(f"{name}_by", pads)
    counted = bool(attributes.pop("count_include_pad", 0))
    pooled = node.output[0] if counted else f"{name}_mean"
    made = [
        helper.make_node("Pad", [node.input[0], by], [name]),
        helper.make_node("AveragePool", [name], [pooled], **attributes),
    ]
    if not counted:
        shares = []  # of each window inside the image, an axis at a time
        strides = attributes.get("strides", [1] * len(size))
        for length, width, stride, before, after in zip(
            size, attributes["kernel_shape"], strides, start, end, strict=True
        ):
            first = np.arange((length + before + after - width) // stride + 1) * stride - before
            shares.append((np.minimum(first + width, length) - np.maximum(first, 0)) / width)
        factor = np.asarray(1 / math.prod(np.ix_(np.ones(1), np.ones(1), *shares)), dtype=np.float32)
        made.append(helper.make_node("Mul", [pooled, around.store(f"{name}_factor", factor)], list(node.output)))
    return made

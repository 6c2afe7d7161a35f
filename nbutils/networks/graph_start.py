"""What a network does to its input first: a normalisation inside the file means that it takes pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from ..core import Normalization
from .onnx_files import Ports, stored_tensors

_PASSED = ("Identity", "Cast", "Dropout")
_NEAR_ZERO = 0.1
"""A batch norm whose means all lie this near zero was fed normalised images, not pixels."""


@dataclass(frozen=True)
class GraphStart:
    """The element-wise operators by constants before the first layer: (x - mean) / std, channel by channel."""

    text: str  # operators and constants, as they stand in the file
    mean: tuple[float, ...]
    std: tuple[float, ...]
    learned: bool  # a batch norm: mean and std are those of the images it was trained on

    @property
    def proposed(self) -> Normalization | None:
        """What the network is to be fed with, by this evidence; None where it says nothing."""
        channels = len(self.mean)
        if max(map(abs, self.mean)) > 2 or max(self.std) > 2:  # constants for levels 0 to 255
            return Normalization((0.0,) * channels, (1 / 255,) * channels)
        if self.learned and max(map(abs, self.mean)) < _NEAR_ZERO:
            return None
        return Normalization((0.0,) * channels, (1.0,) * channels)

    def describe(self) -> str:
        """A sentence: what was found, and what it proposes."""
        proposed = self.proposed
        if proposed is None:
            return f"The graph begins with {self.text}: its input was normalised before."
        what = "pixels, --pixels" if proposed.std[0] == 1 else f"levels 0 to 255, {options(proposed)}"
        return f"The graph begins with {self.text}: so it seems to take {what}."


def options(normalization: Normalization) -> str:
    """`normalization` as options of a command; one number where all channels have the same."""
    parts = []
    for name, values in (("--mean", normalization.mean), ("--std", normalization.std)):
        shown = values[:1] if len(set(values)) == 1 else values
        parts.append(" ".join([name, *(f"{value:.9g}" for value in shown)]))
    return " ".join(parts)


def graph_start(model: onnx.ModelProto, ends: Ports) -> GraphStart | None:
    """The normalisation at the start of `model`, if its first operators are one: Sub, Add, Mul, Div by constants, or a
    batch norm. None where the input goes into other operators, or into several."""
    constants = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in stored_tensors(model)}
    channels = ends.input_shape[0]
    gain, shift = np.ones(channels), np.zeros(channels)
    texts: list[str] = []
    learned, here = False, ends.input
    while True:
        users = [node for node in model.graph.node if here in node.input]
        if len(users) != 1 or list(users[0].input).count(here) != 1 or not users[0].output:
            break
        node = users[0]
        step = (
            _batch_norm(node, constants, channels)
            if node.op_type == "BatchNormalization"
            else _step(node, here, constants, channels)
        )
        if step is None and node.op_type not in _PASSED:
            break
        if step is not None:
            factor, added, text = step
            gain, shift = gain * factor, shift * factor + added
            texts.append(text)
            learned |= node.op_type == "BatchNormalization"
        here = node.output[0]
    if not texts or not np.all(gain > 0) or (np.all(gain == 1) and np.all(shift == 0)):
        return None
    return GraphStart(" and ".join(texts), tuple(-shift / gain), tuple(1 / gain), learned)


def _step(
    node: onnx.NodeProto, here: str, constants: dict[str, np.ndarray], channels: int
) -> tuple[np.ndarray, np.ndarray, str] | None:
    """Factor and summand [C] of an operator by a constant, and its text; None for another operator."""
    if node.op_type not in ("Sub", "Add", "Mul", "Div") or len(node.input) != 2:
        return None
    first = node.input[0] == here
    values = _by_channel(constants.get(node.input[1 if first else 0]), channels)
    if values is None or (not first and node.op_type in ("Sub", "Div")):
        return None
    zero, one = np.zeros(channels), np.ones(channels)
    with np.errstate(divide="ignore"):
        factor, added = {
            "Sub": (one, -values),
            "Add": (one, values),
            "Mul": (values, zero),
            "Div": (1 / values, zero),
        }[node.op_type]
    if not np.isfinite(factor).all():
        return None
    shown = values[:1] if len(set(values.tolist())) == 1 else values
    return factor, added, f"{node.op_type} by {' '.join(f'{value:.6g}' for value in shown)}"


def _by_channel(values: np.ndarray | None, channels: int) -> np.ndarray | None:
    """One number a channel of a constant that is broadcast over images and pixels, float64 [C]."""
    if values is None or values.dtype.kind != "f" or values.ndim > 4:
        return None
    if values.size == 1:
        return np.full(channels, float(values.reshape(-1)[0]))
    shape = (1,) * (4 - values.ndim) + values.shape
    return values.reshape(-1).astype(np.float64) if shape == (1, channels, 1, 1) else None


def _batch_norm(
    node: onnx.NodeProto, constants: dict[str, np.ndarray], channels: int
) -> tuple[np.ndarray, np.ndarray, str] | None:
    """The statistics of a batch norm as factor and summand; its learned scale and shift are left to the network."""
    mean, var = (constants.get(name) for name in node.input[3:5]) if len(node.input) == 5 else (None, None)
    if mean is None or var is None or mean.shape != (channels,) or var.shape != (channels,):
        return None
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    std = np.sqrt(var.astype(np.float64) + epsilon)
    shown = " ".join(f"{value:.3g}" for value in mean), " ".join(f"{value:.3g}" for value in std)
    return 1 / std, -mean / std, f"BatchNormalization of mean {shown[0]} and std {shown[1]}"

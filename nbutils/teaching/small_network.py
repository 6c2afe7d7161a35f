"""A network of two inputs, two ReLUs and three classes, whose every number can be worked out in the head.

    h1 = relu(u + v + 1)      y0 = h1
    h2 = relu(u - v + 1)      y1 = h2 - 2.75
                              y2 = -h2 - 1

On the box u, v in [-1, 1] and for label 0 the smallest margin is h1 - h2 + 2.75. Intervals prove at least -0.25 of it,
which is no proof; CROWN proves at least 0.25, which is one; the true minimum is 0.75, at (0, -1).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core import Box
from ..networks import Network, open_network


@dataclass(frozen=True, eq=False)
class SmallNetwork:
    """Two dense layers with ReLUs between them: logits = W2 relu(W1 x + b1) + b2."""

    W1: np.ndarray  # float64 [H, 2]
    b1: np.ndarray  # float64 [H]
    W2: np.ndarray  # float64 [K, H]
    b2: np.ndarray  # float64 [K]

    @classmethod
    def drawn(cls, seed: int, hidden: int = 4, classes: int = 3) -> SmallNetwork:
        """Weights drawn from a normal distribution."""
        rng = np.random.default_rng(seed)
        return cls(*(rng.normal(size=size) for size in ((hidden, 2), hidden, (classes, hidden), classes)))

    def hidden(self, x: np.ndarray) -> np.ndarray:
        """What goes into the ReLUs at points [..., 2]."""
        return x @ self.W1.T + self.b1

    def logits(self, x: np.ndarray) -> np.ndarray:
        """[..., K] at points [..., 2]."""
        return np.maximum(self.hidden(np.asarray(x, float)), 0) @ self.W2.T + self.b2

    def margins(self, x: np.ndarray, label: int) -> np.ndarray:
        """Logit of `label` minus each rival's, [..., K-1], rivals ascending."""
        logits = self.logits(x)
        return logits[..., [label]] - np.delete(logits, label, axis=-1)

    def rows(self, label: int) -> tuple[np.ndarray, np.ndarray]:
        """(C, c) with margins = C relu(...) + c: [K-1, H] and [K-1]."""
        others = np.delete(np.arange(len(self.b2)), label)
        return self.W2[label] - self.W2[others], self.b2[label] - self.b2[others]

    def opened(self, folder: Path) -> Network:
        """The same network as an ONNX file in `folder`, opened as any other: input [N, 1, 1, 2]."""
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        arrays = {"W1": self.W1, "b1": self.b1, "W2": self.W2, "b2": self.b2}
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            [
                helper.make_node("Flatten", ["x"], ["f"]),
                helper.make_node("Gemm", ["f", "W1", "b1"], ["z"], transB=1),
                helper.make_node("Relu", ["z"], ["h"]),
                helper.make_node("Gemm", ["h", "W2", "b2"], ["y"], transB=1),
            ],
            "small",
            [value("x", TensorProto.FLOAT, ["N", 1, 1, 2])],
            [value("y", TensorProto.FLOAT, ["N", len(self.b2)])],
            [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
        )
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "small.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
        return open_network(path, device="cpu")


TOY = SmallNetwork(
    np.array([[1.0, 1.0], [1.0, -1.0]]), np.array([1.0, 1.0]),
    np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), np.array([0.0, -2.75, -1.0]),
)  # fmt: skip
"""The network of the lessons."""

NEEDLE = SmallNetwork(
    np.array([[50.0, 0.0]] * 3), np.array([1.0, 0.0, -1.0]) - 50 * 0.6,
    np.array([[0.0, 0.0, 0.0], [2.0, -4.0, 2.0]]), np.array([1.0, 0.0]),
)  # fmt: skip
"""Margin of class 0: 1 - 2 hat(u), where hat rises from 0 to 1 and falls again within 0.02 on either side of u = 0.6.

Class 1 is level or ahead for u in [0.59, 0.61], one hundredth of the box u in [-1, 1]. Everywhere else but in
[0.58, 0.62] the gradient is zero.
"""


def box_around(center: tuple[float, float] = (0.0, 0.0), radius: float = 1.0) -> Box:
    """The box of `radius` around a point of the plane, for a network of `opened`."""
    middle = np.array(center, dtype=np.float32).reshape(1, 1, 1, 2)
    return Box(middle - np.float32(radius), middle + np.float32(radius), middle)

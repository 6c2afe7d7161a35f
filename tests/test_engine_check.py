"""What the bounds library makes of a network is held against its twin before any bound is believed."""

from __future__ import annotations

import numpy as np
import pytest
import toys
from onnx import helper

from nbutils import _engine
from nbutils.bounds import margin_bounds
from nbutils.config import METHODS, BoundsConfig
from nbutils.errors import BoundsError
from nbutils.networks import open_network
from nbutils.records import Box


def pooled(folder):
    """AveragePool whose padding is not counted: the library divides by 9 where the file divides by 4."""
    weights = {
        "w": np.ones((1, 1, 2, 2), np.float32),
        "b": np.float32([-2.36]),
        "g.w": np.float32([[0, 0, 0, 0], [45, 0, 0, 0]]),
        "g.b": np.float32([1, 0]),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["z"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Relu", ["z"], ["h"]),
        helper.make_node("AveragePool", ["h"], ["a"], kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]),
        helper.make_node("Flatten", ["a"], ["f"]),
        toys.gemm("f", "y", "g"),
    ]
    return toys.save_onnx(folder / "pooled.onnx", nodes, weights, input_shape=(1, 4, 4), output_shape=(2,))


def box() -> Box:
    center = np.full((1, 1, 4, 4), 0.502, np.float32)
    return Box(center - np.float32(0.1), center + np.float32(0.1), center)


@pytest.mark.parametrize("method", METHODS)
def test_a_pooling_that_the_library_reads_otherwise_is_refused(tmp_path, method):
    network = open_network(pooled(tmp_path), device="cpu")
    with pytest.raises(BoundsError, match="evaluates it otherwise than the file does"):  # was: verified, bound +0.36
        margin_bounds(network, box(), np.array([0]), BoundsConfig(method=method))


def test_a_proof_is_held_against_corners(tmp_path, monkeypatch):
    monkeypatch.setattr(_engine.BoundEngine, "_check_reading", lambda *_: None)
    network = open_network(pooled(tmp_path), device="cpu")
    with pytest.raises(BoundsError, match="ibp is wrong on this network: its lower bound .* lies above the margin"):
        margin_bounds(network, box(), np.array([0]), BoundsConfig(method="ibp"))

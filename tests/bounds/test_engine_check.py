"""A bound method is held against the network before any of its bounds is believed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import toys
from onnx import helper

from nbutils.bounds import checked, engine, held_methods, margin_bounds, method_checks, methods, reading
from nbutils.core import METHODS, BoundsConfig, BoundsError, Box, ImageSet, SelectionConfig
from nbutils.networks import open_network
from nbutils.selection import run_funnel

node = helper.make_node


def pooled(folder):
    """AveragePool whose padding is not counted: the library divides by 9 where the file divides by 4."""
    weights = {
        "w": np.ones((1, 1, 2, 2), np.float32),
        "b": np.float32([-2.36]),
        "g.w": np.float32([[0, 0, 0, 0], [45, 0, 0, 0]]),
        "g.b": np.float32([1, 0]),
    }
    nodes = [
        node("Conv", ["x", "w", "b"], ["z"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Relu", ["z"], ["h"]),
        node("AveragePool", ["h"], ["a"], kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]),
        node("Flatten", ["a"], ["f"]),
        toys.gemm("f", "y", "g"),
    ]
    return toys.save_onnx(folder / "pooled.onnx", nodes, weights, input_shape=(1, 4, 4), output_shape=(2,))


def softplus(folder):
    """Intervals know it, linear bounds do not."""
    rng = np.random.default_rng(0)
    weights = {"f.w": rng.normal(size=(2, 36)).astype(np.float32) / 6, "f.b": np.zeros(2, np.float32)}
    nodes = [node("Softplus", ["x"], ["p"]), node("Flatten", ["p"], ["f"]), toys.gemm("f", "y", "f")]
    return toys.save_onnx(folder / "soft.onnx", nodes, weights, input_shape=(1, 6, 6), output_shape=(2,))


def box() -> Box:
    center = np.full((1, 1, 4, 4), 0.502, np.float32)
    return Box(center - np.float32(0.1), center + np.float32(0.1), center)


@pytest.fixture
def as_it_is(monkeypatch):
    """The bounds library gets the network as it is in the file."""
    monkeypatch.setattr(engine, "faithful", lambda module, *_: module)


@pytest.mark.parametrize("method", METHODS)
def test_padding_that_is_not_counted_is_bounded_right(tmp_path, method):
    # at the upper corner all four values are 0.602: z = 4 * 0.602 - 2.36 = 0.048, the first window averages the four
    # of them, so the margin is 1 - 45 * 0.048 = -1.16. Was: verified, bound +0.36
    network = open_network(pooled(tmp_path), device="cpu")
    lower = margin_bounds(network, box(), np.array([0]), BoundsConfig(method=method)).lower
    assert lower[0, 0] == pytest.approx(1 - 45 * (4 * 0.602 - 2.36), abs=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_network_that_the_library_reads_otherwise_is_refused(tmp_path, method, as_it_is):
    network = open_network(pooled(tmp_path), device="cpu")
    with pytest.raises(BoundsError, match="evaluates it otherwise than the file does"):
        margin_bounds(network, box(), np.array([0]), BoundsConfig(method=method))


@pytest.mark.parametrize("method", METHODS)
def test_the_check_of_a_method_finds_a_wrong_reading_too(tmp_path, method, as_it_is, monkeypatch):
    monkeypatch.setattr(reading, "_check", lambda *_: None)
    found = checked(open_network(pooled(tmp_path), device="cpu"), method)
    assert not found.holds
    assert found.reason.startswith("in a box of one point its bound misses the margin by")


def test_a_proof_is_held_against_corners(tmp_path, monkeypatch, as_it_is):
    monkeypatch.setattr(reading, "_check", lambda *_: None)
    monkeypatch.setattr(methods, "examine", lambda engine, network, method: methods.MethodCheck(method, True))
    network = open_network(pooled(tmp_path), device="cpu")
    with pytest.raises(BoundsError, match="ibp is wrong on this network: its lower bound .* lies above the margin"):
        margin_bounds(network, box(), np.array([0]), BoundsConfig(method="ibp"))


class Spy:
    """An engine whose margins or hidden bounds are off by `error`; what is looked at is how the check reads them."""

    def __init__(self, real, *, margin=0.0, hidden=0.0, rows=0.0):
        self._real, self._margin, self._hidden, self._rows = real, margin, hidden, rows

    def __getattr__(self, name):
        return getattr(self._real, name)

    def run(self, *args):
        lower, hidden = self._real.run(*args)
        return lower + self._margin, {name: (low + self._hidden, up) for name, (low, up) in hidden.items()}

    def backward_rows(self, *args):
        return ((name, rows, found + self._rows) for name, rows, found in self._real.backward_rows(*args))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"margin": 0.1}, "in a box of one point its bound misses the margin by 0.1"),
        ({"margin": -0.1}, "in a box of one point its bound misses the margin by 0.1"),
        ({"hidden": 0.1}, "in a box of one point it misses the input of Relu, computed by"),
        ({"rows": 0.1}, "in a box of one point it misses the input of Relu, computed by"),
    ],
)
def test_a_wrong_number_anywhere_is_found(mlp, wrong, reason):
    spy = Spy(methods.engine_of(mlp), **wrong)
    found = methods.examine(spy, mlp, "crown")
    assert not found.holds
    assert found.reason.startswith(reason)


def test_a_bound_above_a_margin_in_a_box_is_found(mlp, monkeypatch):
    from nbutils.bounds import method_check

    monkeypatch.setattr(method_check, "_at_one_point", lambda *_: None)
    found = methods.examine(Spy(methods.engine_of(mlp), margin=50.0), mlp, "ibp")
    assert "in a made-up box its lower bound stands" in found.reason
    found = methods.examine(Spy(methods.engine_of(mlp), hidden=50.0), mlp, "ibp")
    assert "in a made-up box a value lies outside its bounds at the input of Relu" in found.reason


def test_a_method_that_fails_is_refused_by_name_and_the_others_stay(tmp_path):
    network, said = open_network(softplus(tmp_path), device="cpu"), []
    assert held_methods(network, METHODS, said.append) == ("ibp",)
    (line,) = said  # was: an error in the middle of a run
    assert line.startswith("soft: crown-ibp, crown, alpha-crown refused: failed in Softplus with NotImpl")
    assert line.endswith("decided by ibp")
    center = np.zeros((1, 1, 6, 6), np.float32)
    with pytest.raises(BoundsError, match="soft: crown is refused: failed in Softplus"):
        margin_bounds(network, Box(center, center, center), np.array([0]), BoundsConfig())


def test_the_funnel_decides_by_what_holds(tmp_path):
    network = open_network(softplus(tmp_path), device="cpu")
    levels = np.random.default_rng(1).integers(0, 256, (12, 1, 6, 6), dtype=np.uint8)
    images = ImageSet(levels, np.ones(12, np.int64), np.arange(12), "toy", ("a", "b"), toys.HALF)
    verdicts = run_funnel(network, images, SelectionConfig(), progress=False)
    assert {verdict.bound_method for verdict in verdicts} <= {"ibp", None}
    assert "verified" in {verdict.status for verdict in verdicts}


def test_no_image_is_settled_where_nothing_holds(tmp_path, monkeypatch):
    network = open_network(softplus(tmp_path), device="cpu")
    monkeypatch.setattr(methods, "examine", lambda engine, network, method: methods.MethodCheck(method, False, "odd"))
    images = ImageSet(np.zeros((1, 1, 6, 6), np.uint8), np.zeros(1, np.int64), np.arange(1), "t", ("a", "b"), toys.HALF)
    with pytest.raises(BoundsError, match=r"soft: ibp, crown-ibp, crown refused: odd. No bound method is left"):
        run_funnel(network, images, SelectionConfig(), progress=False)


def test_the_networks_of_the_repository_hold(small_network):
    assert all(check.holds for check in method_checks(small_network))


def test_looking_does_not_change_bounds(small_network):
    rng = np.random.default_rng(3)
    center = rng.normal(0, 1, (1, 3, 32, 32)).astype(np.float32)
    ends = Box(center - np.float32(1e-3), center + np.float32(1e-3), center)
    wanted = torch.eye(100)[None, :2] - torch.eye(100)[None, 2:4]
    fresh, seen = engine.BoundEngine(small_network), engine.BoundEngine(small_network)
    for method in METHODS[:3]:
        assert methods.examine(seen, small_network, method).holds
    seen.forget()
    for method in METHODS[:3]:
        first, second = (one.run(ends, wanted, BoundsConfig(method=method))[0] for one in (fresh, seen))
        assert torch.equal(first, second)

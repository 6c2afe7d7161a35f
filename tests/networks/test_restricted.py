"""Networks of some logits only: the values are the same, and so are the bounds."""

from __future__ import annotations

import numpy as np
import pytest
import toys

from nbutils.bounds import margin_bounds
from nbutils.core import METHODS, BoundsConfig, Box, NetworkError, ParameterError
from nbutils.networks import best_against, columns, open_network, restricted

BUILDERS = {"mlp": lambda folder: toys.random_mlp(folder, 3), "resnet": toys.tiny_resnet}


@pytest.fixture(params=BUILDERS)
def network(request, tmp_path):
    """A network of several classes, from a file."""
    return open_network(BUILDERS[request.param](tmp_path), device="cpu")


def points(network, count: int = 6) -> np.ndarray:
    """Random network input."""
    return np.random.default_rng(1).standard_normal((count, *network.input_shape)).astype(np.float32)


def test_columns_are_the_networks_own(network):
    few, x = columns(network, [3, 1]), points(network)
    assert few.classes == 2
    np.testing.assert_allclose(few.judge(x), network.judge(x)[:, [3, 1]], atol=1e-6)
    np.testing.assert_allclose(few.logits(x), network.logits(x)[:, [3, 1]], atol=1e-6)


def test_a_gemm_shortened_wrongly_is_refused(two_neuron, monkeypatch):
    shorten = restricted._shorter_gemm
    monkeypatch.setattr(restricted, "_shorter_gemm", lambda model, classes: shorten(model, classes[::-1]))
    with pytest.raises(NetworkError, match="within .* of the whole network's. Its last Gemm was shortened wrongly"):
        columns(two_neuron, [0, 1])


def test_best_of_a_group(network):
    two, x = best_against(network, [0, 3], 2), points(network)
    logits = network.judge(x)
    np.testing.assert_array_equal(two.judge(x), np.stack([logits[:, [0, 3]].max(1), logits[:, 2]], axis=1))


@pytest.mark.parametrize("method", METHODS)
def test_bounds_of_columns_are_those_of_the_whole(network, method):
    x = points(network, 1)
    box, config = Box(x - 0.01, x + 0.01, x), BoundsConfig(method=method)
    whole = margin_bounds(network, box, np.array([1]), config)
    few = margin_bounds(columns(network, [1, 3]), box, np.array([0]), config)
    column = int(np.flatnonzero(whole.rivals[0] == 3)[0])
    # alpha-CROWN optimises for the rows it is given, so a single row may only be tighter than it was among others
    slack = 1e-3 if method == "alpha-crown" else 1e-5
    assert few.lower[0, 0] >= whole.lower[0, column] - slack
    if method != "alpha-crown":
        np.testing.assert_allclose(few.lower[0, 0], whole.lower[0, column], atol=1e-5)


def test_bounds_by_hand(two_neuron):
    for method in METHODS:
        found = margin_bounds(
            columns(two_neuron, [0, 1]), toys.two_neuron_box(), np.array([0]), BoundsConfig(method=method)
        )
        np.testing.assert_allclose(found.lower[0], toys.TWO_NEURON_BOUNDS[method][:1], atol=0.03)


@pytest.mark.parametrize("classes", [[0], [0, 0], [0, 9], [-1, 2]])
def test_classes_that_make_no_network(two_neuron, classes):
    with pytest.raises(ParameterError, match="two or more different classes of two_neuron, 0 to 2"):
        columns(two_neuron, classes)


@pytest.mark.parametrize(("dims", "shape"), [((784,), (1, 28, 28)), ((784, 1), (1, 28, 28)), ((3072,), (3, 32, 32))])
def test_vectors_of_square_images_open_as_images(tmp_path, dims, shape):
    """VNN-COMP's mnist_fc takes [1, 784, 1]. It was refused before."""
    path = flat_net(tmp_path, dims)
    network = open_network(path, device="cpu")
    assert (network.input_shape, network.declared_input) == (shape, dims)
    x = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
    wanted = np.maximum(x.reshape(3, -1) @ weights(dims)["1.w"].T + weights(dims)["1.b"], 0)
    wanted = wanted @ weights(dims)["2.w"].T + weights(dims)["2.b"]
    np.testing.assert_allclose(network.judge(x), wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(network.logits(x), wanted, rtol=1e-4, atol=1e-4)
    assert f"flattened to [N, {', '.join(map(str, dims))}]" in network.describe()
    assert columns(network, [2, 0]).input_shape == shape


@pytest.mark.parametrize("dims", [(785,), (5,), (49,), (28, 28), (784, 2)])
def test_vectors_of_no_square_image_are_refused(tmp_path, dims):
    with pytest.raises(NetworkError, match=r"shape of input x: .* or a vector \[N, n\] of a square image"):
        open_network(flat_net(tmp_path, dims), device="cpu")


def weights(dims):
    """Of the network that `flat_net` writes."""
    rng = np.random.default_rng(len(dims))
    first = rng.standard_normal((6, int(np.prod(dims)))).astype(np.float32) / np.sqrt(np.prod(dims))
    return {
        "1.w": first.astype(np.float32),
        "1.b": np.zeros(6, dtype=np.float32),
        "2.w": rng.standard_normal((3, 6)).astype(np.float32),
        "2.b": np.float32([0.1, 0, -0.1]),
    }


def flat_net(folder, dims):
    """Batches of one vector of these dimensions, one hidden layer, three classes."""
    from onnx import helper

    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        toys.gemm("flat", "z", "1"),
        helper.make_node("Relu", ["z"], ["h"]),
        toys.gemm("h", "y", "2"),
    ]
    path = folder / "flat.onnx"
    return toys.save_onnx(path, nodes, weights(dims), input_shape=dims, output_shape=(3,), batch=1)

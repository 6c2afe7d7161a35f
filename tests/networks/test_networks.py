"""Opening networks: facts off the file, cards, parity with onnxruntime, and one clear error for everything else."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
import toys
from onnx import helper, numpy_helper

from nbutils.core import NetworkError, Normalization, class_margins, settings
from nbutils.networks import CLEAN, CROWN, PGD, Network, open_network, opening
from nbutils.networks.cards import list_networks


def normal(network: Network, n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, *network.input_shape)).astype(np.float32)


# What an opened network says


def test_two_neuron_net_gives_the_margins_worked_out_by_hand(two_neuron: Network) -> None:
    center = toys.two_neuron_box().center
    for logits in (two_neuron.logits(center), two_neuron.judge(center)):
        np.testing.assert_array_equal(class_margins(logits, [0]).values[0], toys.TWO_NEURON_MARGINS)


def test_two_neuron_net_attains_its_exact_bounds_and_never_goes_below(two_neuron: Network) -> None:
    axis = np.linspace(-1, 1, 65, dtype=np.float32)  # multiples of 1/32: exact
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 1, 1, 2)
    values = class_margins(two_neuron.logits(grid), np.zeros(len(grid), int)).values
    np.testing.assert_array_equal(values.min(axis=0), toys.TWO_NEURON_BOUNDS["exact"])
    for bound in toys.TWO_NEURON_BOUNDS.values():
        assert (bound <= toys.TWO_NEURON_BOUNDS["exact"]).all()


def test_linear_net_is_its_matrix(linear: Network) -> None:
    x = np.arange(8, dtype=np.float32).reshape(2, 1, 2, 2)
    expected = x.reshape(2, 4) @ toys.LINEAR_WEIGHTS.T + toys.LINEAR_BIAS
    np.testing.assert_array_equal(linear.logits(x), expected)
    np.testing.assert_array_equal(linear.judge(x), expected)


def test_card_states_the_facts_of_the_published_small_network(small_network: Network) -> None:
    card = small_network.card
    assert (card.parameters, card.layers, card.opset) == (1_352_600, 11, 13)
    assert dict(card.ops) == {"Conv": 11, "BatchNormalization": 11, "Relu": 6, "Add": 4, "Gemm": 2, "Flatten": 1}
    assert (card.input_shape, card.classes, card.dataset, card.batched) == ((3, 32, 32), 100, "cifar100", True)
    assert card.megabytes == pytest.approx(5.4, abs=0.05)
    assert small_network.normalization == Normalization((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761))
    # 1,000 images or more, so that the interval is at most 6.2 points wide
    assert card.figures.keys() == {CLEAN, PGD, CROWN}
    assert all(figure.n >= 1000 for figure in card.figures.values())
    assert small_network.name == "CIFAR100_resnet_small"


def test_layers_leave_shortcuts_out(tiny_resnet: Network) -> None:
    assert tiny_resnet.card.ops["Conv"] == 4
    assert tiny_resnet.card.layers == 5  # stem, two of the block, two dense
    # convolutions 108 + 216 + 324 + 24, batch norms 4 x (4 + 6 + 6 + 6), dense 24 x 8 + 8 and 8 x 5 + 5
    assert tiny_resnet.card.parameters == 672 + 88 + 200 + 45


def test_description_holds_every_figure_and_the_device(small_network: Network) -> None:
    text = small_network.describe()
    accuracy = f"{small_network.card.figures[CLEAN].value:g} %"
    for part in ("1,352,600", "[N, 3, 32, 32]", accuracy, "device: cpu", small_network.card.sha256):
        assert part in text
    assert max(map(len, text.splitlines())) <= 100


def test_twin_is_frozen_and_gradients_reach_the_input(small_network: Network) -> None:
    assert not small_network.module.training
    assert not any(parameter.requires_grad for parameter in small_network.module.parameters())
    x = torch.from_numpy(normal(small_network, 2)).requires_grad_()
    small_network.module(x).sum().backward()
    assert float(x.grad.abs().sum()) > 0


@pytest.mark.parametrize("name", ["small_network", "tiny_resnet", "mlp", "two_neuron"])
def test_twin_and_judge_agree_on_rows_they_were_not_checked_on(name: str, request: pytest.FixtureRequest) -> None:
    network = request.getfixturevalue(name)
    x = normal(network, 20, seed=7)
    judged = network.judge(x)
    np.testing.assert_allclose(network.logits(x), judged, rtol=0, atol=1e-4 * max(1, np.abs(judged).max()))


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 9, 11, 20, 33])
@pytest.mark.parametrize("name", ["small_network", "tiny_resnet", "mlp"])
def test_a_row_and_its_gradient_do_not_depend_on_their_batch(
    name: str, rows: int, request: pytest.FixtureRequest
) -> None:
    network = request.getfixturevalue(name)
    x = normal(network, 40)

    def evaluate(order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        batch = torch.from_numpy(x[order]).requires_grad_()
        logits = network.forward(batch)
        (logits[:, 0] - logits[:, 1:].amax(dim=1)).sum().backward()
        return logits.detach().numpy(), batch.grad.numpy()

    order = np.random.default_rng(rows).permutation(40)[:rows]
    for together, alone in zip(evaluate(np.arange(40)), evaluate(order), strict=True):
        np.testing.assert_array_equal(alone, together[order])
    np.testing.assert_array_equal(network.judge(x)[order], network.judge(x[order]))


def test_logits_of_more_rows_than_one_pass_takes(linear: Network) -> None:
    x = normal(linear, opening._ROWS_AT_ONCE + 3)
    expected = x.reshape(len(x), 4) @ toys.LINEAR_WEIGHTS.T + toys.LINEAR_BIAS
    np.testing.assert_allclose(linear.logits(x), expected, rtol=1e-5, atol=1e-5)


def test_no_rows_give_no_logits(linear: Network) -> None:
    empty = np.empty((0, 1, 2, 2), np.float32)
    assert linear.logits(empty).shape == linear.judge(empty).shape == (0, 3)


@pytest.mark.parametrize(
    "x",
    [np.zeros((1, 2, 2), np.float32), np.zeros((1, 3, 2, 2), np.float32), np.zeros((1, 1, 2, 2)), [[0.0]]],
    ids=["no batch", "channels", "float64", "list"],
)
@pytest.mark.parametrize("method", ["logits", "judge"])
def test_wrong_input_is_refused(linear: Network, x: object, method: str) -> None:
    with pytest.raises(NetworkError, match=r"input of network linear: found .*allowed: a float32 array \[N, 1, 2, 2\]"):
        getattr(linear, method)(x)


# Finding the file


def test_names_are_looked_up_in_the_onnx_folder(small_network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "CIFAR100_resnet_small" in list_networks()
    assert small_network.path == settings.root() / "onnx" / "CIFAR100_resnet_small.onnx"
    monkeypatch.chdir("/")
    assert open_network("CIFAR100_resnet_small.onnx", device="cpu").card.sha256 == small_network.card.sha256


def test_unknown_name_lists_what_is_there() -> None:
    with pytest.raises(NetworkError, match=r"network: found 'resnet_small'; allowed: .*CIFAR100_resnet_small"):
        open_network("resnet_small")


def test_file_in_the_working_directory_opens_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toys.linear_net(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert open_network("linear.onnx", device="cpu").name == "linear"


def test_gzip_opens_as_the_same_network(tmp_path: Path, linear: Network) -> None:
    packed = tmp_path / "linear.onnx.gz"
    packed.write_bytes(gzip.compress(linear.path.read_bytes()))
    network = open_network(packed, device="cpu")
    assert (network.name, network.card.sha256) == ("linear", linear.card.sha256)


@pytest.mark.parametrize(
    ("file", "parameters", "layers"),
    [
        ("oval21/cifar_base_kw.onnx", 105_966, 4),
        ("sri_resnet_a/resnet_3b2_bn_mixup_adv_4.0_bs128_lr-1.onnx", 354_486, 9),
    ],
)
def test_foreign_networks_with_batch_one_take_batches(shared: Path, file: str, parameters: int, layers: int) -> None:
    network = open_network(shared / "third_party" / file, device="cpu")
    card = network.card
    assert (card.parameters, card.layers, card.classes, card.batched) == (parameters, layers, 10, True)
    assert network.normalization is None
    x = normal(network, 5)
    np.testing.assert_allclose(network.logits(x), network.judge(x), atol=1e-4)


# Batch dimensions


def reshape_net(folder: Path, batch: int | str, target: list[int], *, constant_node: bool = False) -> Path:
    """Input [batch, 1, 2, 2] -> Reshape to `target` -> logits of `linear_net`."""
    shape = np.int64(target)
    weights = {"1.w": toys.LINEAR_WEIGHTS, "1.b": toys.LINEAR_BIAS}
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["flat"]), toys.gemm("flat", "y", "1")]
    if constant_node:
        nodes.insert(0, helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(shape)))
    else:
        weights["shape"] = shape
    path = folder / "reshape.onnx"
    return toys.save_onnx(path, nodes, weights, input_shape=(1, 2, 2), output_shape=(3,), batch=batch)


@pytest.mark.parametrize("constant_node", [False, True], ids=["initializer", "Constant node"])
@pytest.mark.parametrize("target", [[1, 4], [1, -1], [0, -1], [-1, 4]], ids=str)
@pytest.mark.parametrize("batch", [1, "N"])
def test_reshape_constants_are_freed_of_their_batch(
    tmp_path: Path, linear: Network, batch: int | str, target: list[int], constant_node: bool
) -> None:
    network = open_network(reshape_net(tmp_path, batch, target, constant_node=constant_node), device="cpu")
    assert network.card.batched
    x = normal(linear, 6)
    np.testing.assert_array_equal(network.logits(x), linear.logits(x))
    assert network.card.parameters == 15  # the shape is no weight


def test_file_that_only_takes_one_row_is_taken_row_by_row(tmp_path: Path) -> None:
    # the appended constant has a batch of one: [x, 1] @ [w, b].T
    weights = {
        "one": np.ones((1, 1), np.float32),
        "w": np.float32([[1, 2, 3], [4, 5, 6]]),
        "b": np.zeros(2, np.float32),
    }
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Concat", ["flat", "one"], ["wide"], axis=1),
        helper.make_node("Gemm", ["wide", "w", "b"], ["y"], transB=1),
    ]
    path = tmp_path / "rows.onnx"
    network = open_network(toys.save_onnx(path, nodes, weights, input_shape=(1, 1, 2), output_shape=(2,), batch=1))
    x = np.float32([[1, 0], [0, 1], [1, 1]]).reshape(3, 1, 1, 2)
    np.testing.assert_array_equal(network.logits(x), np.float32([[4, 10], [5, 11], [6, 15]]))
    np.testing.assert_array_equal(network.judge(x), network.logits(x))
    assert not network.card.batched
    assert "row by row" in network.describe()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_twin_agrees_with_the_judge() -> None:
    network = open_network("CIFAR100_resnet_small")
    assert network.device.type == "cuda"
    assert not torch.backends.cuda.matmul.allow_tf32
    x = normal(network, 64)
    judged = network.judge(x)
    np.testing.assert_allclose(network.logits(x), judged, rtol=0, atol=1e-4 * np.abs(judged).max())

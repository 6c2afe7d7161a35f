"""Opening networks: facts off the file, cards, parity with onnxruntime, and one clear error for everything else."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import toys
from onnx import TensorProto, helper, numpy_helper

from nbutils.core import NetworkError, Normalization, class_margins, settings
from nbutils.networks import CLEAN, CROWN, PGD, Figure, Network, cards, onnx_files, open_network, opening, write_card
from nbutils.networks.cards import card_path, list_networks

Edit = Callable[[onnx.ModelProto], object]


def edited(folder: Path, edit: Edit) -> Path:
    """The two-neuron network after `edit`, saved without any check."""
    path = toys.two_neuron_net(folder)
    model = onnx.load(str(path))
    edit(model)
    path.write_bytes(model.SerializeToString())
    return path


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


# Files that are refused


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"network file: found '.*absent\.onnx'; allowed: a file that exists"):
        open_network(tmp_path / "absent.onnx")


def test_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="allowed: a file that exists"):
        open_network(tmp_path)


@pytest.mark.parametrize("keep", [0.01, 0.5, 0.999])
def test_truncated_file(tmp_path: Path, keep: float) -> None:
    path = toys.tiny_resnet(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(NetworkError, match=r"tiny_resnet\.onnx: .*only part of one"):
        open_network(path)


def test_every_truncation_is_a_network_error(tmp_path: Path) -> None:
    path = toys.two_neuron_net(tmp_path)
    data = path.read_bytes()
    for size in range(0, len(data) - 1, 7):
        path.write_bytes(data[:size])
        with pytest.raises(NetworkError, match=r"two_neuron\.onnx"):
            open_network(path, device="cpu")


@pytest.mark.parametrize(
    "data", [b"", b"not a network", b"version https://git-lfs.github.com/spec/v1\n", b"\x89PNG\r\n"]
)
def test_other_bytes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(data)
    with pytest.raises(
        NetworkError, match=r"other\.onnx: (found .* no ONNX model|not a valid ONNX model), or only part of one"
    ):
        open_network(path)


def test_damaged_gzip(tmp_path: Path, linear: Network) -> None:
    path = tmp_path / "linear.onnx.gz"
    for data in (gzip.compress(linear.path.read_bytes())[:-12], b"plain"):
        path.write_bytes(data)
        with pytest.raises(NetworkError, match="not a complete gzip file"):
            open_network(path)


def test_decompression_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_files, "MAX_BYTES", 10_000)
    path = tmp_path / "bomb.onnx.gz"
    path.write_bytes(gzip.compress(bytes(1_000_000)))
    with pytest.raises(NetworkError, match=r"bomb.*more than 10,000 bytes unpacked.*at most 10,000"):
        open_network(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(tmp_path: Path, value: float) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        weights = numpy_helper.to_array(model.graph.initializer[2]).copy()
        weights[1, 1] = value
        model.graph.initializer[2].CopyFrom(numpy_helper.from_array(weights, "2.w"))

    with pytest.raises(NetworkError, match=r"tensor 2\.w holds 1 NaN or infinite values of 6; allowed: finite"):
        open_network(edited(tmp_path, spoil))


def test_weights_outside_the_file(tmp_path: Path) -> None:
    def move_out(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../etc/passwd")

    with pytest.raises(NetworkError, match=r"tensor 1\.w: found 'data outside the file, at \.\./\.\./etc/passwd'"):
        open_network(edited(tmp_path, move_out))


def test_cyclic_graph_is_no_valid_model(tmp_path: Path) -> None:
    def tie(model: onnx.ModelProto) -> None:
        model.graph.node[1].input[0] = "y"

    with pytest.raises(NetworkError, match=r"not a valid ONNX model, or only part of one \(.*export it again"):
        open_network(edited(tmp_path, tie))


def _more_outputs(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, ["N", 2]))


def _more_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("x2", TensorProto.FLOAT, ["N", 2]))


def _input(shape: list[int | str], kind: int = TensorProto.FLOAT) -> Edit:
    return lambda model: model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", kind, shape))


def _output(shape: list[int | str]) -> Edit:
    return lambda m: m.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, shape))


def _ends_in(op: str) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        model.graph.node[-1].output[0] = "scores"
        model.graph.node.append(helper.make_node(op, ["scores"], ["y"]))

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_more_outputs, r"outputs: found \['y', 'h'\]; allowed: exactly one"),
        (_more_inputs, r"inputs: found \['x', 'x2'\]; allowed: exactly one"),
        (_input(["N", 2]), r"shape of input x: found \['N', 2\]; allowed: \[N, C, H, W\].*another vector needs a Reshape"),
        (_input(["N", 1, "H", 2]), r"shape of input x: found \['N', 1, 'H', 2\]; allowed: .*numbers for C, H and W"),
        (_input([4, 1, 1, 2]), r"batch size of input x: found 4; allowed: a symbol as N, or 1"),
        (_input(["N", 1, 1, 2], TensorProto.DOUBLE), r"type of x: found 'DOUBLE'; allowed: FLOAT"),
        (_output(["N", 3, 1, 1]), r"shape of output y: found \['N', 3, 1, 1\]; allowed: \[N, K\]"),
        (_ends_in("Softmax"), r"found Softmax as last layer; allowed: logits.*extract_model.*\['x'\], \['scores'\]"),
        (_ends_in("LogSoftmax"), r"found LogSoftmax as last layer"),
        (_ends_in("Sigmoid"), r"found Sigmoid as last layer"),
        (_ends_in("Hardmax"), r"operators: found \['Hardmax'\]; allowed: operators that onnx2torch converts"),
        (_ends_in("Sqrt"), r"logits: found 'NaN or infinity on random inputs'"),
    ],
)
def test_other_networks(tmp_path: Path, edit: Edit, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        open_network(edited(tmp_path, edit), device="cpu")


def _softmax_by_hand(shifted: bool, reciprocal: bool = False) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        model.graph.node[-1].output[0] = scores = "scores"
        if shifted:
            largest = helper.make_node("ReduceMax", [scores], ["largest"], axes=[1])
            model.graph.node.extend([largest, helper.make_node("Sub", [scores, "largest"], ["lower"])])
            scores = "lower"
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.int64([1]), "class_axis"))
        model.graph.node.extend(
            [
                helper.make_node("Exp", [scores], ["e"]),
                helper.make_node("ReduceSum", ["e", "class_axis"], ["total"]),
            ]
        )
        if reciprocal:
            model.graph.node.append(helper.make_node("Reciprocal", ["total"], ["part"]))
            model.graph.node.append(helper.make_node("Mul", ["part", "e"], ["y"]))
        else:
            model.graph.node.append(helper.make_node("Div", ["e", "total"], ["y"]))

    return edit


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("reciprocal", [False, True])
def test_a_softmax_written_out_is_refused_as_softmax_is(tmp_path: Path, shifted: bool, reciprocal: bool) -> None:
    # was: opened, and differences of probabilities were called margins
    with pytest.raises(NetworkError, match=r"a softmax written out as Exp, sum and Div.*\['x'\], \['scores'\]"):
        open_network(edited(tmp_path, _softmax_by_hand(shifted, reciprocal)), device="cpu")


def test_softmax_can_be_dropped_as_the_message_says(tmp_path: Path, two_neuron: Network) -> None:
    path = edited(tmp_path, _ends_in("Softmax"))
    with pytest.raises(NetworkError, match=r"extract_model\(path, new_path, \['x'\], \['scores'\]\)"):
        open_network(path)
    fixed = tmp_path / "fixed.onnx"
    onnx.utils.extract_model(str(path), str(fixed), ["x"], ["scores"])
    x = normal(two_neuron, 3)
    np.testing.assert_array_equal(open_network(fixed, device="cpu").logits(x), two_neuron.logits(x))


def test_single_class(tmp_path: Path) -> None:
    weights = {"1.w": np.ones((1, 2), np.float32), "1.b": np.zeros(1, np.float32)}
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), toys.gemm("flat", "y", "1")]
    path = toys.save_onnx(tmp_path / "one.onnx", nodes, weights, input_shape=(1, 1, 2), output_shape=(1,))
    with pytest.raises(NetworkError, match=r"found \(8, 1\); allowed: \[8, K\] with 2 classes or more"):
        open_network(path)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"onnxruntime (refuses|cannot evaluate) it"):
        open_network(edited(tmp_path, _input(["N", 1, 1, 3])))


def test_twin_that_disagrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: onnx.ModelProto) -> torch.nn.Module:
        twin = right(model)
        next(twin.parameters()).data += 0.01
        return twin

    right = opening.convert
    monkeypatch.setattr(opening, "convert", wrong)
    message = r"two_neuron\.onnx: the torch twin .* not the network onnxruntime evaluates: logits differ by \d\.\d+e-0"
    with pytest.raises(NetworkError, match=message):
        open_network(toys.two_neuron_net(tmp_path))


def in_opset(folder: Path, kind: str, opset: int) -> Path:
    """Input [N, 3, 8, 8], a convolution, the operator `kind` as that opset writes it, and a linear layer."""
    rng = np.random.default_rng(0)
    weights = {"c.w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32)}
    weights |= {name: rng.uniform(0.5, 1, 4).astype(np.float32) for name in ("g", "b", "m", "v")}
    nodes = [helper.make_node("Conv", ["x", "c.w"], ["c"], kernel_shape=[3, 3], pads=[1] * 4)]
    old = opset < 11

    def add(*inputs: str, to: str = "o", op: str = kind, **attributes: object) -> None:
        nodes.append(helper.make_node(op, list(inputs), [to], **attributes))

    size = {"AveragePool": 64, "MaxPool": 64, "ReduceMean": 4, "Pad": 400, "Split": 128}.get(kind, 256)
    if kind == "BatchNormalization":
        add("c", "g", "b", "m", "v")
    elif kind in ("AveragePool", "MaxPool"):
        add("c", kernel_shape=[2, 2], strides=[2, 2])
    elif kind == "Pad":
        weights["p"] = np.int64([0, 0, 1, 1, 0, 0, 1, 1])
        add("c", pads=weights["p"].tolist()) if old else add("c", "p")
    elif kind == "Clip":
        weights |= {"low": np.float32(0), "high": np.float32(2)}
        add("c", min=0.0, max=2.0) if old else add("c", "low", "high")
    elif kind == "ReduceMean":
        weights["axes"] = np.int64([2, 3])
        add("c", axes=[2, 3]) if opset < 18 else add("c", "axes")
    elif kind == "Split":
        more = {"split": [2, 2]} if old else {"num_outputs": 2}
        nodes.append(helper.make_node("Split", ["c"], ["s", "t"], axis=1, **more))
        add("s", "t", op="Add")
    else:
        add("c")
    used = {name for node in nodes for name in node.input}
    weights = {name: value for name, value in weights.items() if name in used}
    weights |= {"1.w": rng.standard_normal((5, size)).astype(np.float32), "1.b": np.zeros(5, np.float32)}
    nodes += [helper.make_node("Flatten", ["o"], ["f"]), toys.gemm("f", "y", "1")]
    return toys.save_onnx(
        folder / f"{kind}.onnx", nodes, weights, input_shape=(3, 8, 8), output_shape=(5,), opset=opset
    )


@pytest.mark.parametrize("opset", [7, 8, 18, 20, 22])
@pytest.mark.parametrize(
    "kind", ["Relu", "LeakyRelu", "BatchNormalization", "AveragePool", "MaxPool", "Pad", "Clip", "ReduceMean", "Split"]
)
def test_old_and_new_opsets_open_as_the_same_network(tmp_path: Path, kind: str, opset: int) -> None:
    """Today: "operators: found ['Flatten', 'Gemm']; allowed: operators that onnx2torch converts" for 7, 8 and 22 of all
    nine, for 18 and 20 of Pad, ReduceMean and Split (AveragePool of 20)."""
    network = open_network(in_opset(tmp_path, kind, opset), device="cpu")
    x = normal(network, 5, seed=3)
    np.testing.assert_allclose(network.logits(x), network.judge(x), atol=1e-4)
    assert network.card.opset == opset  # the card is about the file


def test_a_form_in_another_opset_is_held_against_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restated form that is another network is not taken; the message is about the file as it is."""

    def wrong(model: onnx.ModelProto) -> list[onnx.ModelProto]:
        form = onnx.version_converter.convert_version(model, 13)
        for tensor in form.graph.initializer:
            if tensor.name == "1.w":
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), "1.w"))
        return [form]

    path = in_opset(tmp_path, "Clip", 22)
    monkeypatch.setattr(opening, "restated", wrong)
    message = (
        r"operators: found \['Conv', 'Flatten'\]; allowed: .*; the file has opset 22, and no other was found for it"
    )
    with pytest.raises(NetworkError, match=message):
        open_network(path)


def test_an_opset_that_onnxruntime_does_not_know(tmp_path: Path) -> None:
    message = r"onnxruntime refuses it \(.*Gemm\(6\).*\)\. The file has opset 6: export it again, with opset 13 say"
    with pytest.raises(NetworkError, match=message):
        open_network(in_opset(tmp_path, "LeakyRelu", 6))


def test_twin_that_fails(tmp_path: Path) -> None:
    # allowzero is one of the attributes onnx2torch has no answer to
    weights = {"shape": np.int64([-1, 4]), "1.w": toys.LINEAR_WEIGHTS, "1.b": toys.LINEAR_BIAS}
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["flat"], allowzero=1), toys.gemm("flat", "y", "1")]
    path = tmp_path / "allowzero.onnx"
    toys.save_onnx(path, nodes, weights, input_shape=(1, 2, 2), output_shape=(3,), opset=14)
    with pytest.raises(NetworkError, match="it fails with NotImplementedError: .*allowzero"):
        open_network(path)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", ""])
def test_unknown_device(device: str) -> None:
    with pytest.raises(NetworkError, match=r"device: found .*; allowed: auto, cpu.* on this machine"):
        open_network("CIFAR100_resnet_small", device=device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_twin_agrees_with_the_judge() -> None:
    network = open_network("CIFAR100_resnet_small")
    assert network.device.type == "cuda"
    assert not torch.backends.cuda.matmul.allow_tf32
    x = normal(network, 64)
    judged = network.judge(x)
    np.testing.assert_allclose(network.logits(x), judged, rtol=0, atol=1e-4 * np.abs(judged).max())


# Cards


FIGURES = {"clean_accuracy": Figure(51.5, "%", "10 images", "by hand")}


def test_card_round_trip(tmp_path: Path) -> None:
    path = toys.linear_net(tmp_path)
    written = write_card(path, dataset="npz", normalization=toys.HALF, recipe="none: weights by hand", figures=FIGURES)
    assert written == card_path(path) == tmp_path / "linear.json"
    card = open_network(path, device="cpu").card
    assert (card.dataset, card.normalization, card.recipe) == ("npz", toys.HALF, "none: weights by hand")
    assert dict(card.figures) == FIGURES
    assert sorted(p.name for p in tmp_path.iterdir()) == ["linear.json", "linear.onnx"]


def test_card_of_another_file(tmp_path: Path) -> None:
    path = toys.two_neuron_net(tmp_path)
    write_card(path)
    toys.two_neuron_net(tmp_path, lead=1)
    with pytest.raises(NetworkError, match=r"two_neuron\.json: sha256: found .*write its card anew"):
        open_network(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalisation": None}, r"keys: found \['normalisation'\]; allowed: sha256, dataset, normalization"),
        ({"dataset": 3}, "dataset: found 3; allowed: a name or null"),
        ({"recipe": None}, "recipe: found None; allowed: a text"),
        ({"normalization": {"mean": [0.5]}}, "normalization: found .*allowed: mean and std, each a list of 1 numbers"),
        (
            {"normalization": {"mean": [0, 0, 0], "std": [1, 1, 1]}},
            "normalization: found .*numbers, one a channel",
        ),
        ({"normalization": {"mean": ["0"], "std": [1]}}, "normalization: found .*each a list of 1 numbers"),
        ({"normalization": {"mean": [0], "std": [0]}}, r"std: found \[0\]; allowed: numbers above 0"),
        ({"figures": []}, r"figures: found \[\]; allowed: an object"),
        ({"figures": {"clean": {"value": 1}}}, "figure clean: found .*allowed: value .*unit, measured_on, source"),
        (
            {"figures": {"clean": {"value": "1", "unit": "", "measured_on": "", "source": ""}}},
            "figure clean: found .*allowed: value .a number",
        ),
    ],
)
def test_malformed_card(tmp_path: Path, change: dict, message: str) -> None:
    path = toys.linear_net(tmp_path)
    card = json.loads(write_card(path).read_text())
    card_path(path).write_text(json.dumps(card | change))
    with pytest.raises(NetworkError, match=rf"linear\.json: {message}"):
        open_network(path)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not a readable JSON card"), ("[1]", r"card: found \[1\]"), ("\xff", "not a readable")]
)
def test_card_that_is_no_json_object(tmp_path: Path, text: str, message: str) -> None:
    path = toys.linear_net(tmp_path)
    card_path(path).write_bytes(text.encode("latin-1"))
    with pytest.raises(NetworkError, match=message):
        open_network(path)


def test_card_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    path = toys.linear_net(tmp_path)
    with pytest.raises(NetworkError, match="figure clean"):
        write_card(path, figures={"clean": Figure(float("nan"), "%", "10 images", "by hand")})
    assert not card_path(path).exists()


def test_card_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = toys.linear_net(tmp_path)

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cards.Path, "replace", full)
    with pytest.raises(NetworkError, match=r"linear\.json: the card cannot be written \(No space left on device\)"):
        write_card(path)
    assert [p.name for p in tmp_path.iterdir()] == ["linear.onnx"]


def test_every_network_of_the_repository_opens_with_its_card() -> None:
    for name in list_networks():
        card = open_network(name, device="cpu").card
        assert card.dataset, f"{name} has a card naming its data set"
        assert card.normalization, f"{name} has a card naming its normalisation"

"""Files that are no network, or not one that is taken: one clear error each."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import toys
from onnx import TensorProto, helper, numpy_helper

from nbutils.core import NetworkError
from nbutils.networks import Network, making_twins, onnx_files, open_network

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
        (
            _input(["N", 2]),
            r"shape of input x: found \['N', 2\]; allowed: \[N, C, H, W\].*another vector",
        ),
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

    right = making_twins.convert
    monkeypatch.setattr(making_twins, "convert", wrong)
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
    monkeypatch.setattr(making_twins, "restated", wrong)
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

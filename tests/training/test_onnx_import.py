"""Weights out of ONNX files: equal to what was exported, held against onnxruntime, anything else refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
import torch
import toys
from training_toys import TOY, toy_config, toy_images, toy_network

from nbutils.core import NetworkError, ParameterError, root
from nbutils.networks import architectures, write_card
from nbutils.networks.architectures import Stage
from nbutils.training import CheckpointError, account, import_onnx, load_network, onnx_bytes, train
from nbutils.training.onnx_import import file_hash, is_onnx


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "toy.onnx"
    path.write_bytes(onnx_bytes(toy_network()))
    return path


def edited(path, edit):
    """A copy of the ONNX file at `path`, changed by `edit`."""
    model = onnx.load(str(path))
    edit(model)
    target = path.with_name("edited.onnx")
    onnx.save(model, str(target))
    return target


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", ["toy", *architectures.ARCHITECTURES])
def test_import_gives_the_exported_weights_bit_for_bit(name, tmp_path):
    network = toy_network(architectures.ARCHITECTURES[name])
    path = tmp_path / f"{name}.onnx"
    path.write_bytes(onnx_bytes(network))
    found = import_onnx(path, name)
    assert same(network, found)
    assert not found.training


def test_the_network_of_the_repository_agrees_with_onnxruntime(small_network):
    # its initialisers carry other names than our exporter gives them
    network = import_onnx(root() / "onnx/CIFAR100_resnet_small.onnx", "CIFAR100_resnet_small")
    x = np.random.default_rng(5).normal(size=(4, 3, 32, 32)).astype(np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(network(torch.from_numpy(x)).numpy(), small_network.judge(x), atol=1e-4)


def test_names_and_the_way_a_matrix_is_stored_do_not_matter(file):
    def other_way(model):
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        node = next(node for node in model.graph.node if node.op_type == "Gemm")
        tensor = stored[node.input[1]]
        turned = onnx.numpy_helper.from_array(np.ascontiguousarray(onnx.numpy_helper.to_array(tensor).T), "turned")
        tensor.CopyFrom(turned)
        node.input[1] = "turned"
        next(a for a in node.attribute if a.name == "transB").i = 0

    assert same(toy_network(), import_onnx(edited(file, other_way), "toy"))


def test_another_architecture_is_refused(file):
    with pytest.raises(
        NetworkError, match=r"toy.onnx: head.1: found 'Gemm of 6 x 128, 6'; allowed: Gemm of 7 x 128, 7"
    ):
        import_onnx(file, "other")
    with pytest.raises(
        NetworkError, match=r"input: found \(3, 8, 8\); allowed: \(3, 32, 32\), as CIFAR100_resnet_small"
    ):
        import_onnx(file, "CIFAR100_resnet_small")
    with pytest.raises(ParameterError, match="network: found 'resnet18'"):
        import_onnx(file, "resnet18")


def test_a_block_with_another_shortcut_is_refused(file, monkeypatch):
    wanted = dataclasses.replace(TOY, name="wanted", stages=(Stage(4, 1, 1), Stage(4, 1, 2)))
    monkeypatch.setitem(architectures.ARCHITECTURES, "wanted", wanted)
    with pytest.raises(
        NetworkError, match=r"blocks.1, first convolution: found 'Conv of 8 x 4 x 3 x 3 and Conv of 8 x 4"
    ):
        import_onnx(file, "wanted")
    wanted = dataclasses.replace(wanted, stages=(Stage(4, 3, 1),))
    monkeypatch.setitem(architectures.ARCHITECTURES, "wanted", wanted)
    with pytest.raises(
        NetworkError, match=r"blocks.1, .* allowed: Conv of 4 x 4 x 3 x 3, as wanted has. Name the archi"
    ):
        import_onnx(file, "wanted")


def test_a_sum_of_other_values_is_refused(file):
    def skip(model):
        add = next(node for node in model.graph.node if node.op_type == "Add")
        add.input[1] = add.input[0]

    with pytest.raises(NetworkError, match=r"edited.onnx: blocks.0: "):
        import_onnx(edited(file, skip), "toy")


def test_what_no_weight_shows_is_found_by_the_comparison_with_onnxruntime(file):
    def epsilon(model):
        norm = next(node for node in model.graph.node if node.op_type == "BatchNormalization")
        next(a for a in norm.attribute if a.name == "epsilon").f = 0.5

    with pytest.raises(
        NetworkError, match=r"difference between torch and onnxruntime: found .*The weights fit, so a str"
    ):
        import_onnx(edited(file, epsilon), "toy")


def test_foreign_networks_and_files_that_are_none_are_refused(tmp_path):
    path = toys.tiny_resnet(tmp_path)
    with pytest.raises(
        NetworkError, match=r"blocks.0, first convolution: found 'Conv of 6 x 4 x 3 x 3 and Conv of 6 x 4"
    ):
        import_onnx(path, "toy")
    with pytest.raises(NetworkError, match="network file: found .*nothing.onnx"):
        import_onnx(tmp_path / "nothing.onnx", "toy")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(NetworkError, match="no ONNX model"):
        import_onnx(tmp_path / "text.onnx", "toy")
    assert is_onnx(tmp_path / "a.onnx.gz")
    assert not is_onnx(tmp_path / "last.pt")


def test_a_run_starts_from_an_onnx_file(file, tmp_path):
    images, settings = toy_images(), toy_config(lr=0.0, ema=0.0, epochs=1)
    train(settings, images, tmp_path / "run", start=file, progress=False)
    made_with, network, history = load_network(tmp_path / "run/last.pt")
    assert torch.equal(network.head[1].weight, toy_network().head[1].weight)  # lr 0: the weights stay
    assert len(made_with.start) == 64
    train(settings, images, tmp_path / "run", start=file, progress=False)  # the same first weights: it goes on
    file.write_bytes(onnx_bytes(toy_network(seed=1)))
    with pytest.raises(CheckpointError, match="settings: found .*start"):
        train(settings, images, tmp_path / "run", start=file, progress=False)
    with pytest.raises(NetworkError, match=r"toy.onnx: head.1"):
        train(toy_config(network="other"), images, tmp_path / "second", start=file, progress=False)
    assert not (tmp_path / "second").exists()
    text = account("here", made_with, history, file)
    assert text.endswith(f"; begins with the weights of toy.onnx, sha256 {file_hash(file)}")
    write_card(file, recipe="by hand")
    assert account("here", made_with, history, file) == f"{text}; made by by hand"
    file.write_bytes(onnx_bytes(toy_network()))
    with pytest.raises(NetworkError, match=r"toy.json: "):
        account("here", made_with, history, file)

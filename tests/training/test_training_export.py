"""The ONNX file that a run ends in, its card, and the command that writes both."""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np
import onnx
import pytest
import torch
from training_toys import NORM

from nbutils.commands import train as train_command
from nbutils.core import NetworkError, ParameterError
from nbutils.networks import architectures, open_network
from nbutils.training import (
    LOSSES,
    CheckpointError,
    export_onnx,
    measure_losses,
    onnx_bytes,
    weights,
)
from nbutils.training.log import LogError
from nbutils.training.onnx_export import own_initializers


@pytest.mark.parametrize(
    ("name", "megabytes"),
    [
        ("CIFAR100_resnet_small", 5.4),
        ("CIFAR100_resnet_medium", 10.1),
        ("CIFAR100_resnet_large", 15.2),
        ("CIFAR100_resnet_super", 31.6),
        ("TinyImageNet_resnet_medium", 14.4),
    ],
)
def test_exported_file_is_like_the_published_one(name, megabytes):
    network = architectures.build(name)
    data = onnx_bytes(network)
    model = onnx.load_from_string(data)
    ops = {node.op_type for node in model.graph.node}
    assert ops == {"Conv", "BatchNormalization", "Relu", "Add", "Flatten", "Gemm"}
    assert model.opset_import[0].version == 13
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert sum(np.prod(t.dims) for t in model.graph.initializer) == architectures.parameter_count(network)
    assert len(data) / 2**20 == pytest.approx(megabytes, rel=0.06)  # the published table rounds MB in its own way


def test_card_and_parity(toy, tmp_path):
    path = export_onnx(toy, tmp_path / "toy.onnx", dataset="cifar100", normalization=NORM, recipe="toy run")
    network = open_network(path, device="cpu")
    assert network.card.recipe == "toy run"
    assert network.normalization == NORM
    assert network.card.parameters == architectures.parameter_count(toy)
    x = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(network.judge(x), toy.eval()(torch.from_numpy(x)).numpy(), atol=1e-5)


def test_export_refuses_weights_that_are_no_numbers(toy, tmp_path):
    toy.head[1].bias.data[0] = float("nan")
    with pytest.raises(NetworkError, match="toy: found 'NaN or infinite weights'"):
        export_onnx(toy, tmp_path / "toy.onnx")
    assert not list(tmp_path.iterdir())


def test_shared_initialisers_are_copied():
    from onnx import TensorProto, helper, numpy_helper

    value = numpy_helper.from_array(np.ones(2, np.float32), "a")
    nodes = [helper.make_node("Identity", ["a"], ["b"]), helper.make_node("Add", ["a", "b"], ["y"])]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    model = own_initializers(helper.make_model(helper.make_graph(nodes, "g", [], [out], [value])))
    assert [node.op_type for node in model.graph.node] == ["Add"]
    assert [tensor.name for tensor in model.graph.initializer] == ["a", "b"]


# ---- command


def arguments(*words):
    parser = argparse.ArgumentParser()
    train_command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_command_trains_exports_and_resumes(images, tmp_path, capsys, monkeypatch):
    from nbutils.images import DATASETS

    cifar = DATASETS["cifar100"]
    np.savez(tmp_path / "toy.npz", images=images.levels, labels=images.labels, class_names=images.class_names)
    monkeypatch.setitem(
        DATASETS,
        "toy",
        dataclasses.replace(cifar, name="toy", classes=3, stored=8, side=8, class_names=images.class_names),
    )
    words = ["toy", "--recipe", "adversarial", "--path", tmp_path / "toy.npz", "--out", tmp_path / "run", "--quiet"]
    for setting in ("epochs=2", "batch_size=16", "validation=16", "bfloat16=false"):
        words += ["--set", setting]
    words += ["--dataset", "toy", "--device", "cpu"]
    train_command.run(arguments(*words, "--until", 1))
    train_command.run(arguments(*words, "--export", tmp_path / "onnx"))
    network = open_network(tmp_path / "onnx/toy.onnx", device="cpu")
    assert "--recipe adversarial --set epochs=2" in network.card.recipe
    said = capsys.readouterr().out
    assert '"epoch": 1' in said
    assert said.startswith(
        f"toy on {len(images) - 16} images of npz/toy.npz, in the order of the archive, 16 set aside; "
    )
    assert "std 0.2673 0.2564 0.2761, usual for toy; radius 1/255 (recipe adversarial)" in said
    with pytest.raises(
        CheckpointError, match=r"normalisation of the images: found \[\[0.0, .*the data set's usual one"
    ):
        train_command.run(arguments(*words, "--pixels"))  # a run has one normalisation
    words[words.index(tmp_path / "run")] = tmp_path / "second"
    train_command.run(arguments(*words, "--start", tmp_path / "run/last.pt", "--export", tmp_path / "onnx"))
    assert (
        "begins with the averaged weights of a run with network=toy"
        in open_network(tmp_path / "onnx/toy.onnx", device="cpu").card.recipe
    )

    second = open_network(tmp_path / "onnx/toy.onnx", device="cpu").path
    words[words.index(tmp_path / "second")] = tmp_path / "third"
    train_command.run(arguments(*words, "--start", second, "--export", tmp_path / "third/onnx"))
    card = open_network(tmp_path / "third/onnx/toy.onnx", device="cpu").card
    assert "; begins with the weights of toy.onnx, sha256 " in card.recipe
    train_command.run(arguments(*words, "--curves", tmp_path / "curves.png"))
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "2 of 2 epochs" in capsys.readouterr().out


def test_command_on_the_card_names_a_gpu(monkeypatch):
    words = arguments("toy", "--recipe", "sabr", "--set", "lr=0.1", "--device", "cpu")
    assert train_command.command_line(words) == "python -m nbutils train toy --recipe sabr --set lr=0.1"
    monkeypatch.setattr(weights, "pick_device", lambda name: torch.device("cuda"))
    assert train_command.command_line(words).endswith(" --set lr=0.1 --device cuda")


def test_command_draws_no_curves_of_no_run(tmp_path):
    with pytest.raises(ParameterError, match=r"--curves: found .*curves.pdf'; allowed: a file name ending in .png"):
        train_command.run(arguments("toy", "--out", tmp_path, "--curves", tmp_path / "curves.pdf"))
    with pytest.raises(LogError, match=r"config.json: found 'no such file'"):
        train_command.run(arguments("toy", "--out", tmp_path, "--curves", tmp_path / "curves.png"))
    assert not list(tmp_path.iterdir())


def test_command_refuses_unknown_settings():
    with pytest.raises(
        ParameterError, match=r"--set: found 'epoch=3'; allowed: NAME=VALUE with a NAME of network, seed"
    ):
        train_command.parse_changes(["epoch=3"])
    with pytest.raises(ParameterError, match=r"--set epochs: found 'many'; allowed: a whole number"):
        train_command.parse_changes(["epochs=many"])
    with pytest.raises(ParameterError, match=r"--set bfloat16: found '1'; allowed: true or false"):
        train_command.parse_changes(["bfloat16=1"])
    assert train_command.parse_changes(["lr=0.1", "loss=sabr"]) == {"lr": 0.1, "loss": "sabr"}


def test_costs_name_every_loss_and_price_the_raw_pass_at_one(capsys):
    costs = {(cost.name, cost.images): cost for cost in measure_losses("toy", images=8, crown_images=2, turns=1)}
    assert {name for name, _ in costs} == {"raw pass", "adversary, 1 step", *LOSSES}
    assert costs["raw pass", 8].ratio == costs["raw pass", 2].ratio == 1.0
    assert all(cost.milliseconds > 0 for cost in costs.values())
    train_command.run(arguments("toy", "--costs", "--device", "cpu"))
    assert "crown-ibp-fused, 4 images" in capsys.readouterr().out
    with pytest.raises(ParameterError, match="images: found 1; allowed: 2 or more"):
        measure_losses("toy", images=1)

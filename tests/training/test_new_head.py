"""A run that begins with the convolutions of another network: what is taken, what is drawn, what is told."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from training_toys import TOY, same_weights, toy_config, toy_images, toy_network

from nbutils.core import ImageSet, NetworkError, ParameterError, root
from nbutils.networks import architectures
from nbutils.networks.architectures import Stage
from nbutils.training import CheckpointError, account, first_weights, load_network, onnx_bytes, train
from nbutils.training.plan import plan_run
from nbutils.training.weights import initial_network

LARGER = dataclasses.replace(TOY, name="larger", size=12, hidden=5, classes=4)
WIDER = dataclasses.replace(TOY, name="wider", stages=(Stage(4, 1, 1), Stage(16, 1, 2)))
STAYS = {"lr": 0.0, "ema": 0.0, "epochs": 1}  # at rate 0 the weights stay what the run began with


@pytest.fixture(autouse=True)
def _more_architectures(monkeypatch):
    for architecture in (LARGER, WIDER):
        monkeypatch.setitem(architectures.ARCHITECTURES, architecture.name, architecture)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "toy.onnx"
    path.write_bytes(onnx_bytes(toy_network()))
    return path


def test_convolutions_and_norms_are_taken_and_linear_layers_drawn(file):
    config = toy_config(network="larger", seed=3)
    found, network = first_weights(config, file, new_head=True)
    assert same_weights(network.stem, toy_network().stem)
    assert same_weights(network.blocks, toy_network().blocks)
    assert same_weights(network.head, initial_network(config).head)
    assert network.head[3].out_features == 4
    assert network(torch.zeros(1, 3, 12, 12)).shape == (1, 4)
    other_seed, _ = first_weights(toy_config(network="larger", seed=4), file, new_head=True)
    assert len(found.start) == 64
    assert found.start != other_seed.start


def test_a_head_can_be_drawn_anew_in_the_same_architecture(file):
    kept, whole = first_weights(toy_config(), file)
    drawn, network = first_weights(toy_config(), file, new_head=True)
    assert same_weights(network.blocks, whole.blocks)
    assert same_weights(network.head, initial_network(toy_config()).head)
    assert not same_weights(network.head, whole.head)
    assert kept.start != drawn.start


def test_from_a_checkpoint_and_what_is_told_of_it(tmp_path):
    images = toy_images()
    first = train(toy_config(epochs=1), images, tmp_path / "first", progress=False)
    start, settings = tmp_path / "first/last.pt", toy_config(network="other", **STAYS)
    train(settings, images, tmp_path / "second", start=start, new_head=True, progress=False)
    made_with, network, history = load_network(tmp_path / "second/last.pt")
    weights = ("stem.0.weight", "blocks.0.conv1.weight", "blocks.1.bn2.weight")
    assert all(torch.equal(network.state_dict()[name], first.state_dict()[name]) for name in weights)
    assert torch.equal(network.head[1].weight, initial_network(settings).head[1].weight)
    # the same command goes on; without --new-head it is another run
    train(settings, images, tmp_path / "second", start=start, new_head=True, progress=False)
    with pytest.raises(CheckpointError, match="found 'a checkpoint of toy'; allowed: other"):
        train(settings, images, tmp_path / "second", start=start, progress=False)
    said = account("here", made_with, history, start, new_head=True)
    assert "; begins with the averaged weights of a run with network=toy" in said
    assert " ema=0.9, all but the linear layers; 1 of 1 epochs" in said
    train(toy_config(network="other", lr=0.01, epochs=1), images, tmp_path / "third",
          start=tmp_path / "second/last.pt", progress=False)  # fmt: skip
    made_with, _, history = load_network(tmp_path / "third/last.pt")
    whole = account("here", made_with, history, tmp_path / "second/last.pt")
    assert whole.count("all but the linear layers") == 1  # the stage before remembers where its convolutions came from


def test_larger_images_train_from_convolutions_of_smaller_ones(file, tmp_path):
    small = toy_images()
    images = ImageSet(
        small.levels.repeat(2, axis=2).repeat(2, axis=3)[..., :12, :12], small.labels, small.indices,
        "larger", ("dark", "grey", "light", "none"), small.normalization,
    )  # fmt: skip
    settings = toy_config(network="larger", epochs=2)
    train(settings, images, tmp_path / "run", start=file, new_head=True, until=1, progress=False)
    train(settings, images, tmp_path / "run", start=file, new_head=True, progress=False)
    train(settings, images, tmp_path / "whole", start=file, new_head=True, progress=False)
    runs = [load_network(tmp_path / name / "last.pt")[1] for name in ("run", "whole")]
    assert same_weights(*runs)  # stopped after an epoch and continued: the same weights
    assert not same_weights(runs[0].stem, toy_network().stem)


def test_a_notebook_plans_trains_and_tells_it(file, tmp_path):
    images, settings = toy_images(), toy_config(network="other", epochs=1)
    plan = plan_run(settings, images, start=file, new_head=True, folder=tmp_path / "run")
    assert f"weights of {file}, all but the linear layers, on " in plan.describe()
    plan.train()
    straight = train(settings, images, tmp_path / "straight", start=file, new_head=True, progress=False)
    assert same_weights(load_network(tmp_path / "run/last.pt")[1], straight)
    target = plan.export("toys", "the notebook")
    assert ", all but the linear layers" in json.loads(target.with_suffix(".json").read_text())["recipe"]
    with pytest.raises(ParameterError, match="NEW_HEAD: found True; allowed: False where START is None"):
        plan_run(settings, images, new_head=True, folder=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_does_not_fit_is_refused(file, tmp_path):
    with pytest.raises(NetworkError, match="toy.onnx"):
        first_weights(toy_config(network="wider"), file, new_head=True)
    with pytest.raises(NetworkError, match="toy.onnx: input: found"):
        first_weights(toy_config(network="larger"), file)  # without new_head nothing is dropped
    with pytest.raises(ParameterError, match="new_head: found True; allowed: False where all weights are drawn"):
        first_weights(toy_config(), None, new_head=True)
    train(toy_config(epochs=1), toy_images(), tmp_path / "run", progress=False)
    with pytest.raises(CheckpointError, match="found 'a checkpoint of toy'; allowed: wider"):
        first_weights(toy_config(network="wider"), tmp_path / "run/last.pt", new_head=True)


def test_the_network_that_is_meant_can_begin_with_one_of_the_repository():
    names = ("TinyImageNet_resnet_medium", "CIFAR100_resnet_medium")
    one, other = (architectures.ARCHITECTURES[name] for name in names)
    assert (one.stem, one.stages) == (other.stem, other.stages)
    network = first_weights(toy_config(network=names[0]), root() / f"onnx/{names[1]}.onnx", new_head=True)[1]
    assert network(torch.zeros(1, 3, 56, 56)).shape == (1, 200)

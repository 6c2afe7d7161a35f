"""The first epochs on shrunk images: what the network computes there, and that a run stays one run."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from torch.nn import functional as F
from training_toys import TOY, batch_of, same_weights, toy_config, toy_images, toy_network

from nbutils.core import ParameterError
from nbutils.networks import architectures
from nbutils.training import TrainConfig, first_batch, loop, train
from nbutils.training.checkpoint import load
from nbutils.training.data import Loader
from nbutils.training.interval import IntervalPass, running_statistics
from nbutils.training.losses import training_loss
from nbutils.training.resizing import reading, shrunk

CPU = torch.device("cpu")
LOSSES = ["none", "sabr", "crown-row"]


def test_shrinking_is_antialiased_and_keeps_what_is_constant():
    line = torch.tensor([0.0, 0, 0, 1, 0, 0, 0, 0])
    pixels = line.expand(1, 1, 8, 8).contiguous()
    # at half the size a pixel inside is 1/8, 3/8, 3/8, 1/8 of the four around it; at the border 3/7, 3/7, 1/7 are left
    assert torch.allclose(shrunk(pixels, 4)[0, 0, 1], torch.tensor([0, 3 / 8, 1 / 8, 0]), atol=1e-6)
    assert torch.allclose(shrunk(pixels.flip(-1), 4)[0, 0, 1], torch.tensor([0, 1 / 8, 3 / 8, 0]), atol=1e-6)
    assert torch.allclose(shrunk(torch.full((2, 3, 8, 8), 0.7), 5), torch.full((2, 3, 5, 5), 0.7))
    assert shrunk(pixels, 8) is pixels
    noise = (torch.rand(4, 3, 56, 56) > 0.5).float()
    for side in (28, 32, 40):
        assert shrunk(noise, side).shape == (4, 3, side, side)
        assert 0 <= shrunk(noise, side).min() < shrunk(noise, side).max() <= 1


@pytest.mark.parametrize("side", [2, 3, 4, 5, 6, 7, 8])
def test_the_head_reads_the_map_of_the_blocks_interpolated(side):
    network = toy_network().double().eval()
    images = torch.rand(3, 3, side, side, dtype=torch.float64)
    features = network.blocks(network.stem(images))
    assert features.shape[-1] == TOY.side_of_features(side)
    wanted = network.head(F.interpolate(features, size=4, mode="bilinear", align_corners=False))
    with reading(network, side):
        assert torch.allclose(network(images), wanted, atol=1e-6)
        assert torch.allclose(network(images[:1]), wanted[:1], atol=1e-6)


def test_bounds_of_shrunk_images_hold_for_what_the_network_computes_there():
    network = toy_network().double().eval()
    whole = batch_of(network, n=6, eps=0.05)
    lower, upper = F.interpolate(whole.lower, size=6), F.interpolate(whole.upper, size=6)
    rng = torch.Generator().manual_seed(0)
    with reading(network, 6):
        margins = IntervalPass(network, running_statistics(network)).margins(lower, upper, whole.labels)
        lowest = torch.full_like(margins, float("inf"))
        for _ in range(50):
            points = lower + (upper - lower) * torch.rand(lower.shape, generator=rng, dtype=torch.float64)
            logits = network(points)
            lowest = torch.minimum(lowest, logits.gather(1, whole.labels[:, None]) - logits)
    assert (margins <= lowest + 1e-9).all()
    assert (margins < lowest - 1e-3).any()


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_reach_the_whole_linear_layer(loss):
    network = toy_network()
    hidden, names = network.linear[0].weight, list(network.state_dict())
    batch = batch_of(network, n=8, dtype=torch.float32)
    sides = {name: F.interpolate(getattr(batch, name), size=6) for name in ("clean", "adversarial", "lower", "upper")}
    with reading(network, 6):
        terms = training_loss(network, dataclasses.replace(batch, **sides), loss, weight=0.3, box=0.1)
    terms.total.backward()
    assert network.linear[0].weight is hidden
    assert list(network.state_dict()) == names
    assert hidden.grad is not None
    assert (hidden.grad.abs().sum(0) > 0).float().mean() > 0.9  # every pixel of the whole map, dead channels aside


def test_the_network_is_whole_again_after_an_error():
    network = toy_network()
    before = list(network.state_dict())
    with pytest.raises(RuntimeError), reading(network, 6):
        network(torch.zeros(1, 3, 8, 8))
    assert list(network.state_dict()) == before
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 3)


def test_epochs_have_their_sizes():
    config = toy_config(shrunk_epochs=2, shrunk_side=6)
    images = toy_images()
    loader = Loader(images, config, CPU)
    assert [next(loader.epoch(epoch))[0].shape[-1] for epoch in range(3)] == [6, 6, 8]
    assert config.settled == 3
    assert toy_config().side_at(0) == 8
    fed = first_batch(config, toy_network(), images)
    assert fed.pixels.shape[-2:] == fed.batch.adversarial.shape[-2:] == (6, 6)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("killed_at", [1, 4, 8])
def test_a_killed_run_goes_on_to_the_same_weights(loss, killed_at, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "EVERY", 0.0)
    config, images = toy_config(loss=loss, weight=0.3, box=0.1, shrunk_epochs=2, shrunk_side=6), toy_images()
    straight = train(config, images, tmp_path / "straight", progress=False)
    batches = 0

    class Killed(Exception):
        pass

    def kill(step) -> None:
        nonlocal batches
        batches += 1
        if batches > killed_at:
            raise Killed

    with pytest.raises(Killed):
        train(config, images, tmp_path / "killed", progress=False, on_batch=kill)
    assert same_weights(train(config, images, tmp_path / "killed", progress=False), straight)
    rows = [json.loads(line) for line in (tmp_path / "killed/log.jsonl").read_text().splitlines()]
    assert [row["side"] for row in rows] == [6, 6, 8]
    assert all("validation_clean" in row for row in rows)
    assert load(tmp_path / "killed/best.pt", config)[1]["epoch"] == 3  # accuracies on shrunk images are not compared


def test_shrunk_epochs_change_what_is_learned_and_defaults_change_no_name(tmp_path):
    images = toy_images()
    small = train(toy_config(shrunk_epochs=2, shrunk_side=6), images, tmp_path / "small", progress=False)
    assert not same_weights(small, train(toy_config(), images, tmp_path / "whole", progress=False))
    assert not {"shrunk_epochs", "shrunk_side"} & TrainConfig().as_dict().keys()
    assert json.loads((tmp_path / "small/config.json").read_text())["shrunk_side"] == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shrunk_epochs": 3, "shrunk_side": 6}, "shrunk_epochs: found 3; allowed: below 3."),
        (
            {"shrunk_epochs": 1},
            "shrunk_side: found 0; allowed: fewer pixels than the 8 of toy, and enough for its blocks.",
        ),
        ({"shrunk_epochs": 1, "shrunk_side": 8}, "shrunk_side: found 8; allowed: fewer pixels"),
        (
            {"shrunk_epochs": 1, "shrunk_side": 6, "loss": "crown-ibp"},
            "certified_from: found 0; allowed: 1, the shrunk_epochs, or more: the bounds of crown-ibp need whole",
        ),
        ({"shrunk_epochs": -1}, "shrunk_epochs: found -1; allowed: a whole number"),
        ({"shrunk_epochs": 1, "shrunk_side": 6.5}, "shrunk_side: found 6.5; allowed: a whole number"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ParameterError) as error:
        toy_config(**changes)
    assert message in str(error.value)


def test_bounds_of_auto_lirpa_begin_with_the_whole_images(tmp_path):
    config = toy_config(loss="crown-ibp", certified_from=2, weight=0.3, box=0.1, shrunk_epochs=2, shrunk_side=6)
    train(config, toy_images(), tmp_path, progress=False)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["certified"] > 0 for row in rows] == [False, False, True]


def test_images_that_vanish_in_the_blocks_are_refused(monkeypatch):
    deep = dataclasses.replace(TOY, name="deep", stem=(4, 2, 0))
    monkeypatch.setitem(architectures.ARCHITECTURES, "deep", deep)
    assert deep.side_of_features(2) < 1
    with pytest.raises(ParameterError, match="shrunk_side: found 2"):
        toy_config(network="deep", shrunk_epochs=1, shrunk_side=2)

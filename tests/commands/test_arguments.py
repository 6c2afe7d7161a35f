"""Arguments shared by commands: images set aside for choosing between networks, and the command noted with a figure."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
import toys

from nbutils.commands.arguments import add_images, chosen, fitted, images_from
from nbutils.core import Box, ImageSet, Normalization, ParameterError
from nbutils.images import load_images
from nbutils.networks import open_network
from nbutils.networks.opening import write_card
from nbutils.properties import make_property, write_text
from nbutils.training import split


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "some.npz"
    levels = np.random.default_rng(0).integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)
    np.savez(path, images=levels, labels=np.arange(12))
    return path


def parsed(archive, *more):
    parser = argparse.ArgumentParser()
    add_images(parser)
    words = ["--images", "npz", "--path", archive, "--dataset", "cifar100", *more]
    return parser.parse_args([str(word) for word in words])


def test_set_aside_are_the_images_that_training_does_not_see(archive):
    seen, aside = split(load_images("npz", path=archive, dataset="cifar100"), 5)
    found = images_from(parsed(archive, "--set-aside", 5))
    assert found.ids == aside.ids
    assert set(found.ids).isdisjoint(seen.ids)
    assert found.indices.tolist() == aside.indices.tolist()  # their places in the archive


def test_a_sample_is_drawn_from_those_set_aside_and_the_command_says_so(archive):
    args = parsed(archive, "--set-aside", 5, "--count", 2)
    aside = images_from(parsed(archive, "--set-aside", 5))
    assert set(images_from(args).ids) < set(aside.ids)
    assert "--set-aside 5 --count 2" in " ".join(chosen(args))


@pytest.mark.parametrize(("more", "part"), [((), "test"), (("--set-aside", "2"), "train")])
def test_of_a_data_set_only_training_images_are_set_aside(archive, monkeypatch, more, part):
    read = []

    def load(*_, split="test", **__):
        read.append(split)
        return load_images("npz", path=archive, dataset="cifar100")

    monkeypatch.setattr("nbutils.images.sources.load_images", load)
    parser = argparse.ArgumentParser()
    add_images(parser)
    images_from(parser.parse_args(["--images", "cifar100", *more]))
    assert read == [part]


def test_the_command_says_the_normalisation_that_was_stated(archive):
    args = parsed(archive, "--mean", 0.5, "--std", 0.25, 0.5, 0.125)
    assert " ".join(chosen(args)).endswith("--dataset cifar100 --mean 0.5 --std 0.25 0.5 0.125")
    assert chosen(parsed(archive, "--pixels"))[-1] == "--pixels"


@pytest.mark.parametrize("more", [(), ("--pixels",)])
def test_property_files_are_read_with_the_networks_normalisation(tmp_path, more):
    """Today `--images properties` asked for --dataset, whatever the card said."""
    path = toys.linear_net(tmp_path)
    network = open_network(path, device="cpu")
    normalization = toys.HALF if not more else Normalization((0.0,), (1.0,))
    if not more:
        write_card(path, normalization=toys.HALF)
    levels = np.array([[[[10, 20], [30, 40]]]], dtype=np.uint8)
    image = ImageSet(levels, np.array([1]), np.array([5]), "toy", ("a", "b", "c"), normalization)
    box = Box.around(image.pixels, normalization, 2 / 255)
    (tmp_path / "one.vnnlib").write_text(write_text(make_property(image, 0, box, 3, network.name, 2 / 255), "2.0"))
    parser = argparse.ArgumentParser()
    parser.add_argument("network")
    add_images(parser)
    args = parser.parse_args([str(path), "--images", "properties", "--path", str(tmp_path / "one.vnnlib"), *more])
    found = fitted(args)[1]
    assert (found.levels == levels).all()
    assert found.labels.tolist() == [1]
    assert found.normalization == normalization
    assert found.class_names == ("class 0", "class 1", "class 2")


def test_figures_of_images_set_aside_stay_off_the_card(archive):
    args = parsed(archive, "--set-aside", 5)
    args.write_card = True
    with pytest.raises(ParameterError, match="--write-card with --set-aside: found 5"):
        images_from(args)


@pytest.mark.parametrize("number", [0, -1, 12])
def test_impossible_numbers_are_refused(archive, number):
    with pytest.raises(ParameterError, match=f"--set-aside: found {number}; .*1 to 11"):
        images_from(parsed(archive, f"--set-aside={number}"))

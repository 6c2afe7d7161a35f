"""Arguments shared by commands: images set aside for choosing between networks, and the command noted with a figure."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from nbutils.commands.arguments import add_images, chosen, images_from
from nbutils.errors import ParameterError
from nbutils.images import load_images
from nbutils.training.data import split


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

    monkeypatch.setattr("nbutils.images.load_images", load)
    parser = argparse.ArgumentParser()
    add_images(parser)
    images_from(parser.parse_args(["--images", "cifar100", *more]))
    assert read == [part]


def test_figures_of_images_set_aside_stay_off_the_card(archive):
    args = parsed(archive, "--set-aside", 5)
    args.write_card = True
    with pytest.raises(ParameterError, match="--write-card with --set-aside: found 5"):
        images_from(args)


@pytest.mark.parametrize("number", [0, -1, 12])
def test_impossible_numbers_are_refused(archive, number):
    with pytest.raises(ParameterError, match=f"--set-aside: found {number}; .*1 to 11"):
        images_from(parsed(archive, f"--set-aside={number}"))

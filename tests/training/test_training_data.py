"""Which images are trained on, set aside and left out; crops; what an epoch is made of."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from training_toys import CPU, NORM
from training_toys import toy_config as config

from nbutils.core import Box, ImageSet, ParameterError
from nbutils.training import (
    account,
    split,
    training_images,
)
from nbutils.training.data import PAD, Loader, Pixels, augment, check_images, without_tested


def test_validation_images_are_fixed_by_their_pixels(images):
    training, validation = split(images, 10)
    shuffled = images.take(np.random.default_rng(1).permutation(len(images)))
    again = split(shuffled, 10)
    assert len(training) == 54
    assert set(again[1].ids) == set(validation.ids)
    assert not set(training.ids) & set(validation.ids)
    assert max(validation.ids) < min(training.ids)


def test_crops_are_windows_of_the_padded_image():
    rng = np.random.default_rng(0)
    padded = torch.from_numpy(rng.integers(0, 256, (6, 3, 8 + 2 * PAD, 8 + 2 * PAD), dtype=np.uint8))
    found = augment(padded, 8, "crop-flip", np.random.default_rng(5))
    assert found.shape == (6, 3, 8, 8)
    for image, source in zip(found, padded, strict=True):
        windows = source.unfold(1, 8, 1).unfold(2, 8, 1).permute(1, 2, 0, 3, 4).reshape(-1, 3, 8, 8)
        assert any(torch.equal(w, image) or torch.equal(w.flip(-1), image) for w in windows)
    assert torch.equal(found, augment(padded, 8, "crop-flip", np.random.default_rng(5)))
    assert not torch.equal(found, augment(padded, 8, "crop-flip", np.random.default_rng(6)))
    cut = augment(padded, 8, "crop-flip-cutout", np.random.default_rng(5))
    assert 0 < (cut != found).float().mean() < 1
    assert torch.equal(augment(padded, 8, "none", rng), padded[:, :, PAD:-PAD, PAD:-PAD])


def bordered(count=64):
    """Toy images with a border of 2 stored pixels on each side, and the same without it."""
    rng = np.random.default_rng(7)
    levels = rng.integers(0, 256, (count, 3, 12, 12), dtype=np.uint8)
    labels = rng.integers(0, 3, count)
    both = [ImageSet(part, labels, np.arange(count), "toy", ("a", "b", "c"), NORM) for part in
            (levels, np.ascontiguousarray(levels[..., 2:-2, 2:-2]))]  # fmt: skip
    return both


def test_crops_move_into_the_pixels_that_the_source_stores(toy):
    stored, _ = bordered()
    windows = torch.from_numpy(stored.levels).unfold(2, 8, 1).unfold(3, 8, 1)  # [N, C, 5, 5, 8, 8]
    assert windows.shape[2:4] == (5, 5)
    loader, seen = Loader(stored, config(augment="crop-flip"), CPU), set()
    for epoch in range(4):
        order = loader.order(epoch)
        for number, (pixels, _) in enumerate(loader.epoch(epoch)):
            for row, image in zip(order[number * 16 :][:16], (pixels * 255).round().to(torch.uint8), strict=True):
                same = [(windows[row, :, y, x] == picture).all() for picture in (image, image.flip(-1))
                        for y in range(5) for x in range(5)]  # fmt: skip
                assert sum(map(int, same)) >= 1
                seen.add(int(torch.stack(same).int().argmax()) % 25)
    assert {0, 4, 20, 24} <= seen  # the corners, which no reflection would give


def test_images_are_set_aside_by_the_part_that_the_network_sees():
    stored, plain = bordered()
    kept, aside = split(stored, 10, 8)
    assert (kept.levels.shape[-1], aside.levels.shape[-1]) == (12, 8)
    assert aside.ids == split(plain, 10)[1].ids
    check_images(config(), stored)
    with pytest.raises(ParameterError, match=r"image shape: found \(3, 14, 14\); allowed: \(3, 8, 8\)"):
        check_images(config(), dataclasses.replace(stored, levels=np.zeros((64, 3, 14, 14), np.uint8)))


def test_a_training_image_that_is_a_test_image_is_left_out_and_said():
    stored, plain = bordered()
    tests = dataclasses.replace(plain.take([5, 40]), labels=np.array([0, 1]))  # the label does not matter
    rest = without_tested(stored, tests)
    assert rest.indices.tolist() == [n for n in range(64) if n not in (5, 40)]
    assert rest.origin.notes == ("left out 2 that equal one of the 2 test images in every pixel",)
    changed = dataclasses.replace(tests, levels=tests.levels ^ np.uint8(1))
    assert without_tested(stored, changed).origin.notes == ("none equals one of the 2 test images",)
    said = account("here", config(), [{"seconds": 1}], notes=rest.origin.notes)
    assert said.endswith("; training images: left out 2 that equal one of the 2 test images in every pixel")


def test_training_images_are_compared_with_the_test_images_given(tmp_path):
    rng = np.random.default_rng(1)
    levels, labels = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8), np.arange(6) % 3
    np.savez(tmp_path / "train.npz", images=levels, labels=labels, names=np.array(["a", "b", "c"]))
    np.savez(tmp_path / "test.npz", images=levels[[4]], labels=labels[[4]], names=np.array(["a", "b", "c"]))
    found = training_images("npz", path=tmp_path / "train.npz", normalization=NORM, tests=tmp_path / "test.npz")
    assert found.indices.tolist() == [0, 1, 2, 3, 5]
    assert len(training_images("npz", path=tmp_path / "train.npz", normalization=NORM)) == 6
    with pytest.raises(ParameterError, match="test images: found 'x'; allowed: nothing, as cifar100 has a test split"):
        training_images("cifar100", tests="x")


def test_epochs_are_keyed_by_seed_and_number(images):
    def labels(seed, epoch):
        loader = Loader(images, config(seed=seed), CPU)
        assert loader.batches == 4
        return torch.cat([labels for _, labels in loader.epoch(epoch)])

    assert torch.equal(labels(0, 1), labels(0, 1))
    assert not torch.equal(labels(0, 1), labels(0, 2))
    assert not torch.equal(labels(0, 1), labels(1, 1))


def test_pixel_box_is_the_one_of_records(images):
    box = Box.around(images.pixels, NORM, 3 / 255)
    lower, upper = Pixels(NORM, CPU).box(torch.from_numpy(images.pixels), 3 / 255)
    np.testing.assert_allclose(lower, box.lower, atol=1e-6)
    np.testing.assert_allclose(upper, box.upper, atol=1e-6)

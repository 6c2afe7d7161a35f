"""The archive of selected images: pixels travel with the selections, once each, whatever the order they came in."""

from __future__ import annotations

import numpy as np
import pytest
import toys

from nbutils.core import ImageError, ImageSet
from nbutils.selection import keep_images, selected_images

NAMES = ("a", "b")


def images(count: int = 6, seed: int = 0, side: int = 4) -> ImageSet:
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    return ImageSet(levels, np.arange(count) % 2, 10 + np.arange(count), "toy", NAMES, toys.HALF)


def test_kept_images_come_back_with_label_and_true_index(tmp_path):
    every = images()
    assert keep_images(tmp_path / "x" / "toy.npz", every, {every.keys[4], every.keys[1]}) == 2
    found = selected_images(tmp_path / "x" / "toy.npz")
    assert found.keys == (every.keys[1], every.keys[4])
    assert (found.indices.tolist(), found.labels.tolist()) == ([11, 14], [1, 0])
    assert found.class_names == NAMES
    assert found.normalization is None


def test_the_bytes_do_not_depend_on_order_or_on_how_often_an_image_is_kept(tmp_path):
    every = images()
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    keep_images(one, every, set(every.keys))
    for row in (5, 0, 3, 3, 1, 2, 4):
        keep_images(two, every.take([row]), set(every.keys))
    assert one.read_bytes() == two.read_bytes()


def test_an_archive_of_other_images_is_refused_and_kept(tmp_path):
    path = tmp_path / "toy.npz"
    keep_images(path, images(), set(images().keys))
    before = path.read_bytes()
    with pytest.raises(ImageError, match="shape and classes"):
        keep_images(path, images(side=5), set(images(side=5).keys))
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_a_damaged_archive_is_one_clear_error(tmp_path, content):
    path = tmp_path / "toy.npz"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="toy.npz: cannot be read .*an archive of selected images"):
        selected_images(path)


def test_a_changed_pixel_makes_the_image_another_one(tmp_path):
    every = images()
    keep_images(tmp_path / "toy.npz", every, set(every.keys))
    with np.load(tmp_path / "toy.npz") as archive:
        arrays = dict(archive)
    arrays["levels"][2, 0, 0, 0] ^= 1
    np.savez(tmp_path / "toy.npz", **arrays)
    assert every.keys[2] not in selected_images(tmp_path / "toy.npz").keys
    np.savez(tmp_path / "toy.npz", **{**arrays, "levels": arrays["levels"].astype(np.float32)})
    with pytest.raises(ImageError, match="type of levels: found"):
        selected_images(tmp_path / "toy.npz")

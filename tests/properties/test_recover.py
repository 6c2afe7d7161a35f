"""The image inside a property: exact levels, also where clipping cut the box."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbutils.core import Box, Normalization, ParameterError, Property, PropertyError
from nbutils.properties import read_property, recover_levels, write_text

CIFAR = Normalization((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761))
TINY = Normalization((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262))


def around(levels: np.ndarray, normalization: Normalization, eps: float, label: int = 0, classes: int = 3) -> Property:
    box = Box.around(levels[None].astype(np.float32) / np.float32(255), normalization, eps)
    return Property(box.lower.ravel(), box.upper.ravel(), label, classes, levels.shape, "p")


@pytest.mark.parametrize("name", ["CIFAR100_resnet_small", "CIFAR100_resnet_medium", "CIFAR100_resnet_super", "Tiny"])
def test_published_files_from_their_images(shared: Path, name: str) -> None:
    """Read, recover the image, make the box anew, write: the published bytes."""
    (file,) = (shared / "official").glob(f"{name}*_prop_*.gz")
    normalization = TINY if name == "Tiny" else CIFAR
    prop = read_property(file)
    levels, eps = recover_levels(prop, normalization)
    assert eps == 1 / 255
    assert levels.dtype == np.uint8
    again = around(levels, normalization, eps, prop.label, prop.classes)
    assert write_text(again).encode() == gzip.decompress(file.read_bytes())


@pytest.mark.parametrize("eps", [1 / 255, 3 / 255, 0.5 / 255, 8 / 255, 0.0039, 0.03, 0.00198, 0.1])
def test_every_level_of_every_channel(eps: float) -> None:
    levels = np.broadcast_to(np.arange(256, dtype=np.uint8), (3, 1, 256)).reshape(3, 16, 16)
    found, radius = recover_levels(around(levels, CIFAR, eps), CIFAR)
    assert np.array_equal(found, levels)
    assert radius == eps


@pytest.mark.parametrize("level", [0, 255])
def test_images_cut_everywhere(level: int) -> None:
    """A black or white image has boxes of one radius' width, the middle is half a radius off."""
    levels = np.full((3, 2, 2), level, dtype=np.uint8)
    found, radius = recover_levels(around(levels, CIFAR, 1 / 255), CIFAR)
    assert np.array_equal(found, levels)
    assert radius == 1 / 255


def test_minus_zero_is_zero() -> None:
    """Mean 0 puts a black pixel's lower bound at 0, which others may write as -0.0."""
    unit = Normalization((0.0,), (1.0,))
    prop = around(np.zeros((1, 2, 2), dtype=np.uint8), unit, 1 / 255)
    minus = Property(-prop.lower, prop.upper, 0, 3, (1, 2, 2), "p")
    assert np.signbit(minus.lower).all()
    assert (recover_levels(minus, unit)[0] == 0).all()


@given(st.binary(min_size=12, max_size=12), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_any_image_and_radius(data: bytes, steps: int) -> None:
    levels = np.frombuffer(data, dtype=np.uint8).reshape(3, 2, 2)
    found, _ = recover_levels(around(levels, TINY, steps / 255), TINY, steps / 255)
    assert np.array_equal(found, levels)


def test_refusals() -> None:
    levels = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    prop = around(levels, CIFAR, 1 / 255)
    with pytest.raises(PropertyError, match=r"p: found bounds that no image of levels 0-255 gives .* Pass the normal"):
        recover_levels(prop, TINY)
    with pytest.raises(PropertyError, match=r"radius \[0.0078"):
        recover_levels(prop, CIFAR, 2 / 255)
    with pytest.raises(ParameterError, match="eps: found 2"):
        recover_levels(prop, CIFAR, 2)
    with pytest.raises(PropertyError, match=r"p: shape: found \(3, 2, 2\); allowed: \(1, H, W\)"):
        recover_levels(prop, Normalization((0.5,), (0.5,)))
    with pytest.raises(PropertyError, match=r"found radius 0.6; allowed: one below 0.5"):
        recover_levels(around(np.full((3, 2, 2), 128, np.uint8), CIFAR, 0.6), CIFAR, 0.6)
    moved = Property(prop.lower, np.nextafter(prop.upper, np.float32(9)), 0, 3, (3, 2, 2), "p")
    with pytest.raises(PropertyError, match="no image of levels"):
        recover_levels(moved, CIFAR)

"""The door, the embedded images, archives and folders: right pixels, and one clear error for each bad input."""

from __future__ import annotations

import importlib
import importlib.util
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_toys import LABELS, LEVELS, PIXELS, load_own
from PIL import Image

from nbutils.core import ImageError, Normalization, ParameterError
from nbutils.images import CIFAR100, SOURCES, TINYIMAGENET, center_crop, load_images
from nbutils.images.datasets import CIFAR100_NAMES
from nbutils.images.picture_files import read_picture

# --- the embedded twenty -----------------------------------------------------------------------------------------


def test_embedded_are_test_images_0_to_19() -> None:
    images = load_images()
    assert images.levels.shape == (20, 3, 32, 32)
    assert images.levels.dtype == np.uint8
    assert images.indices.tolist() == list(range(20))
    words = ["mountain", "forest", "seal", "mushroom", "sea", "tulip", "camel", "butterfly", "cloud", "apple"]
    assert [images.name_of(label) for label in images.labels[:10]] == words
    assert images.class_names == CIFAR100_NAMES
    assert images.normalization == Normalization((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761))
    assert len(set(images.ids)) == 20


def test_embedded_pixels_against_matplotlib() -> None:
    """An independent PNG reader sees the same levels, in the same axes."""
    from matplotlib.image import imread

    data = Path(importlib.util.find_spec("foolbox").submodule_search_locations[0]) / "data"
    picture = imread(data / "cifar100_03_51.png")  # float [H, W, 3] in [0, 1]
    assert (np.rint(picture * 255).astype(np.uint8).transpose(2, 0, 1) == load_images().levels[3]).all()


def test_embedded_needs_no_torch() -> None:
    code = "import sys; from nbutils.images.sources import load_images; load_images(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_cifar100_names() -> None:
    assert len(set(CIFAR100_NAMES)) == 100
    assert list(CIFAR100_NAMES) == sorted(CIFAR100_NAMES)
    assert [CIFAR100_NAMES[k] for k in (0, 49, 51, 99)] == ["apple", "mountain", "mushroom", "worm"]


def test_embedded_are_in_the_shared_test_images(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shared copy is sorted by class; by hash and label the twenty are among it."""
    monkeypatch.syspath_prepend(shared / "data")
    read_split = importlib.import_module("unpack").read_split
    np.savez(tmp_path / "test.npz", **read_split([shared / "data" / "cifar100" / "test.tar"]))
    everything = load_images("npz", path=tmp_path / "test.npz", dataset="cifar100")
    assert len(everything) == 10_000
    label_of = dict(zip(everything.ids, everything.labels, strict=True))
    twenty = load_images()
    assert [label_of[image_id] for image_id in twenty.ids] == twenty.labels.tolist()


# --- the door ----------------------------------------------------------------------------------------------------


def test_unknown_source_lists_sources() -> None:
    with pytest.raises(ParameterError, match="images: found 'imagenet'; allowed: " + ", ".join(SOURCES)):
        load_images("imagenet")


@pytest.mark.parametrize(
    ("source", "keywords", "name"),
    [
        ("embedded", {"path": "x"}, "path"),
        ("embedded", {"split": "train"}, "split"),
        ("npz", {"path": "x", "download": True}, "download"),
        ("cifar100", {"class_names": ["a"]}, "class_names"),
        ("tinyimagenet", {"dataset": "cifar100"}, "dataset"),
    ],
)
def test_parameter_a_source_does_not_take(source: str, keywords: dict, name: str) -> None:
    with pytest.raises(ParameterError, match=f"{name}: found .* as source {source} takes no {name}"):
        load_images(source, **keywords)


@pytest.mark.parametrize("source", ["npz", "folder"])
def test_path_is_needed(source: str) -> None:
    with pytest.raises(ParameterError, match=f"path: found None; allowed: the file or folder for source {source}"):
        load_images(source)


def test_normalization_replaces_the_data_sets() -> None:
    images = load_images(normalization=PIXELS)
    assert images.normalization == PIXELS
    assert images.ids == load_images().ids


def test_normalization_with_other_channels() -> None:
    with pytest.raises(ParameterError, match="normalization: found '1 channels'; allowed: 3, as the images have"):
        load_images(normalization=Normalization((0.5,), (0.5,)))


def png_bytes() -> bytes:
    file = io.BytesIO()
    Image.fromarray(LEVELS[0]).save(file, format="PNG")
    return file.getvalue()


def npz_bytes() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, images=LEVELS, labels=LABELS)
    return file.getvalue()


DAMAGE = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None)
@given(damage=DAMAGE, whole=st.sampled_from([("a.png", png_bytes()), ("own.npz", npz_bytes())]))
def test_damaged_bytes_end_in_an_image_error(
    tmp_path_factory: pytest.TempPathFactory, damage: list, whole: tuple
) -> None:
    """Whatever bytes are flipped, the outcome is images or one of our errors."""
    name, content = whole
    content = bytearray(content)
    for position, value in damage:
        content[position % len(content)] = value
    file = tmp_path_factory.getbasetemp() / name
    file.write_bytes(content)
    assert name in outcome(read_picture if name == "a.png" else load_own, file)


def outcome(read: Callable[[Path], object], file: Path) -> str:
    """The file's name after success, else the message of the ImageError; other errors pass through."""
    try:
        read(file)
    except ImageError as error:
        return str(error)
    return file.name


@given(st.integers(2, 9), st.integers(2, 9), st.data())
def test_center_crop(height: int, width: int, data: st.DataObject) -> None:
    """The rows and columns cut off on both sides differ by one at most, the larger share below and right."""
    size = data.draw(st.integers(1, min(height, width)))
    rows, columns = center_crop(np.stack(np.mgrid[:height, :width]), size)
    for axis, length in ((rows[:, 0], height), (columns[0], width)):
        assert len(axis) == size
        assert 0 <= (length - 1 - axis[-1]) - axis[0] <= 1
    with pytest.raises(ImageError, match="image size: found .* allowed: at least 10 x 10"):
        center_crop(np.zeros((height, width)), 10)


def test_published_sizes() -> None:
    assert (CIFAR100.side, CIFAR100.classes) == (32, 100)
    assert (TINYIMAGENET.side, TINYIMAGENET.stored, TINYIMAGENET.classes) == (56, 64, 200)
    assert TINYIMAGENET.normalization == Normalization((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262))

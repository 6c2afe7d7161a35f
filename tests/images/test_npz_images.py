"""Images in npz archives: layouts, names, and what is refused."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from image_toys import LABELS, LEVELS, NAMES, RNG, archive, load_own

import nbutils.images.picture_files
from nbutils.core import ImageError, Normalization, ParameterError
from nbutils.images import CIFAR100, load_images
from nbutils.images.datasets import CIFAR100_NAMES

# --- archives ----------------------------------------------------------------------------------------------------


def test_npz_layouts_and_types_agree(tmp_path: Path) -> None:
    wanted = LEVELS.transpose(0, 3, 1, 2)
    exact32 = LEVELS.astype(np.float32) / np.float32(255)
    variants = [LEVELS, wanted, LEVELS / 255, exact32, LEVELS * np.float32(1 / 255), exact32.transpose(0, 3, 1, 2)]
    for variant in variants:
        images = load_own(archive(tmp_path, images=variant))
        assert (images.levels == wanted).all()
        assert images.levels.flags.c_contiguous
        assert images.labels.tolist() == LABELS.tolist()
        assert images.indices.tolist() == [0, 1, 2, 3]
    assert images.class_names == NAMES
    assert images.source == "npz/own.npz"


def test_npz_fields_of_the_archive(tmp_path: Path) -> None:
    levels = RNG.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    file = archive(
        tmp_path, images=levels, labels=np.uint8([99, 0]), indices=[7, 3], dataset="cifar100", names=["a", "b"]
    )
    images = load_images("npz", path=file)
    assert images.indices.tolist() == [7, 3]
    assert images.class_names == CIFAR100_NAMES
    assert images.normalization == CIFAR100.normalization
    named = load_own(archive(tmp_path, class_names=["x", "y", "z"]), class_names=None)
    assert named.class_names == ("x", "y", "z")


def test_npz_one_channel(tmp_path: Path) -> None:
    grey = Normalization((0.5,), (0.25,))
    images = load_own(archive(tmp_path, images=LEVELS[..., :1]), normalization=grey)
    assert (images.levels[:, 0] == LEVELS[..., 0]).all()


def test_npz_of_stored_size_is_cropped_for_the_data_set(tmp_path: Path) -> None:
    levels = RNG.integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    names = [str(k) for k in range(200)]
    file = archive(tmp_path, images=levels, labels=[0], class_names=names, dataset="tinyimagenet")
    images = load_images("npz", path=file)
    assert (images.levels[0] == levels[0, 4:60, 4:60].transpose(2, 0, 1)).all()


BAD_ARRAYS = {
    "dtype": ({"images": LEVELS.astype(np.complex64)}, r"images: found 'complex64'; allowed: uint8, or float32/64"),
    "half": ({"images": (LEVELS / 255).astype(np.float16)}, r"images: found 'float16'; allowed: uint8, or float32/64"),
    "deep": ({"images": LEVELS.astype(np.uint16) * 257}, r"images: found 'uint16 from \d+ to 65\d+'; allowed: levels"),
    "signed": ({"images": LEVELS.astype(np.int64) - 128}, r"images: found 'int64 from -128 to \d+'; allowed: levels"),
    "binary": ({"images": LEVELS // 128}, r"images: found 'uint8 with 0 and 1 only'.*Save 0 and 255, or float32"),
    "one picture": ({"images": LEVELS[0]}, r"found \('uint8', \(5, 6, 3\)\).*One picture alone is images\[None\]"),
    "flat colours": ({"images": np.zeros((4, 3072), np.uint8)}, r"flat rows do not say which"),
    "not one-hot": ({"labels": np.ones((4, 3), int)}, r"labels: found '\(4, 3\) numbers'; allowed: one-hot rows"),
    "four channels": ({"images": np.zeros((4, 5, 6, 4), np.uint8)}, r"with C 1 or 3"),
    "either layout": ({"images": np.zeros((4, 3, 6, 3), np.uint8)}, r"with C 1 or 3"),
    "empty": ({"images": LEVELS[:0], "labels": LABELS[:0]}, r"images: found .*\(0, 5, 6, 3\)"),
    "normalised": ({"images": LEVELS / 128 - 1}, r"images: found 'numbers outside \[0, 1\], or NaN'.*Do not normalise"),
    "NaN": ({"images": np.full(LEVELS.shape, np.nan)}, "outside"),
    "off the grid": ({"images": LEVELS / 255 * 0.999}, r"off the grid'; allowed: multiples of 1/255"),
    "label type": ({"labels": LABELS.astype(float)}, r"labels: found \('float64', \(4,\)\); allowed: integers \[4\]"),
    "label count": ({"labels": LABELS[:3]}, r"labels: found \('int64', \(3,\)\); allowed: integers \[4\]"),
    "label too large": ({"labels": [0, 1, 2, 3]}, r"label of image 3: found 3; allowed: 0 to 2"),
    "label negative": ({"labels": [0, -1, 2, 1]}, r"label of image 1: found -1; allowed: 0 to 2"),
    "indices": ({"indices": [0, 1, 1, 2]}, r"indices: found 'repeated or negative numbers'"),
    "objects": ({"labels": np.array([0, 1, 2, None])}, r"cannot be read \(Object arrays cannot be loaded"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_npz_refuses(tmp_path: Path, case: str) -> None:
    arrays, message = BAD_ARRAYS[case]
    with pytest.raises(ImageError, match=message) as caught:
        load_own(archive(tmp_path, **arrays))
    assert "own.npz" in str(caught.value)


def test_npz_missing_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", images=LEVELS)
    with pytest.raises(ImageError, match=r"own.npz: found \['images'\]; allowed: an archive with the array labels"):
        load_own(tmp_path / "own.npz")


# name of the case: arrays, split, and what is read: images array, labels array. All of them ended in
# "found []; allowed: an archive with the array images" before.
USUAL_NAMES = {
    "keras test": ({"x_test": 0, "y_test": 0, "x_train": 1, "y_train": 1}, "test", ("x_test", "y_test")),
    "keras train": ({"x_test": 1, "y_test": 1, "x_train": 0, "y_train": 0}, "train", ("x_train", "y_train")),
    "medmnist": ({"train_images": 1, "test_images": 0, "val_images": 1, "train_labels": 1, "test_labels": 0,
                  "val_labels": 1}, "test", ("test_images", "test_labels")),
    "x, y": ({"x": 0, "y": 0}, "test", ("x", "y")),
    "X, Y": ({"X": 0, "Y": 0}, "train", ("X", "Y")),
    "data, targets": ({"data": 0, "targets": 0}, "test", ("data", "targets")),
    "fine labels": ({"data": 0, "coarse_labels": 1, "fine_labels": 0}, "test", ("data", "fine_labels")),
    "positions": ({"arr_0": 0, "arr_1": 0}, "test", ("arr_0", "arr_1")),
    "the documented names go first": ({"images": 0, "x": 1, "labels": 0, "y": 1}, "test", ("images", "labels")),
}  # fmt: skip


@pytest.mark.parametrize("case", USUAL_NAMES)
def test_npz_usual_names(tmp_path: Path, case: str) -> None:
    places, split, (image_name, label_name) = USUAL_NAMES[case]
    is_label = [name.lower().startswith("y") or "label" in name or name in ("targets", "arr_1") for name in places]
    values = {  # 0: what is to be read; 1: something else of the same kind
        name: (LABELS[:, None] if label else LEVELS) if place == 0 else (LABELS[::-1] if label else 255 - LEVELS)
        for (name, place), label in zip(places.items(), is_label, strict=True)
    }
    np.savez(tmp_path / "own.npz", **values)
    images = load_own(tmp_path / "own.npz", split=split)
    assert (images.levels == LEVELS.transpose(0, 3, 1, 2)).all()
    assert images.labels.tolist() == LABELS.tolist()  # [N, 1] was refused before
    said = f"images are the array {image_name}, labels {label_name}"
    assert images.origin.notes == (() if image_name == "images" else (said,))


def test_npz_where_two_arrays_fit_none_is_taken(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=LEVELS, data=255 - LEVELS, y=LABELS)
    with pytest.raises(ImageError, match=r"arrays that may hold images: found \['x', 'data'\]; allowed: one. Rename"):
        load_own(tmp_path / "own.npz")
    np.savez(tmp_path / "own.npz", x_train=LEVELS, y_train=LABELS)
    with pytest.raises(ImageError, match=r"found \['x_train', 'y_train'\]; allowed: an archive with the array images"):
        load_own(tmp_path / "own.npz")  # training images are not taken for test images


GREY = LEVELS[..., 0]
# name: images as stored, as read [N, C, H, W], what is said
LAYOUTS = {
    "grey without channels": (GREY, GREY[:, None], ()),
    "flat grey": (GREY[:, :5, :5].reshape(4, 25), GREY[:, None, :5, :5], ("flat rows read as 5 x 5 grey pictures",)),
    "int64 levels": (LEVELS.astype(np.int64), LEVELS.transpose(0, 3, 1, 2), ()),
    "float levels": (LEVELS.astype(np.float32), LEVELS.transpose(0, 3, 1, 2),
                     ("float32 whole numbers read as levels 0 to 255",)),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYOUTS)
def test_npz_usual_layouts(tmp_path: Path, case: str) -> None:
    stored, wanted, said = LAYOUTS[case]
    images = load_own(archive(tmp_path, images=stored), normalization=None)
    assert (images.levels == wanted).all()
    assert images.origin.notes == said


def test_npz_one_hot_labels(tmp_path: Path) -> None:
    for kind in (np.uint8, np.float32, bool):
        images = load_own(archive(tmp_path, labels=np.eye(3)[LABELS].astype(kind)))
        assert images.labels.tolist() == LABELS.tolist()
        assert images.origin.notes == ("one-hot labels read as class numbers",)


def test_npz_missing_or_no_archive(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="none.npz: found 'no such file'; allowed: a NumPy archive"):
        load_own(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ImageError, match=r"text.npz: cannot be read .*Write it with numpy.savez_compressed"):
        load_own(tmp_path / "text.npz")


def test_npz_without_names_and_normalization(tmp_path: Path) -> None:
    file = archive(tmp_path)
    images = load_images("npz", path=file)  # refused before a network's card was looked at, before
    assert images.class_names == ("class 0", "class 1", "class 2")
    assert images.normalization is None
    assert images.origin.numbered
    assert images.origin.classes == "numbers, no names in the archive"
    assert not images.origin.settled
    with pytest.raises(ParameterError, match="dataset: found 'mnist'; allowed: cifar100, tinyimagenet"):
        load_images("npz", path=file, dataset="mnist")
    with pytest.raises(ParameterError, match="class_names: found '3 names'; allowed: as many as cifar100 has classes"):
        load_images("npz", path=file, dataset="cifar100", class_names=NAMES)
    with pytest.raises(ImageError, match=r"own.npz: image size: found '6 x 5 pixels'; allowed: 32 x 32"):
        load_images("npz", path=file, dataset="cifar100")


def test_npz_bomb_is_refused_before_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "own.npz"
    np.savez_compressed(file, images=np.zeros((100, 64, 64, 3), np.uint8), labels=np.zeros(100, int))
    assert file.stat().st_size < 10_000
    monkeypatch.setattr(nbutils.images.picture_files, "MAX_BYTES", 2**20)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(ImageError, match=r"own.npz: found '0.0 GiB'; allowed: at most 0 GiB. Split it"):
        load_own(file)


def test_npz_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    """A header of 8 TB over 10 bytes of data ends in an error, not in an allocation that is kept."""
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (700000000, 64, 64, 3), }\n"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(10)
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as packed:
        packed.writestr("images.npy", member)
        packed.writestr("labels.npy", member)
    with pytest.raises(ImageError, match="own.npz: cannot be read"):
        load_own(tmp_path / "own.npz")

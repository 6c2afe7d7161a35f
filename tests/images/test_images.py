"""The door, the embedded images, archives and folders: right pixels, and one clear error for each bad input."""

from __future__ import annotations

import importlib
import importlib.util
import io
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import nbutils.images.picture_files
from nbutils.core import ImageError, Normalization, ParameterError
from nbutils.images import CIFAR100, SOURCES, TINYIMAGENET, center_crop, load_images
from nbutils.images.datasets import CIFAR100_NAMES
from nbutils.images.picture_files import read_picture

PIXELS = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
NAMES = ("cat", "dog", "owl")
RNG = np.random.default_rng(0)
LEVELS = RNG.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)  # NHWC; H, W differ, so that a transposition shows
LABELS = np.array([0, 2, 1, 2])


def archive(folder: Path, **arrays: object) -> Path:
    file = folder / "own.npz"
    np.savez(file, **{"images": LEVELS, "labels": LABELS, **arrays})
    return file


def load_own(file: Path, **keywords: object) -> object:
    return load_images("npz", path=file, **{"class_names": NAMES, "normalization": PIXELS, **keywords})


def save(file: Path, levels: np.ndarray = LEVELS[0]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(file)
    return file


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


# --- folders -----------------------------------------------------------------------------------------------------


def load_folder(path: Path, **keywords: object) -> object:
    return load_images("folder", path=path, **{"normalization": PIXELS, **keywords})


def test_class_folders(tmp_path: Path) -> None:
    save(tmp_path / "owl" / "b.png", LEVELS[2])
    save(tmp_path / "owl" / "a.PNG", LEVELS[1])
    save(tmp_path / "cat" / "z.png", LEVELS[0])
    (tmp_path / "dog").mkdir()  # today: became class 1 of three, and owl class 2
    (tmp_path / "owl" / "notes.txt").write_text("no image")
    save(tmp_path / ".ipynb_checkpoints" / "a.png")
    images = load_folder(tmp_path)
    assert images.class_names == ("cat", "owl")
    assert images.labels.tolist() == [0, 1, 1]
    assert images.origin.notes == ("left out without a picture: dog",)
    assert images.origin.classes == "the 2 folders, 0 is cat and 1 is owl"
    assert (images.levels == LEVELS[:3].transpose(0, 3, 1, 2)).all()
    assert images.source == f"folder/{tmp_path.name}"
    assert load_folder(tmp_path, class_names=("owl", "ant", "cat", "dog")).labels.tolist() == [2, 0, 0]


def test_class_folders_of_a_data_set(tmp_path: Path) -> None:
    save(tmp_path / "apple" / "1.png", RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    save(tmp_path / "worm" / "1.png", RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    images = load_images("folder", path=tmp_path, dataset="cifar100")
    assert images.labels.tolist() == [0, 99]
    assert images.normalization == CIFAR100.normalization


# folders with a picture each (empty ones end in /): labels in the order read, class names, what is said
CLASS_FOLDERS = {
    # today: 0, 1, 10, 11, 2, 3, ... as text, so folder 10 was class 2
    "numbers": ([str(k) for k in range(12)], list(range(12)), [f"class {k}" for k in range(12)], "the numbers that"),
    # today: classes 0 to 3
    "numbers with a gap": (["0", "2", "10"], [0, 2, 10], [f"class {k}" for k in range(11)], "the numbers that"),
    "an empty number": (["0", "1/", "2"], [0, 2], ["class 0", "class 1", "class 2"], "the numbers that"),
    "zeros before": (["00", "01", "10"], [0, 1, 10], [f"class {k}" for k in range(11)], "the numbers that"),
    "from one": (["1", "2", "10", *"3456789"], list(range(10)), [str(k) for k in range(1, 11)], "0 is folder 1"),
    # today: class 1, class 10, class 2
    "numbers in names": (["class 2", "class 10", "class 1"], [0, 1, 2], ["class 1", "class 2", "class 10"],
                         "numbers in names sorted as numbers"),
    "names": (["owl", "Cat", "ant"], [0, 1, 2], ["Cat", "ant", "owl"], "the 3 folders, 0 is Cat and 2 is owl"),
    "mixed": (["other", "7", "12"], [0, 1, 2], ["7", "12", "other"], "numbers in names sorted as numbers"),
    "an empty name": (["owl", "cat", "__MACOSX/"], [0, 1], ["cat", "owl"], "the 2 folders"),
}  # fmt: skip


@pytest.mark.parametrize("case", CLASS_FOLDERS)
def test_class_folders_without_known_names(tmp_path: Path, case: str) -> None:
    names, labels, classes, said = CLASS_FOLDERS[case]
    for place, name in enumerate(names):
        if name.endswith("/"):
            (tmp_path / name).mkdir()
        else:
            save(tmp_path / name / "a.png", np.full((2, 2, 3), place, np.uint8))
    images = load_folder(tmp_path)
    assert images.labels.tolist() == labels
    assert list(images.class_names) == classes
    assert said in images.origin.classes


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["3", "7"], r"class folders: found \[3, 7\]; allowed: names, or numbers from 0 on, or 1, 2, 3"),
        (["1", "01", "0"], r"class folders: found \['0', '01', '1'\]; allowed: each number once"),
        (["0", "999999999"], r"largest label: found 999999999; allowed: 0 to 99999"),
    ],
)
def test_class_folders_that_could_mean_two_things(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        save(tmp_path / name / "a.png")
    with pytest.raises(ImageError, match=message):
        load_folder(tmp_path)


def test_what_is_left_out_of_a_folder_is_said(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "a.png")
    save(tmp_path / "loose.png")
    save(tmp_path / "cat" / "b.bmp")
    save(tmp_path / "nested" / "deeper" / "c.png")
    assert load_folder(tmp_path).origin.notes == (
        "left out without a picture: nested",
        "left out outside of class folders: 1 pictures",
        "left out, neither PNG nor JPEG: 1 files",
    )
    (tmp_path / "cat" / "a.png").unlink()
    with pytest.raises(ImageError, match="found 'no images'.*Class folders are one level down: give .*nested"):
        load_folder(tmp_path)


def test_a_folder_of_grey_pictures_is_one_channel_where_one_is_normalised(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "a.png", GREY[0])
    images = load_folder(tmp_path, normalization=Normalization((0.5,), (0.25,)))
    assert (images.levels == GREY[:1, None]).all()
    save(tmp_path / "cat" / "b.png", LEVELS[1])
    with pytest.raises(ImageError, match="pictures: found 'colours'; allowed: grey ones, as one channel is normalised"):
        load_folder(tmp_path, normalization=Normalization((0.5,), (0.25,)))


def test_labels_csv_without_known_names(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    write_table(tmp_path, "a.png,2", "b.png,0")
    assert load_folder(tmp_path).class_names == ("class 0", "class 1", "class 2")
    write_table(tmp_path, "a.png,owl", "b.png,cat")
    images = load_folder(tmp_path)
    assert images.labels.tolist() == [1, 0]
    assert images.origin.classes == "the 2 names of labels.csv, 0 is cat and 1 is owl"


def write_table(folder: Path, *rows: str, header: str = "file,label") -> None:
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")


def test_labels_csv(tmp_path: Path) -> None:
    save(tmp_path / "b.png", LEVELS[0])
    save(tmp_path / "sub" / "a.png", LEVELS[1])
    write_table(tmp_path, "sub/a.png,2", "b.png,dog")
    images = load_folder(tmp_path, class_names=NAMES)
    assert images.labels.tolist() == [2, 1]
    assert (images.levels == LEVELS[[1, 0]].transpose(0, 3, 1, 2)).all()
    with pytest.raises(ParameterError, match="class_names: found None"):
        load_folder(tmp_path)


@pytest.mark.parametrize("name", ["../outside.png", "/outside.png", "link.png", "sub/../../outside.png", "circle.png"])
def test_labels_csv_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    outside = save(tmp_path / "outside.png")
    inner = tmp_path / "inner"
    save(inner / "a.png")
    (inner / "link.png").symlink_to(outside)
    (inner / "circle.png").symlink_to(inner / "circle.png")
    write_table(inner, "a.png,0", f"{name},1")
    with pytest.raises(ImageError, match="found 'a path that leaves the folder'; allowed: files inside"):
        load_folder(inner, class_names=NAMES)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["a.png,3"], "file,label", "label of .*a.png: found '3'; allowed: one of 3 class names, or 0 to 2"),
        (["a.png,-1"], "file,label", "label of .*a.png: found '-1'"),
        (["a.png,bat"], "file,label", "label of .*a.png: found 'bat'"),
        (["a.png," + "9" * 5000], "file,label", "label of .*a.png: found '9999"),
        (["a.png"], "file,label", "labels.csv row 2: found .* allowed: a file and a label"),
        (["a.png,0"], "name,class", r"labels.csv header: found \['name', 'class'\]; allowed: file,label"),
        (['"a.png,0'], "file,label", "labels.csv: cannot be read .*allowed: UTF-8 CSV"),
        ([], "file,label", "found 'no images'; allowed: PNG or JPEG files"),
        (["gone.png,0"], "file,label", "gone.png: found 'no such file'"),
    ],
)
def test_labels_csv_refuses(tmp_path: Path, rows: list[str], header: str, message: str) -> None:
    save(tmp_path / "a.png")
    write_table(tmp_path, *rows, header=header)
    with pytest.raises(ImageError, match=message):
        load_folder(tmp_path, class_names=NAMES)


def test_labels_csv_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"file,label\n\xff\xfe.png,0\n")
    with pytest.raises(ImageError, match="labels.csv: cannot be read"):
        load_folder(tmp_path, class_names=NAMES)


def test_folder_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="nowhere: found 'no such folder'"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(ImageError, match=r"found 'no images'.*Put images into ROOT/CLASS/, or list them"):
        load_folder(tmp_path)


def test_folder_of_unknown_class(tmp_path: Path) -> None:
    save(tmp_path / "bat" / "1.png")
    with pytest.raises(ImageError, match="label of .*1.png: found 'bat'; allowed: one of 3 class names"):
        load_folder(tmp_path, class_names=NAMES)


def test_mixed_sizes_name_the_file(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "a.png")
    save(tmp_path / "cat" / "b.png", LEVELS[0, :, :4])
    with pytest.raises(ImageError, match=r"b.png: found '4 x 5 pixels'; allowed: 6 x 5 pixels, as a.png has"):
        load_folder(tmp_path)


# --- single files ------------------------------------------------------------------------------------------------


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_size(width: int, height: int) -> bytes:
    """A file of a few bytes whose header promises `width` x `height` pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(b""))
        + png_chunk(b"IEND", b"")
    )


def test_grey_and_palette_become_rgb(tmp_path: Path) -> None:
    picture = Image.fromarray(LEVELS[0, ..., 0])
    picture.save(tmp_path / "grey.png")
    assert (read_picture(tmp_path / "grey.png") == LEVELS[0, ..., 0]).all()
    picture.convert("P").save(tmp_path / "palette.png")
    assert (read_picture(tmp_path / "palette.png") == LEVELS[0, ..., 0]).all()


def test_truncated_image_names_the_file(tmp_path: Path) -> None:
    for suffix in ("png", "jpg"):
        whole = save(tmp_path / f"cat/whole.{suffix}", RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)).read_bytes()
        (tmp_path / f"cut.{suffix}").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ImageError, match=rf"cut.{suffix}: cannot be read .*allowed: an undamaged PNG or JPEG"):
            read_picture(tmp_path / f"cut.{suffix}")


def test_other_formats_are_not_decoded(tmp_path: Path) -> None:
    Image.fromarray(LEVELS[0]).save(tmp_path / "bitmap.png", format="BMP")
    with pytest.raises(ImageError, match=r"bitmap.png: cannot be read \(cannot identify"):
        read_picture(tmp_path / "bitmap.png")


def test_sixteen_bits_a_channel_are_refused(tmp_path: Path) -> None:
    """Pillow says RGB and keeps the upper eight bits: today read as 8 bits, without a word."""
    rows = b"".join(b"\0" + bytes(range(12)) for _ in range(2))  # 2 x 2 pixels, 3 channels of 2 bytes
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(ImageError, match="found 'Pillow mode RGB, 16 bits a channel'; allowed: 8-bit RGB or grey"):
        read_picture(tmp_path / "deep.png")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_a_channel_convert_exactly(tmp_path: Path, bits: int) -> None:
    steps = 2**bits
    packed = int("".join(f"{k % steps:0{bits}b}" for k in range(8)), 2).to_bytes(bits, "big")
    header = struct.pack(">IIBBBBB", 8, 1, bits, 0, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" + packed)) + png_chunk(b"IEND", b"")
    (tmp_path / "few.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    wanted = [k % steps * 255 // (steps - 1) for k in range(8)]  # black to white in equal steps
    assert read_picture(tmp_path / "few.png")[:, 0].tolist() == [wanted] * 3


def test_several_pictures_in_a_file_are_refused(tmp_path: Path) -> None:
    """Today the first was taken, without a word."""
    frames = [Image.fromarray(frame) for frame in LEVELS[:3]]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="moving.png: found '3 pictures in one file'"):
        read_picture(tmp_path / "moving.png")


@pytest.mark.parametrize("turned", [1, 6])
def test_a_picture_stored_turned_is_refused(tmp_path: Path, turned: int) -> None:
    """Today read as it is stored, which is not what a viewer shows."""
    exif = Image.Exif()
    exif[0x0112] = turned
    Image.fromarray(LEVELS[0]).save(tmp_path / "a.jpg", exif=exif)
    if turned == 1:
        assert read_picture(tmp_path / "a.jpg").shape == (3, 5, 6)
        return
    with pytest.raises(ImageError, match="found 'EXIF orientation 6, a picture stored turned or mirrored'"):
        read_picture(tmp_path / "a.jpg")


def test_a_transparent_colour_is_refused(tmp_path: Path) -> None:
    Image.fromarray(LEVELS[0]).save(tmp_path / "a.png", transparency=(1, 2, 3))
    with pytest.raises(ImageError, match="found 'Pillow mode RGB, a transparent colour'"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "CMYK"])
def test_modes_that_lose_something_are_refused(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new(mode, (4, 4)).save(file)
    with pytest.raises(ImageError, match="found 'Pillow mode .*allowed: 8-bit RGB or grey"):
        read_picture(file)


def test_decompression_bombs(tmp_path: Path) -> None:
    """Beyond our own side, and beyond Pillow's MAX_IMAGE_PIXELS."""
    (tmp_path / "wide.png").write_bytes(png_of_size(5000, 10))
    with pytest.raises(ImageError, match=r"wide.png: found '5000 x 10 pixels'; allowed: at most 4096 pixels a side"):
        read_picture(tmp_path / "wide.png")
    (tmp_path / "bomb.png").write_bytes(png_of_size(60_000, 60_000))
    with pytest.raises(ImageError, match=r"bomb.png: cannot be read .*decompression bomb"):
        read_picture(tmp_path / "bomb.png")


def test_too_many_images_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "cat" / "a.png")
    monkeypatch.setattr(nbutils.images.picture_files, "MAX_BYTES", 89)  # the image takes 90
    with pytest.raises(ImageError, match="cat: found '0.0 GiB'; allowed: at most"):
        load_folder(tmp_path)


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

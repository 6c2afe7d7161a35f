"""Images of a reader's own: a NumPy archive, or a folder of PNG and JPEG files."""

from __future__ import annotations

import csv
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .datasets import DATASETS
from .errors import ImageError, require
from .pictures import check_bytes, is_picture, read_pictures
from .records import ImageSet, Normalization

_FIELDS = ("images", "labels", "indices", "dataset", "class_names")
_GRID_TOLERANCE = 1e-6  # of a float pixel from a multiple of 1/255: a few float32 steps
_BROKEN = (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error, NotImplementedError)


def npz(
    path: str | Path,
    *,
    dataset: str | None = None,
    normalization: Normalization | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageSet:
    """Images out of a NumPy archive.

    Arrays: `images` uint8, or float32/64 in [0, 1] on the grid of multiples of 1/255, [N, H, W, C] or
    [N, C, H, W] with C 1 or 3; `labels` integers [N]; optional `indices` integers [N] (true indices, else
    positions), `dataset` (a name), `class_names` [K]. Other arrays are ignored. Keywords go before fields.

    Raises:
        ImageError: not such an archive; the message names the array.
    """
    path = Path(path)
    arrays = _read_npz(path)
    for name in ("images", "labels"):
        require(name in arrays, str(path), sorted(arrays), f"an archive with the array {name}", error=ImageError)
    levels = _levels(path, arrays["images"])
    labels = _integers(path, "labels", arrays["labels"], len(levels))
    indices = _integers(path, "indices", arrays.get("indices", np.arange(len(levels))), len(levels))
    distinct = len(np.unique(indices)) == len(indices) and indices.min() >= 0
    require(distinct, f"{path}: indices", "repeated or negative", "distinct, 0 or more", error=ImageError)
    if dataset is None and "dataset" in arrays:
        dataset = str(arrays["dataset"])
    if class_names is None and "class_names" in arrays:
        class_names = [str(name) for name in np.atleast_1d(arrays["class_names"])]
    return _finish(f"npz/{path.name}", levels, labels, indices, dataset, normalization, class_names)


def folder(
    path: str | Path,
    *,
    dataset: str | None = None,
    normalization: Normalization | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageSet:
    """PNG or JPEG files of one size, in `ROOT/CLASS/*` or listed in `ROOT/labels.csv`.

    Class folders: images are sorted by (class, file name). Folder names are looked up among the class names;
    where none are given, the sorted folder names are the classes. `labels.csv`: header `file,label`, files
    relative to ROOT, labels by number or name, in the order of the rows; class names must be given.

    Raises:
        ImageError: missing or empty folder, unknown class, path outside the folder, damaged image, unequal sizes.
    """
    path = Path(path)
    require(
        path.is_dir(), str(path), "no such folder", "a folder of class folders or with labels.csv", error=ImageError
    )
    listed = (path / "labels.csv").is_file()
    if listed:
        entries = _rows(path / "labels.csv")
    else:
        classes = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        entries = [(f"{name}/{file}", name) for name in classes for file in _pictures(path / name)]
        known = class_names is not None or (dataset in DATASETS and DATASETS[dataset].class_names)
        class_names = class_names if known else classes
    hint = "Put images into ROOT/CLASS/, or list them in ROOT/labels.csv with the header file,label"
    require(bool(entries), str(path), "no images", "PNG or JPEG files", hint, error=ImageError)
    source = f"folder/{path.name}"
    names, normalization = _meaning(source, dataset, normalization, class_names)
    numbers = np.array([_class_number(file, label, names, listed) for file, label in entries], dtype=np.int64)
    levels = read_pictures([_inside(path, file) for file, _ in entries])
    return _finish(source, levels, numbers, np.arange(len(numbers)), dataset, normalization, names)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    require(path.is_file(), str(path), "no such file", "a NumPy archive (.npz)", error=ImageError)
    try:
        with zipfile.ZipFile(path) as packed:
            check_bytes(str(path), sum(member.file_size for member in packed.infolist()))
        with np.load(path, allow_pickle=False) as bundle:
            return {name: bundle[name] for name in _FIELDS if name in bundle.files}
    except _BROKEN as error:
        hint = "It was to be written by numpy.savez or savez_compressed, from plain arrays"
        raise ImageError(f"{path}: cannot be read as a NumPy archive without pickles ({error}). {hint}.") from error


def _levels(path: Path, images: np.ndarray) -> np.ndarray:
    """uint8 [N, C, H, W] of an archive's `images`."""
    where, allowed = f"{path}: images", "uint8, or float32/64 in [0, 1], [N, H, W, C] or [N, C, H, W] with C 1 or 3"
    found = (str(images.dtype), images.shape)
    channels = [axis for axis in (1, 3) if images.ndim == 4 and images.shape[axis] in (1, 3)]
    fits = images.dtype in (np.uint8, np.float32, np.float64) and len(channels) == 1 and images.size > 0
    require(fits, where, found, allowed, error=ImageError)
    if channels == [3]:
        images = images.transpose(0, 3, 1, 2)
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    inside = bool(((images >= 0) & (images <= 1)).all())
    require(
        inside, where, "numbers outside [0, 1], or NaN", "pixels in [0, 1]", "Do not normalise them", error=ImageError
    )
    levels = np.rint(images * 255).astype(np.uint8)
    off = float(np.abs(levels / 255 - images).max())
    hint = "Save levels as uint8: an image is named by the hash of its levels"
    found = f"{off:.2g} off the grid"
    require(off <= _GRID_TOLERANCE, where, found, "multiples of 1/255 (within 1e-6)", hint, error=ImageError)
    return np.ascontiguousarray(levels)


def _integers(path: Path, name: str, array: np.ndarray, count: int) -> np.ndarray:
    fits = array.dtype.kind in "iu" and array.shape == (count,)
    require(fits, f"{path}: {name}", (str(array.dtype), array.shape), f"integers [{count}]", error=ImageError)
    return array.astype(np.int64)


def _pictures(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_file() and is_picture(Path(entry.name)))


def _rows(table: Path) -> list[tuple[str, str]]:
    """(file, label) of each row of `labels.csv`."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            header = rows.fieldnames or []
            require({"file", "label"} <= set(header), f"{table} header", header, "file,label", error=ImageError)
            entries = [(row["file"], row["label"]) for row in rows]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ImageError(f"{table}: cannot be read as UTF-8 CSV ({error}); allowed: the columns file,label.") from error
    for number, entry in enumerate(entries, 2):
        require(all(entry), f"{table} line {number}", entry, "a file and a label", error=ImageError)
    return entries


def _class_number(file: str, label: str, names: tuple[str, ...], numbers_allowed: bool) -> int:
    if names.count(label) == 1:
        return names.index(label)
    number = int(label) if numbers_allowed and label.isascii() and label.isdigit() else -1
    allowed = f"one of {len(names)} class names" + (f" or 0 to {len(names) - 1}" if numbers_allowed else "")
    require(0 <= number < len(names), f"label of {file}", label, allowed, error=ImageError)
    return number


def _inside(folder: Path, name: str) -> Path:
    """The file `name` of `folder`, once it is known to lie there, symbolic links followed."""
    file = folder / name
    lies_inside = file.resolve().is_relative_to(folder.resolve())
    require(lies_inside, "file", name, f"a path inside {folder}, symbolic links followed", error=ImageError)
    return file


def _meaning(
    source: str, dataset: str | None, normalization: Normalization | None, class_names: Sequence[str] | None
) -> tuple[tuple[str, ...], Normalization]:
    """Class names and normalisation from keywords first, the data set second."""
    known = None
    if dataset is not None:
        require(dataset in DATASETS, f"{source}: dataset", dataset, ", ".join(DATASETS))
        known = DATASETS[dataset]
        class_names = class_names or known.class_names
        normalization = normalization or known.normalization
    hint = f"Pass dataset={' or '.join(map(repr, DATASETS))}, or"
    require(
        bool(class_names),
        f"{source}: class_names",
        class_names,
        "the names of all classes",
        f"{hint} class_names=[...]",
    )
    names = tuple(str(name) for name in class_names or ())
    require(known is None or len(names) == known.classes, f"{source}: class_names", names, f"as many as {dataset} has")
    allowed = "the mean and standard deviation the network expects"
    identity = "normalization=Normalization((0, 0, 0), (1, 1, 1)) for a network that takes pixels"
    require(normalization is not None, f"{source}: normalization", normalization, allowed, f"{hint} {identity}")
    return names, normalization


def _finish(
    source: str,
    levels: np.ndarray,
    labels: np.ndarray,
    indices: np.ndarray,
    dataset: str | None,
    normalization: Normalization | None,
    class_names: Sequence[str] | None,
) -> ImageSet:
    names, normalization = _meaning(source, dataset, normalization, class_names)
    if dataset is not None:
        levels = np.ascontiguousarray(DATASETS[dataset].fit(levels))
    channels = len(normalization.mean)
    require(
        levels.shape[1] == channels, f"{source}: channels", levels.shape[1], f"{channels}, as the normalization has"
    )
    return ImageSet(levels, labels, indices, source, names, normalization)

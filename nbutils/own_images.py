"""Images of a reader's own: a NumPy archive, or a folder of PNG and JPEG files."""

from __future__ import annotations

import csv
import os
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from .datasets import DATASETS
from .errors import ImageError, require
from .pictures import check_bytes, is_picture, read_pictures
from .records import ImageSet, Normalization

_FIELDS = ("images", "labels", "indices", "dataset", "class_names")
_GRID_TOLERANCE = 1e-6  # of a float pixel from a multiple of 1/255: a few float32 steps
_require = partial(require, error=ImageError)


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
        ParameterError: no data set, and class names or normalisation missing.
    """
    path = Path(path)
    arrays = _read_npz(path)
    for name in ("images", "labels"):
        _require(name in arrays, str(path), sorted(arrays), f"an archive with the array {name}")
    if dataset is None and "dataset" in arrays:
        dataset = str(arrays["dataset"])
    if class_names is None and "class_names" in arrays:
        class_names = [str(name) for name in np.atleast_1d(arrays["class_names"])]
    names, normalization = _meaning(str(path), dataset, normalization, class_names)
    levels = _levels(path, arrays["images"])
    labels = _integers(path, "labels", arrays["labels"], len(levels))
    indices = _integers(path, "indices", arrays.get("indices", np.arange(len(levels))), len(levels))
    distinct = len(np.unique(indices)) == len(indices) and bool((indices >= 0).all())
    _require(distinct, f"{path}: indices", "repeated or negative numbers", "distinct ones, 0 or more")
    levels = _fit(path, levels, dataset)
    return ImageSet(levels, labels, indices, f"npz/{path.name}", names, normalization)


def folder(
    path: str | Path,
    *,
    dataset: str | None = None,
    normalization: Normalization | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageSet:
    """PNG or JPEG files of one size, in `ROOT/CLASS/*` or listed in `ROOT/labels.csv`.

    Class folders: images are sorted by (class, file name). Folder names are looked up among the class names;
    where none are known, the sorted folder names are the classes. `labels.csv`: header `file,label`, files
    relative to ROOT, labels by number or name, in the order of the rows; class names must be known.

    Raises:
        ImageError: missing or empty folder, unknown class, path outside the folder, damaged image, unequal sizes.
        ParameterError: no data set, and class names or normalisation missing.
    """
    path = Path(path)
    _require(path.is_dir(), str(path), "no such folder", "a folder of class folders, or with labels.csv")
    table = path / "labels.csv"
    if table.is_file():
        entries = _rows(table)
    else:
        classes = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        entries = [(f"{name}/{file}", name) for name in classes for file in _pictures(path / name)]
        known = DATASETS[dataset].class_names if dataset in DATASETS else ()
        class_names = class_names or known or classes
    hint = "Put images into ROOT/CLASS/, or list them in ROOT/labels.csv with the header file,label"
    _require(bool(entries), str(path), "no images", "PNG or JPEG files", hint)
    names, normalization = _meaning(str(path), dataset, normalization, class_names)
    numbers = {str(number): number for number in range(len(names))} if table.is_file() else {}
    numbers |= {name: number for number, name in enumerate(names) if names.count(name) == 1}
    allowed = f"one of {len(names)} class names" + (f", or 0 to {len(names) - 1}" if table.is_file() else "")
    for file, label in entries:
        _require(label in numbers, f"label of {path / file}", label, allowed)
    labels = np.array([numbers[label] for _, label in entries], dtype=np.int64)
    levels = _fit(path, read_pictures(_inside(path, [file for file, _ in entries])), dataset)
    return ImageSet(levels, labels, np.arange(len(labels)), f"folder/{path.name}", names, normalization)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    _require(path.is_file(), str(path), "no such file", "a NumPy archive (.npz)")
    try:
        with zipfile.ZipFile(path) as packed:
            check_bytes(str(path), sum(member.file_size for member in packed.infolist()))
        with np.load(path, allow_pickle=False) as bundle:
            return {name: bundle[name] for name in _FIELDS if name in bundle.files}
    except ImageError:
        raise
    except Exception as error:  # foreign bytes: zip, deflate and header parsers raise whatever they trip over
        reason = str(error).partition("\n")[0]
        raise ImageError(
            f"{path}: cannot be read ({reason}); allowed: an undamaged NumPy archive of plain arrays. "
            "Write it with numpy.savez_compressed."
        ) from error


def _levels(path: Path, images: np.ndarray) -> np.ndarray:
    """uint8 [N, C, H, W] of an archive's `images`."""
    where, found = f"{path}: images", (str(images.dtype), images.shape)
    channels = [axis for axis in (1, 3) if images.ndim == 4 and images.shape[axis] in (1, 3)]
    fits = images.dtype in (np.uint8, np.float32, np.float64) and len(channels) == 1 and images.size > 0
    _require(fits, where, found, "uint8, or float32/64 in [0, 1], [N, H, W, C] or [N, C, H, W] with C 1 or 3")
    if channels == [3]:
        images = images.transpose(0, 3, 1, 2)
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    inside = bool(((images >= 0) & (images <= 1)).all())
    _require(inside, where, "numbers outside [0, 1], or NaN", "pixels in [0, 1]", "Do not normalise them")
    levels = np.rint(images * 255).astype(np.uint8)
    off = float(np.abs(levels / 255 - images).max())
    hint = "Save levels as uint8: an image is named by the hash of its levels"
    _require(off <= _GRID_TOLERANCE, where, f"{off:.2g} off the grid", "multiples of 1/255 (within 1e-6)", hint)
    return np.ascontiguousarray(levels)


def _integers(path: Path, name: str, array: np.ndarray, count: int) -> np.ndarray:
    fits = array.dtype.kind in "iu" and array.shape == (count,)
    _require(fits, f"{path}: {name}", (str(array.dtype), array.shape), f"integers [{count}], one for each image")
    return array.astype(np.int64)


def _pictures(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if is_picture(entry.name))


def _rows(table: Path) -> list[tuple[str, str]]:
    """(file, label) of each row of `labels.csv`."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            header = list(rows.fieldnames or [])
            entries = [(row.get("file"), row.get("label")) for row in rows]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ImageError(
            f"{table}: cannot be read ({error}); allowed: UTF-8 CSV with the header file,label."
        ) from error
    _require({"file", "label"} <= set(header), f"{table} header", header, "file,label")
    for number, entry in enumerate(entries, 2):
        _require(all(entry), f"{table} row {number}", entry, "a file and a label")
    return entries


def _inside(folder: Path, names: Sequence[str]) -> list[Path]:
    """The files `names` of `folder`, once they are known to lie there, symbolic links followed."""
    base = folder.resolve()
    for name in names:
        try:
            inside = (base / name).resolve().is_relative_to(base)
        except (OSError, RuntimeError, ValueError):  # links in a circle, a zero byte
            inside = False
        _require(inside, str(folder / name), "a path that leaves the folder", f"files inside {folder}")
    return [folder / name for name in names]


def _meaning(
    where: str, dataset: str | None, normalization: Normalization | None, class_names: Sequence[str] | None
) -> tuple[tuple[str, ...], Normalization]:
    """Class names and normalisation: those given, else those of the data set."""
    known = DATASETS.get(dataset) if dataset is not None else None
    require(dataset is None or known is not None, f"{where}: dataset", dataset, ", ".join(DATASETS))
    names = tuple(str(name) for name in class_names or (known.class_names if known else ()))
    hint = "Pass class_names=[...], or dataset='cifar100' whose names are known, or put class_names into the archive"
    require(len(names) > 0, f"{where}: class_names", class_names, "the names of all classes", hint)
    fits = known is None or len(names) == known.classes
    require(fits, f"{where}: class_names", f"{len(names)} names", f"as many as {dataset} has classes")
    normalization = normalization or (known.normalization if known else None)
    hint = "Pass dataset=..., or Normalization((0, 0, 0), (1, 1, 1)) for a network that takes pixels"
    require(normalization is not None, f"{where}: normalization", None, "what the network expects", hint)
    return names, normalization


def _fit(path: Path, levels: np.ndarray, dataset: str | None) -> np.ndarray:
    return levels if dataset is None else np.ascontiguousarray(DATASETS[dataset].fit(levels, str(path)))

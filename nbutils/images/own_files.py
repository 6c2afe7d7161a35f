"""Images of a reader's own in a folder of PNG and JPEG files."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ..core import ImageError, ImageSet, Normalization, require
from .archives import fit_size, meaning
from .datasets import DATASETS
from .picture_files import is_picture, one_channel, read_pictures

OTHER_PICTURES = (".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".heic", ".avif", ".npy")
"""Endings of files that hold pictures and are left out."""
_LAYOUT = "Put images into ROOT/CLASS/, or list them in ROOT/labels.csv with the header file,label"
_require = partial(require, error=ImageError)


def folder(
    path: str | Path,
    *,
    dataset: str | None = None,
    normalization: Normalization | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageSet:
    """PNG or JPEG files of one size, in `ROOT/CLASS/*` or listed in `ROOT/labels.csv`.

    Class folders: images are sorted by (class, file name). Folder names, or numbers, are looked up among the class
    names. Where none are known, the folders with pictures are the classes, sorted with numbers as numbers (`class 2`
    before `class 10`); names that are numbers, from 0 on, are the class numbers. `labels.csv`: header `file,label`,
    files relative to ROOT, labels by number or name, in the order of the rows; where no names are known, all by number
    or all by name. What is left out (folders without a picture, other files) stands in `origin.notes`; hidden files do
    not count.

    Raises:
        ImageError: missing or empty folder, unknown class, path outside the folder, damaged image, unequal sizes.
        ParameterError: an unknown data set, or class names that are needed or do not fit it.
    """
    path = Path(path)
    _require(path.is_dir(), str(path), "no such folder", "a folder of class folders, or with labels.csv")
    known = class_names or (DATASETS[dataset].class_names if dataset in DATASETS else ())
    table = path / "labels.csv"
    entries, notes = (_rows(table), []) if table.is_file() else _by_class(path)
    _require(bool(entries), str(path), "no images", "PNG or JPEG files", _LAYOUT)
    own, numbers, classes = ([], "", 1) if known else _own_classes(path, table.is_file(), [name for _, name in entries])
    names, normalization, origin = meaning(
        str(path), dataset, normalization, class_names or own, classes=classes, numbers=numbers, notes=notes,
        order="in the order of labels.csv" if table.is_file() else "by class, then file name",
    )  # fmt: skip
    labels = _labels(path, entries, names, numbers_too=not own)
    levels = read_pictures(_inside(path, [file for file, _ in entries]))
    if normalization is not None and len(normalization.mean) == 1:
        grey = one_channel(levels)
        hint = "Convert them yourself, so that you know how, or give three numbers"
        _require(grey is not None, f"{path}: pictures", "colours", "grey ones, as one channel is normalised", hint)
        levels = levels if grey is None else grey
    levels = fit_size(path, levels, dataset)
    origin = replace(origin, classes=numbers)
    return ImageSet(levels, labels, np.arange(len(labels)), f"folder/{path.name}", names, normalization, origin)


def _labels(root: Path, entries: Sequence[tuple[str, str]], names: Sequence[str], *, numbers_too: bool) -> np.ndarray:
    """Class numbers int64 [N] of (file, label); a label is a name, or a number where no name is one."""
    numbers_too = numbers_too and not any(_is_number(name) for name in names)
    by_name = {str(number): number for number in range(len(names))} if numbers_too else {}
    by_name |= {name: number for number, name in enumerate(names) if names.count(name) == 1}
    allowed = f"one of {len(names)} class names" + (f", or 0 to {len(names) - 1}" if numbers_too else "")
    labels = [by_name.get(label, by_name.get(_plain(label))) for _, label in entries]
    for (file, label), number in zip(entries, labels, strict=True):
        _require(number is not None, f"label of {root / file}", label, allowed)
    return np.array(labels, dtype=np.int64)


def _by_class(root: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """(file, class folder) of each picture, sorted, and what was left out."""
    classes = sorted((e.name for e in root.iterdir() if e.is_dir() and not e.name.startswith(".")), key=natural)
    entries = [(f"{name}/{file}", name) for name in classes for file in _pictures(root / name)]
    full = {name for _, name in entries}
    empty = [name for name in classes if name not in full]
    deeper = [name for name in empty if any(e.is_dir() and _pictures(e) for e in (root / name).iterdir())]
    hint = f"Class folders are one level down: give {root / deeper[0]}" if deeper else _LAYOUT
    _require(bool(entries), str(root), "no images", "PNG or JPEG files", hint)
    loose = len(_pictures(root))
    other = sum(e.name.lower().endswith(OTHER_PICTURES) for name in classes for e in (root / name).iterdir())
    notes = [
        f"left out without a picture: {_listed(empty)}" if empty else "",
        f"left out outside of class folders: {loose} pictures" if loose else "",
        f"left out, neither PNG nor JPEG: {other} files" if other else "",
    ]
    return entries, [note for note in notes if note]


def _own_classes(root: Path, table: bool, found: Sequence[str]) -> tuple[list[str], str, int]:
    """Class names that folders or rows give by themselves, what to say of them, and the number of numbered classes.

    Without names, `found` are class numbers.
    """
    names = sorted(set(found), key=natural)
    beside = set(names) if table else {e.name for e in root.iterdir() if e.is_dir() and not e.name.startswith(".")}
    if all(_is_number(name) for name in beside):
        numbers = sorted(int(name) for name in beside)
        twice = len(set(numbers)) < len(numbers) and not table
        _require(not twice, f"{root}: class folders", sorted(beside), "each number once")
        if table or numbers[0] == 0:
            what = "numbers of labels.csv" if table else "the numbers that the folders are named by"
            return [], f"{what}, no names", 1 + max(map(int, names))
        first = numbers == list(range(1, len(numbers) + 1))
        hint = "Number the folders from 0, name them, or list the pictures in labels.csv"
        _require(
            first, f"{root}: class folders", numbers, "names, or numbers from 0 on, or 1, 2, 3, ... for 0, 1, 2", hint
        )
        return [str(number) for number in numbers], f"the {len(numbers)} folders, 0 is folder 1", 0
    hint = "Pass class_names=[...], or dataset='cifar100' whose names are known, or label all rows in one way"
    mixed = table and any(_is_number(name) for name in names)
    require(not mixed, f"{root}: class_names", None, "the names of all classes", hint)
    what = "names of labels.csv" if table else "folders"
    ends = f"0 is {names[0]}" + (f" and {len(names) - 1} is {names[-1]}" if len(names) > 1 else "")
    sort = "" if names == sorted(names) else ", numbers in names sorted as numbers"
    return names, f"the {len(names)} {what}{sort}, {ends}", 0


def natural(name: str) -> tuple[str | int, ...]:
    """Sorting key of a name: numbers in it by their size, the rest by its characters."""
    return tuple(int(part) if number else part for number, part in _parts(name))


def _parts(name: str) -> list[tuple[bool, str]]:
    parts = re.split(r"([0-9]+)", name)
    return [(bool(place % 2), part) for place, part in enumerate(parts)]


def _is_number(name: str) -> bool:
    return re.fullmatch(r"[0-9]{1,9}", name) is not None


def _plain(label: str) -> str:
    """A number without the zeros before it; other labels as they are."""
    return str(int(label)) if _is_number(label) else label


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _pictures(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if is_picture(entry.name))


def _rows(table: Path) -> list[tuple[str, str]]:
    """(file, label) of each row of `labels.csv`."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            header = list(rows.fieldnames or [])
            entries = [(str(row.get("file") or ""), str(row.get("label") or "")) for row in rows]
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
            place = (base / name).resolve()
            inside = place.is_relative_to(base) and not os.path.islink(place)  # still a link: in a circle, Python 3.13
        except (OSError, RuntimeError, ValueError):  # links in a circle before 3.13, a zero byte
            inside = False
        _require(inside, str(folder / name), "a path that leaves the folder", f"files inside {folder}")
    return [folder / name for name in names]

"""The one door to image sources: `load_images`.

Every source gives an `ImageSet`: pixel levels, labels, true indices in the source's own order, class names and
the normalisation of the data set. Files are data: nothing is unpickled, no path leaves its folder, sizes are
checked before anything is decompressed.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .datasets import CIFAR100, cifar100, tinyimagenet
from .errors import ImageError, require
from .own_images import folder, npz
from .pictures import read_pictures
from .records import ImageSet, Normalization

SOURCES: tuple[str, ...] = ("embedded", "cifar100", "tinyimagenet", "npz", "folder")

_TAKES: dict[str, set[str]] = {
    "embedded": set(),
    "cifar100": {"path", "split", "download"},
    "tinyimagenet": {"path", "split", "download"},
    "npz": {"path", "dataset", "class_names"},
    "folder": {"path", "dataset", "class_names"},
}


def load_images(
    source: str = "embedded",
    *,
    path: str | Path | None = None,
    dataset: str | None = None,
    split: str = "test",
    download: bool = False,
    normalization: Normalization | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageSet:
    """Labelled images of a source.

    Args:
        source: one of `SOURCES`.
        path: file (`npz`) or folder (`folder`, `cifar100`, `tinyimagenet`).
        dataset: `cifar100` or `tinyimagenet`: gives `npz` and `folder` their class names and normalisation.
        split: `test` or `train`, of `cifar100` and `tinyimagenet`.
        download: fetch `cifar100` or `tinyimagenet` where they are missing.
        normalization: takes the place of the data set's.
        class_names: for `npz` and `folder`; position is class number.

    Raises:
        ParameterError: unknown source, or a parameter the source does not take.
        ImageError: missing, damaged or inconsistent files.
    """
    require(source in SOURCES, "images", source, ", ".join(SOURCES))
    given = {"path": path, "dataset": dataset, "class_names": class_names, "download": download or None}
    given["split"] = None if split == "test" else split
    for name, value in given.items():
        require(value is None or name in _TAKES[source], name, value, f"nothing, source {source} does not take it")
    if source in ("npz", "folder"):
        require(path is not None, "path", path, f"the file or folder that source {source} reads")
        read = npz if source == "npz" else folder
        return read(path, dataset=dataset, normalization=normalization, class_names=class_names)
    if source == "embedded":
        images = embedded()
    else:
        read = cifar100 if source == "cifar100" else tinyimagenet
        images = read(path, split=split, download=download)
    return images if normalization is None else dataclasses.replace(images, normalization=normalization)


def embedded() -> ImageSet:
    """The first twenty CIFAR-100 test images, pixel exact, out of the foolbox package; needs no download."""
    found = importlib.util.find_spec("foolbox")  # located, not imported: its import pulls torch
    require(found is not None, "package foolbox", "not installed", "3.3.4", "pip install foolbox", error=ImageError)
    data = Path(found.submodule_search_locations[0]) / "data"
    files = sorted(data.glob("cifar100_[0-9][0-9]_*.png"))
    require(len(files) == 20, str(data), f"{len(files)} CIFAR-100 images", "20", error=ImageError)
    numbers = np.array([re.findall(r"\d+", file.stem)[1:] for file in files], dtype=np.int64)
    levels = read_pictures(files)
    return ImageSet(levels, numbers[:, 1], numbers[:, 0], "embedded", CIFAR100.class_names, CIFAR100.normalization)

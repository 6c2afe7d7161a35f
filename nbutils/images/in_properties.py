"""The images inside a folder of property files: exact levels out of the bounds, labels out of the constraints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..core import ImageError, ImageSet, Normalization, Origin, Property, PropertyError, index_in_name, require
from ..properties import read_property, recover_levels
from .datasets import DATASETS


def properties(
    path: str | Path,
    *,
    dataset: str | None = None,
    normalization: Normalization | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageSet:
    """One image for each distinct image and label in the files `*.vnnlib` and `*.vnnlib.gz` of a folder.

    Files of another image size or number of classes than the data set's are passed over: the published benchmark keeps
    two data sets in one folder. `indices` are the true ones where file names tell them (published names are put right),
    else the file's place among the sorted names; images are in the order of the file names.

    Args:
        path: the folder, or one file.
        dataset: `cifar100` or `tinyimagenet`; else normalization and class_names say what the files are about.

    Raises:
        ImageError: no such folder, no file that fits, or a file around no image.
        ParameterError: no data set, and class names or normalisation missing.
    """
    return read_properties(path, dataset=dataset, normalization=normalization, class_names=class_names)[0]


def read_properties(
    path: str | Path,
    *,
    dataset: str | None = None,
    normalization: Normalization | None = None,
    class_names: Sequence[str] | None = None,
) -> tuple[ImageSet, list[tuple[Property, int, float]]]:
    """`properties`, and every file that fits: the property, its row among the images, its radius in pixel units."""
    path = Path(path)
    require(dataset in (None, *DATASETS), "dataset", dataset, ", ".join(DATASETS))
    known = DATASETS[dataset] if dataset else None
    names = tuple(class_names or (known.class_names or map(str, range(known.classes)) if known else ()))
    normalization = normalization or (known.normalization if known else None)
    hint = "Pass dataset='cifar100', or both class_names and normalization"
    require(bool(names) and normalization is not None, f"{path}: dataset", dataset, ", ".join(DATASETS), hint)
    assert normalization is not None
    files = [path] if path.is_file() else sorted(p for end in ("*.vnnlib", "*.vnnlib.gz") for p in path.glob(end))
    hint = "Name the folder vnnlib/ of a benchmark"
    require(bool(files), str(path), "no property file", "*.vnnlib or *.vnnlib.gz", hint, error=ImageError)
    rows: dict[tuple[bytes, int], int] = {}
    levels: list[np.ndarray] = []
    labels, indices, found = [], [], []
    for place, file in enumerate(tqdm(files, desc="reading properties", unit="file", delay=1, leave=False)):
        try:
            prop = read_property(file)
            fits = prop.classes == len(names) and prop.shape[0] == len(normalization.mean)
            if not fits or (known is not None and prop.shape[1:] != (known.side, known.side)):
                continue
            image, eps = recover_levels(prop, normalization)
        except PropertyError as problem:
            raise ImageError(f"{file.parent}: {problem}") from problem
        row = rows.setdefault((image.tobytes(), prop.label), len(levels))
        if row == len(levels):
            index = index_in_name(file.name)
            levels.append(image)
            labels.append(prop.label)
            indices.append(place if index is None else index)
        found.append((prop, row, eps))
    allowed = f"properties of {len(names)} classes" + (f" and {known.side} x {known.side} pixels" if known else "")
    require(bool(levels), str(path), f"{len(files)} files about other images", allowed, error=ImageError)
    sizes = sorted({image.shape for image in levels})
    require(len(sizes) == 1, f"{path}: image sizes", sizes, "one size", "Pass dataset=…", error=ImageError)
    images = ImageSet(
        np.stack(levels), np.array(labels, np.int64), np.array(indices, np.int64),
        f"properties/{path.name}", names, normalization,
        Origin("by file name", normalization="the one that gives whole levels in the property files"),
    )  # fmt: skip
    return images, found

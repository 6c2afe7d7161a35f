"""The one door to image sources: `load_images`.

Every source gives an `ImageSet`: pixel levels, labels, true indices in the source's own order, class names and
the normalisation of the data set. Files are data: nothing foreign is unpickled, no path leaves its folder, sizes
are checked before anything is decompressed.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core import ImageError, ImageSet, Normalization, Origin, require
from .archives import npz
from .datasets import CIFAR100, cifar100, tinyimagenet
from .in_properties import properties
from .own_files import folder
from .picture_files import read_pictures


def embedded() -> ImageSet:
    """The first twenty CIFAR-100 test images, pixel exact, out of the foolbox package; needs no download."""
    found = importlib.util.find_spec("foolbox")  # located, not imported: its import pulls torch
    require(found is not None, "package foolbox", "not installed", "3.3.4", "pip install foolbox", error=ImageError)
    places = [] if found is None else list(found.submodule_search_locations or [])
    data = Path(places[0]) / "data"
    files = sorted(data.glob("cifar100_[0-9][0-9]_*.png"))
    require(len(files) == 20, str(data), f"{len(files)} CIFAR-100 images", "20", error=ImageError)
    numbers = np.array([re.findall(r"\d+", file.stem)[1:] for file in files], dtype=np.int64)
    levels = read_pictures(files)
    order = "test images 0 to 19 of CIFAR-100 in the official order"
    origin = Origin(order, normalization=f"usual for {CIFAR100.name}", settled=False)
    names, normalization = CIFAR100.class_names, CIFAR100.normalization
    return ImageSet(levels, numbers[:, 1], numbers[:, 0], "embedded", names, normalization, origin)


_READERS: dict[str, Callable[..., ImageSet]] = {
    "embedded": embedded,
    "cifar100": cifar100,
    "tinyimagenet": tinyimagenet,
    "npz": npz,
    "folder": folder,
    "properties": properties,
}
SOURCES: tuple[str, ...] = tuple(_READERS)
"""Names of the image sources."""


def load_images(
    source: str = "embedded",
    *,
    path: str | Path | None = None,
    dataset: str | None = None,
    split: str = "test",
    download: bool = False,
    crop: bool = True,
    normalization: Normalization | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageSet:
    """Labelled images of a source; each has a function of its own with the details.

    Args:
        source: one of `SOURCES`.
        path: file (`npz`) or folder (`folder`, `properties`, `cifar100`, `tinyimagenet`).
        dataset: `cifar100` or `tinyimagenet`: gives `npz`, `folder` and `properties` their class names and
            normalisation.
        split: `test` or `train`, of `cifar100` and `tinyimagenet`; of an npz archive, where its names say one.
        download: fetch `cifar100` or `tinyimagenet` where they are missing.
        crop: False keeps the border around the network's image, of `tinyimagenet`.
        normalization: what the network expects; takes the place of the data set's, which is only usual. Where neither
            is known it is None, and `assumed.fit_images` asks the network for it.
        class_names: for `npz`, `folder` and `properties`; position is class number.

    Raises:
        ParameterError: unknown source, or a parameter the source does not take.
        ImageError: missing, damaged or inconsistent files.

    Example:
        >>> images = load_images("embedded")
        >>> len(images), images.name_of(images.labels[17]), images.levels.shape
        (20, 'wolf', (20, 3, 32, 32))
    """
    require(source in SOURCES, "images", source, ", ".join(SOURCES))
    read = _READERS[source]
    takes = inspect.signature(read).parameters
    given: dict[str, Any] = {"path": path, "dataset": dataset, "class_names": class_names}
    given |= {"split": None if split == "test" else split, "download": download or None}
    given |= {"crop": None if crop else False}
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        require(name in takes, name, value, f"nothing, as source {source} takes no {name}")
    needs_path = "path" in takes and takes["path"].default is inspect.Parameter.empty
    require(not needs_path or path is not None, "path", path, f"the file or folder for source {source}")
    if "normalization" in takes:
        images = read(**given, normalization=normalization)
    else:
        images = read(**given)
        if normalization is not None:
            origin = dataclasses.replace(images.origin, normalization="as given", settled=True)
            images = dataclasses.replace(images, normalization=normalization, origin=origin)
    if normalization is not None:
        channels, means = images.levels.shape[1], len(normalization.mean)
        require(channels == means, "normalization", f"{means} channels", f"{channels}, as the images have")
    return images

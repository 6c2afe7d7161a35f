"""Training images as a run takes them: with the border that crops move into, without those that are test images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core import ImageSet, Normalization, require
from ..images import load_images
from .data import without_tested

SOURCES = ("embedded", "cifar100", "tinyimagenet", "npz", "folder")
"""Image sources a network can be trained on; of the data sets their training split."""
SPLIT = ("cifar100", "tinyimagenet")
"""Sources with a test split of their own, which training images are compared with."""


def training_images(
    source: str,
    *,
    path: str | Path | None = None,
    dataset: str | None = None,
    download: bool = False,
    normalization: Normalization | None = None,
    tests: str | Path | None = None,
    keep_equal: bool = False,
) -> ImageSet:
    """Images to train on. Those equal to a test image, by hash of the pixels, are left out, whatever their label.

    Args:
        source: one of `SOURCES`.
        path, dataset, download, normalization: as in `load_images`.
        tests: file or folder of the test images of `npz` or `folder`; the data sets have their own. Without it, images
            of these sources are compared with nothing, and the first line of a run says so.
        keep_equal: True leaves nothing out.

    Raises:
        ParameterError, ImageError: as `load_images`.
    """
    require(source in SOURCES, "IMAGES", source, ", ".join(SOURCES) + ", which hold training images")
    own = source in SPLIT
    require(tests is None or not own, "test images", str(tests), f"nothing, as {source} has a test split of its own")
    common: dict[str, Any] = {"path": path, "dataset": dataset, "download": download, "normalization": normalization}
    training: dict[str, Any] = {"split": "train"} if source in (*SPLIT, "npz") else {}
    if source == "tinyimagenet":
        training["crop"] = False
    images = load_images(source, **common, **training)
    if keep_equal or (tests is None and not own):
        return images
    return without_tested(images, load_images(source, **(common if own else {**common, "path": tests})))

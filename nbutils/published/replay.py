"""The published benchmark written again: images by list or by property file, names as published, bytes as published.

`core.published_numbers` says what was drawn; here its images are found, its properties made anew and its exports
prepared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..core import (
    NETWORKS,
    PUBLISHED_EPS,
    Box,
    ImageError,
    ImageSet,
    Instance,
    Property,
    PublishedInstance,
    replay,
    require,
)
from ..images import DATASETS
from ..properties import make_property
from .files import recognise

__all__ = ["find_images", "identify", "published_instances", "published_property", "replay"]

OFFICIAL: dict[str, tuple[str, ...]] = {
    "cifar100": ("cifar100/test", "embedded"),
    "tinyimagenet": ("tinyimagenet/test",),
}
"""Sources by data set whose indices are the ones that the published lists count in."""


def find_images(instances: Iterable[PublishedInstance], images: ImageSet) -> dict[PublishedInstance, int]:
    """Row in `images` of each instance whose image is there, by true index.

    Args:
        images: in official order, or the images of published property files, whose names tell the true index.

    Raises:
        ImageError: for another source, such as an archive sorted otherwise: its indices mean something else.
    """
    datasets = [name for name, sources in OFFICIAL.items() if images.source in sources]
    if images.source.startswith("properties/"):
        datasets = [name for name in OFFICIAL if DATASETS[name].classes == len(images.class_names)]
    allowed = ", ".join(source for sources in OFFICIAL.values() for source in sources) + ", properties"
    hint = "Elsewhere images are found by hash: see identify"
    require(bool(datasets), "images", images.source, allowed, hint, error=ImageError)
    rows = {int(index): row for row, index in enumerate(images.indices)}
    mine = (instance for instance in instances if NETWORKS[instance.network].dataset in datasets)
    return {instance: rows[instance.index] for instance in mine if instance.index in rows}


def identify(images: ImageSet, among: ImageSet) -> np.ndarray:
    """int64 [N]: row in `among` of each of `images`, by hash and label; -1 where it is not there.

    TinyImageNet's published properties hold pixels of another JPEG decoder, so their images match no hash here.
    """
    rows = {key: row for row, key in enumerate(among.keys)}
    return np.array([rows.get(key, -1) for key in images.keys], dtype=np.int64)


def published_property(instance: PublishedInstance, images: ImageSet, row: int) -> Property:
    """The property of `instance` around image `row` of `images`: written as 1.0, it is the published file.

    The manifest's `index` is the true one; the name keeps the published mistake.
    """
    classes, norm = len(images.class_names), images.normalization
    if norm is None:
        raise ImageError(f"{images.source}: found no normalisation; allowed: that of the published benchmark.")
    box = Box.around(images.pixels_of([row]), norm, PUBLISHED_EPS)
    prop = make_property(images, row, box, classes, instance.network, PUBLISHED_EPS)
    meta = {**prop.meta, "index": instance.index, "sidx": instance.sidx}
    return dataclasses.replace(prop, name=instance.name, meta=meta)


def published_instances(
    instances: Sequence[PublishedInstance], images: Sequence[ImageSet], onnx: Path | str
) -> list[Instance]:
    """What `export_benchmark(..., layout="published", versions=["1.0"])` takes to write `instances` again.

    Args:
        images: one set for each data set, as `find_images` takes them.
        onnx: folder with the networks under their published names; built like them, or refused.

    Raises:
        ImageError: an image that is in no set.
        NetworkError: a missing network, or another architecture under a published name.
    """
    places = {instance: (found, row) for found in images for instance, row in find_images(instances, found).items()}
    missing = [instance.name for instance in instances if instance not in places]
    loaded = ", ".join(found.source for found in images) or "no images"
    what = f"{len(missing)} of {len(instances)} images missing, first that of {missing[0] if missing else ''}"
    require(not missing, loaded, what, "the test sets of the instances' networks", error=ImageError)
    files = {instance.network: Path(onnx) / f"{instance.network}.onnx" for instance in instances}
    for path in files.values():
        recognise(path)
    return [
        Instance(
            published_property(instance, *places[instance]),
            files[instance.network],
            instance.timeout,
            places[instance][0].levels[places[instance][1]],
        )
        for instance in instances
    ]

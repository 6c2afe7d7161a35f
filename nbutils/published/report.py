"""The published benchmark held against its own files: what the lists and a seed give, and what stands in a folder.

In the folder are looked for: the published lists (also in `selected_list/`), the published table as
`instances_seedN.csv` or `instances.csv`, and published property files. None of the last two has to be there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core import NETWORKS, ImageSet, PropertyError, PublishedInstance, misnamed_index, replay, require
from ..images import DATASETS, read_properties
from ..properties import read_file, write_text
from .files import LISTS
from .replay import find_images, published_property


@dataclass(frozen=True, eq=False)
class ReplayedFile:
    """One published property file, made again from the image inside it."""

    instance: PublishedInstance
    image: ImageSet  # that one image, under its true index
    same: bool  # byte for byte what was published
    known: str  # name of the image source that holds this image and label, by hash; empty if none does


@dataclass(frozen=True, eq=False)
class PublishedReport:
    """What a seed draws from the published lists, beside what was published."""

    seed: int
    instances: tuple[PublishedInstance, ...]
    table: str | None  # file name of the published table; None where there is none
    rows: int  # rows it has
    same_rows: int  # rows that the replay gives at the same place, to the letter
    files: tuple[ReplayedFile, ...]

    @property
    def pictures(self) -> tuple[ImageSet, ...]:
        """The images of `files`, a set for each data set."""
        groups: dict[tuple[str, ...], list[ImageSet]] = {}
        for file in self.files:
            groups.setdefault(file.image.class_names, []).append(file.image)
        return tuple(_joined(group) for group in groups.values())

    @property
    def misnamed(self) -> int:
        """Instances whose file name says another index than their image has."""
        return sum(misnamed_index(instance.sidx) != instance.index for instance in self.instances)


def replay_published(folder: Path | str, seed: int = 0, among: Sequence[ImageSet] = ()) -> PublishedReport:
    """Draw the published benchmark again from its lists, and compare it with what else stands in `folder`.

    Args:
        among: image sources in which the images of published property files are looked up by hash.

    Raises:
        PropertyError: no published list in the folder, or a damaged one.
        ImageError: a property file around no image.
        ParameterError: a seed that the published generator does not take.
    """
    folder = Path(folder)
    lists = folder / LISTS if (folder / LISTS).is_dir() else folder
    names = [name for name, network in NETWORKS.items() if (lists / network.list_name).is_file()]
    allowed = "a folder with the published lists, NETWORK_list.txt"
    hint = "`python -m nbutils download-published` fetches them"
    require(bool(names), f"PUBLISHED: {folder}", "no list", allowed, hint, error=PropertyError)
    instances = replay(lists, seed, names)
    tables = [f"instances_seed{seed}.csv", *(["instances.csv"] if seed == 0 else [])]
    table = next((name for name in tables if (folder / name).is_file()), None)
    rows = (folder / table).read_text(encoding="ascii", errors="replace").splitlines() if table else []
    same = sum(row == instance.row for row, instance in zip(rows, instances, strict=False))
    return PublishedReport(seed, instances, table, len(rows), same, _files(folder, instances, among))


def _files(
    folder: Path, instances: tuple[PublishedInstance, ...], among: Sequence[ImageSet]
) -> tuple[ReplayedFile, ...]:
    """Every published property file of the draw that stands in `folder`, made again from its image."""
    paths = {instance.name: path for instance in instances if (path := _path(folder, instance.name)) is not None}
    found = []
    for dataset in DATASETS:
        mine = {i for i in instances if i.name in paths and NETWORKS[i.network].dataset == dataset}
        if not mine:
            continue
        images, _ = read_properties(folder, dataset=dataset)
        for instance, row in find_images(mine, images).items():
            image, text = images.take([row]), write_text(published_property(instance, images, row))
            known = next((other.source for other in among if image.keys[0] in other.keys), "")
            found.append(ReplayedFile(instance, image, text == read_file(paths[instance.name]), known))
    order = {instance: place for place, instance in enumerate(instances)}
    return tuple(sorted(found, key=lambda file: order[file.instance]))


def _path(folder: Path, name: str) -> Path | None:
    return next((path for end in ("", ".gz") if (path := folder / f"{name}{end}").is_file()), None)


def _joined(group: Sequence[ImageSet]) -> ImageSet:
    levels, labels, indices = (
        np.concatenate([getattr(images, name) for images in group]) for name in ("levels", "labels", "indices")
    )
    return dataclasses.replace(group[0], levels=levels, labels=labels, indices=indices)

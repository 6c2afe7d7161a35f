"""What stands between `generation` and the report of a regenerated benchmark: images, selections, what was drawn.

The notebook `regenerate` calls these in turn; nothing here decides anything about an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core import ImageSet, Instance, NetworkError, SelectionConfig, SelectionError, Verdict, require
from ..images import DATASETS, load_images
from ..networks import first_line, fit_images, open_network, parse, ports, read_bytes, stem
from ..selection import Selection
from .generation import assumed_of, find_networks, fresh_selection, kept_images, recorded_selections

SELECTIONS: tuple[str, ...] = ("recorded", "fresh")
"""Where verdicts come from: `vnnlib/selected`, or the funnel here and now."""


def pick_networks(names: Iterable[str]) -> dict[str, Path]:
    """The named ONNX files of `onnx/`, in the given order.

    Raises:
        ParameterError: a name that is not there, or none at all.
    """
    known, names = find_networks(), list(names)
    allowed = f"names of networks in onnx/: {', '.join(known) or 'none there'}"
    require(bool(names), "NETWORKS", names, allowed)
    for name in names:
        require(name in known, "NETWORKS", name, allowed)
    return {name: known[name] for name in names}


def load_pool(
    source: str | None, path: Path | None, dataset: str | None, networks: Mapping[str, Path], kind: str
) -> list[ImageSet]:
    """The images of one `source`; without one, of the data set that each network's card names, out of `data/`.

    A recorded selection without a source takes the pixels kept beside it, and needs no data set.

    Args:
        kind: one of `SELECTIONS`.

    Raises:
        ParameterError: no source, and a network whose card names no data set.
        ImageError: images that are not there.
        SelectionError: a missing or damaged recorded selection.
    """
    if source is not None:
        return [load_images(source, path=path, dataset=dataset)]
    if kind == "recorded" and (kept := kept_images(_recorded(networks))) is not None:
        return kept
    named = {name: open_network(file, device="cpu").card.dataset for name, file in networks.items()}
    unknown = [name for name, found in named.items() if found not in DATASETS]
    allowed = f"a card that names {' or '.join(DATASETS)}, or a source in IMAGES"
    require(not unknown, f"data set of {', '.join(unknown)}", None, allowed)
    return [load_images(found) for found in sorted({found for found in named.values() if found})]


def assumed(networks: Mapping[str, Path], pool: Sequence[ImageSet], kind: str, radius: str, **stated: Any) -> str:
    """The first lines of a run: images, their order, normalisation and radius, and where each came from.

    Args:
        radius: of a fresh selection, in words; a recorded one has its own.
        stated: mean, std and pixels, as `assumed.fit_images` takes them.
    """
    if kind != "fresh":
        return assumed_of(_recorded(networks), pool)
    lines = []
    for path in networks.values():
        network = open_network(path)
        lines.append(first_line(network, fit_images(network, _fitting(path, pool), **stated), radius))
    return "\n".join(lines)


def settle(
    networks: Mapping[str, Path], pool: Sequence[ImageSet], settings: SelectionConfig, kind: str, **stated: Any
) -> dict[str, Selection]:
    """What is known of every network's images: read from `vnnlib/selected`, or computed now.

    Args:
        pool: image sets; a fresh selection takes the first whose images fit the network.
        settings: of a fresh selection; a recorded one has its own.
        kind: one of `SELECTIONS`.
        stated: mean, std and pixels of a fresh selection, as `assumed.fit_images` takes them.

    Raises:
        ParameterError: a network whose normalisation nobody says.
        SelectionError: a missing or damaged recorded selection.
        NetworkError: no images of the pool fit a network.
    """
    require(kind in SELECTIONS, "SELECTION", kind, " or ".join(SELECTIONS))
    if kind == "fresh":
        return {
            name: fresh_selection(path, _fitting(path, pool), settings, **stated) for name, path in networks.items()
        }
    return _recorded(networks)


def _recorded(networks: Mapping[str, Path]) -> dict[str, Selection]:
    found = recorded_selections(networks)
    for name in networks:
        hint = f"Record it with python -m nbutils select {name} --export, or set SELECTION to fresh"
        where = f"vnnlib/selected/{name}.csv"
        require(name in found, where, "no such file", "a recorded selection", hint, error=SelectionError)
    return found


def _fitting(path: Path, pool: Sequence[ImageSet]) -> ImageSet:
    shape = ports(parse(read_bytes(path), path), path).input_shape
    for images in pool:
        if images.levels.shape[1:] == shape:
            return images
    loaded = ", ".join(f"{images.source} {images.levels.shape[1:]}" for images in pool)
    raise NetworkError(f"{path.name}: found images {loaded}; allowed: images {shape}. Name their source in IMAGES.")


@dataclass(frozen=True, eq=False)
class Drawn:
    """The instances of one network as images and verdicts, in the order of `instances.csv`."""

    images: ImageSet
    verdicts: tuple[Verdict, ...]
    levels: tuple[str, ...] = ()  # easy, middle or hard, in mode stratified

    @property
    def keys(self) -> tuple[str, ...]:
        """`Verdict.key` of each."""
        return tuple(verdict.key for verdict in self.verdicts)


def drawn_by_network(instances: Iterable[Instance], pool: Sequence[ImageSet]) -> dict[str, Drawn]:
    """What `generation.draw_instances` drew from `pool` for each network; indices are those of the selection."""
    rows = {key: (images, row) for images in pool for row, key in enumerate(images.keys)}
    groups: dict[str, list[Verdict]] = {}
    levels: dict[str, list[str]] = {}
    for instance in instances:
        if instance.verdict is not None:
            name = stem(instance.network)
            groups.setdefault(name, []).append(instance.verdict)
            level = instance.property.meta.get("level")
            levels.setdefault(name, []).extend([] if level is None else [level])
    drawn = {}
    for name, verdicts in groups.items():
        home = rows[verdicts[0].key][0]
        images = home.take([rows[verdict.key][1] for verdict in verdicts])
        indices = np.array([verdict.index for verdict in verdicts])
        images = ImageSet(
            images.levels, images.labels, indices, home.source, home.class_names, home.normalization
        )  # fmt: skip
        drawn[name] = Drawn(images, tuple(verdicts), tuple(levels[name]))
    return drawn


def attack_points(instances: Iterable[Instance]) -> dict[str, np.ndarray]:
    """Property name -> the attack's lowest point, where one is stored: a recorded selection has none."""
    return {
        instance.property.name: instance.verdict.point
        for instance in instances
        if instance.verdict is not None and instance.verdict.point is not None
    }

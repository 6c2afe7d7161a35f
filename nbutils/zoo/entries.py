"""The networks beside what was published of them: read off ONNX files and their cards, without running anything.

Nothing here imports torch, so that a table of all networks costs a moment. Accuracies are those of
`card_figures.ACCURACIES`, in per cent; published ones are about all 10,000 test images at radius 1/255.

Source: README of `Lucas110550/CIFAR100_TinyImageNet_ResNet`, VNN-COMP 2022. Parameter counts are not in it: they are
those of its ONNX files.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core import IMAGES, NETWORKS, PUBLISHED_EPS, PublishedNetwork, require, settings
from ..networks import (
    ACCURACIES,
    CLEAN,
    CROWN,
    PGD,
    Figure,
    depth,
    parse,
    ports,
    read_bytes,
    read_card,
    stem,
    stored_floats,
)

SOURCE = "README of the VNN-COMP 2022 benchmark CIFAR100_TinyImageNet_ResNet"


@dataclass(frozen=True)
class Published:
    """One row of the published table; accuracies in % of all test images at 1/255, PGD with 100 steps x 20 restarts."""

    network: PublishedNetwork  # instances, timeout, parameters
    layers: int  # convolutions and linear layers on the main path
    megabytes: float  # "model size": 10^6 bytes of the ONNX file
    clean: float
    crown: float
    pgd: float

    def accuracy(self, name: str) -> float | None:
        """The published figure `name`, one of `card_figures.ACCURACIES`; None where none was published."""
        return {CLEAN: self.clean, PGD: self.pgd, CROWN: self.crown}.get(name)

    @property
    def pool(self) -> int:
        """Images left open by the published filter, of 10,000: from these the instances were drawn."""
        return round((self.pgd - self.crown) / 100 * IMAGES)


PUBLISHED: Mapping[str, Published] = {
    name: Published(NETWORKS[name], *row)
    for name, row in {
        "CIFAR100_resnet_small": (11, 5.4, 51.61, 20.14, 37.92),
        "CIFAR100_resnet_medium": (19, 10.1, 54.57, 29.08, 40.42),
        "CIFAR100_resnet_large": (19, 15.2, 53.24, 29.89, 39.31),
        "CIFAR100_resnet_super": (21, 31.6, 53.95, 27.53, 38.84),
        "TinyImageNet_resnet_medium": (19, 14.4, 35.04, 13.51, 21.85),
    }.items()
}
"""The published table, in its order."""

PUBLISHED_MEASURE = Figure(0.0, "%", "all test images", SOURCE, eps=PUBLISHED_EPS, steps=100, restarts=20)
"""How the published accuracies were measured; its own value says nothing."""


@dataclass(frozen=True, eq=False)
class NetworkFile:
    """One ONNX classifier as its file and its card describe it."""

    path: Path
    sha256: str  # of the ONNX file, unpacked
    megabytes: float  # 10^6 bytes, unpacked
    parameters: int  # stored floats, batch-norm statistics included
    layers: int  # Conv and Gemm on the longest path
    input_shape: tuple[int, int, int]  # (C, H, W)
    classes: int | None  # None where the file leaves it open
    dataset: str | None
    recipe: str
    figures: Mapping[str, Figure]


@dataclass(frozen=True, eq=False)
class Entry:
    """One row of the zoo: a network that is here, one that was published, or both."""

    name: str
    file: NetworkFile | None  # None: not trained yet
    published: Published | None  # None: none of the five

    def measured(self, name: str) -> Figure | None:
        """The accuracy `name` on the network's card; None where there is no card, or it does not say."""
        return None if self.file is None else self.file.figures.get(name)

    def published_accuracy(self, name: str) -> float | None:
        """The published accuracy `name`, %."""
        return None if self.published is None else self.published.accuracy(name)

    def difference(self, name: str) -> float | None:
        """Measured minus published, in percentage points; None unless both are known, and by one measure."""
        figure, published = self.measured(name), self.published_accuracy(name)
        if figure is None or published is None or not measured_as_published(name, figure):
            return None
        return figure.value - published

    @property
    def as_published(self) -> bool | None:
        """Whether parameters and layers are those of the published network of this name; None where one is missing."""
        if self.file is None or self.published is None:
            return None
        found = (self.file.parameters, self.file.layers)
        return found == (self.published.network.parameters, self.published.layers)

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the accuracies to show: clean, PGD, CROWN, and whatever else the card states."""
        return tuple(name for name in ACCURACIES if name in (CLEAN, PGD, CROWN) or self.measured(name) is not None)


def same_radius(eps: float | None, other: float | None) -> bool:
    """Whether two radii are one, however they were rounded; a radius that nobody noted equals none."""
    return eps is not None and other is not None and math.isclose(eps, other, rel_tol=1e-3)


def same_attack(figure: Figure, other: Figure) -> bool:
    """Whether two figures took as many steps and restarts; what nobody noted equals nothing."""
    ours = (figure.steps, figure.restarts)
    return None not in ours and ours == (other.steps, other.restarts)


def same_measure(name: str, figure: Figure, other: Figure) -> bool:
    """Whether two figures called `name` may be compared: the same radius, PGD of the same size."""
    if name == CLEAN:
        return True
    return same_radius(figure.eps, other.eps) and (name != PGD or same_attack(figure, other))


def measured_as_published(name: str, figure: Figure) -> bool:
    """Whether `figure`, called `name`, was measured as the published table was: at 1/255, PGD with 100 steps x 20."""
    return same_measure(name, figure, PUBLISHED_MEASURE)


def read_zoo(names: Sequence[str] = (), folder: Path | None = None) -> tuple[Entry, ...]:
    """The networks of `folder` beside the published ones: the five in published order, then the others by name.

    Args:
        names: these only, in this order; empty takes every network in `folder` and the five.
        folder: with ONNX files and their cards; `onnx/` of the checkout by default.

    Raises:
        ParameterError: a folder that is none or holds no network, an unknown name, a name given twice.
        NetworkError: a damaged ONNX file or card.
    """
    place = settings.root() / "onnx" if folder is None else Path(folder)
    files = {stem(path): path for end in ("*.onnx.gz", "*.onnx") for path in sorted(place.glob(end))}
    allowed = "a folder with .onnx or .onnx.gz files"
    require(folder is None or bool(files), "FOLDER", str(place), allowed, "None takes onnx/ of the checkout")
    known = (*PUBLISHED, *sorted(files.keys() - PUBLISHED.keys()))
    sequence = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    require(sequence, "NETWORKS", names, "a list of names, empty for all")
    for name in names:
        require(
            name in known, "NETWORKS", name, f"names of networks in {place}, or of the published: {', '.join(known)}"
        )
    require(len(set(names)) == len(names), "NETWORKS", names, "each name once")
    chosen = tuple(names) or known
    return tuple(
        Entry(name, read_network_file(files[name]) if name in files else None, PUBLISHED.get(name)) for name in chosen
    )


def read_network_file(path: Path) -> NetworkFile:
    """What the ONNX file at `path` and its card say.

    Raises:
        NetworkError: a file that is no image classifier, a damaged card, or a card about another file.
    """
    data = read_bytes(path)
    model = parse(data, path)
    shape, sha256 = ports(model, path).input_shape, hashlib.sha256(data).hexdigest()
    card = read_card(path, sha256, channels=shape[0])
    logits = model.graph.output[0].type.tensor_type.shape.dim[1]
    return NetworkFile(
        path=path,
        sha256=sha256,
        megabytes=len(data) / 1e6,
        parameters=stored_floats(model),
        layers=depth(model),
        input_shape=shape,
        classes=logits.dim_value or None,
        dataset=card.get("dataset"),
        recipe=card.get("recipe", ""),
        figures=card.get("figures", {}),
    )
